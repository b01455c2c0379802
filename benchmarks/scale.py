"""What other numbers of films would cost: `python -m benchmarks.scale`; `--measure FILE` first.

Measured is a film's cost and size, on the films of a configuration, and how what looks at all films
at once grows. The tables are multiplications of these; each says what it leaves out.
"""

import argparse
import csv
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.tables import to_markdown, write_csv
from covid_debug.config.loader import load_config
from covid_debug.data.filmset import load_filmset
from covid_debug.data.fingerprints import find_near_duplicates
from covid_debug.preflight.checks import check_run
from covid_debug.preflight.sample import list_films, write_sample
from covid_debug.preflight.timing import measure_prices
from covid_debug.records import Film

MEASURED = Path(__file__).with_name("scale.csv")
SETS = {"COVIDx 9": 30_482, "MIMIC-CXR": 377_000, "ten million": 10_000_000}
CORES = (2, 64, 1000)
STAGES = ("ingest", "text detection", "cleaning", "interventions")
_COLUMNS = ("what", "value", "unit")
_LISTED = (20_000, 40_000)
_HASHED = (30_000, 100_000)


def measure(config_path: Path) -> None:
    """Measure on the films of a configuration and write ``scale.csv``."""
    config = load_config(config_path, [])
    facts, films = check_run(config), list_films(config)
    prices = measure_prices(config, films, facts.n_test)
    files = [film.path.stat().st_size for film in films if film.path is not None]
    rows: dict[str, tuple[float, str]] = {
        "ingest": (prices.ingest.processor_s, "processor s a film"),
        "text detection": (prices.scan.processor_s, "processor s a film"),
        "cleaning": (prices.versions["cleaned"].processor_s, "processor s a film"),
        "interventions": (prices.intervene.processor_s, "processor s a film"),
        "maps": (prices.maps.processor_s, "processor s a film"),
        "film": (float(np.mean(files)) if files else 0.0, "bytes a film"),
        "cleaned film": (prices.version_mb["cleaned"] * 1e6, "bytes a film"),
        "view": (config.view.image_size**2, "bytes a film"),
        "size": (prices.megapixels, "megapixels a film"),
        "films measured": (prices.n_films, "films"),
        **_measure_lists(),
        **_measure_search(),
    }
    table = [
        {"what": what, "value": f"{value:.6g}", "unit": unit}
        for what, (value, unit) in rows.items()
    ]
    write_csv(MEASURED, _COLUMNS, table)


def _measure_lists() -> dict[str, tuple[float, str]]:
    """Write and load lists of made films: bytes in the file and in memory, seconds to load."""
    found = []
    for n in _LISTED:
        films = [
            Film(
                image_id=f"{i:016x}",
                path=f"/data/films/patient{i // 2}/study{i}/{i:08d}.png",
                patient_id=f"site:{i // 2}",
                label="normal",
                source="site",
                view="PA",
                split="train",
                width=2000,
                height=2000,
                sha256=f"{i:064x}",
                window_low=0,
                window_high=255,
            )
            for i in range(n)
        ]
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "films")
            write_sample(root, films, ["normal"])
            n_bytes = (root / "films.csv").stat().st_size
            tracemalloc.start()
            loaded = load_filmset(root)
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            start = time.process_time()
            load_filmset(root)
            found.append((n_bytes, held, time.process_time() - start))
            del loaded
    (low, high), n_more = found, _LISTED[1] - _LISTED[0]
    in_file, in_memory, seconds = ((b - a) / n_more for a, b in zip(low, high, strict=True))
    return {
        "row of films.csv": (in_file, "bytes a film"),
        "film in memory": (in_memory, "bytes a film"),
        "loading films.csv": (seconds, "processor s a film"),
    }


def _measure_search() -> dict[str, tuple[float, str]]:
    """Look for near duplicates among random hashes of two numbers of films."""
    rows = {}
    for n in _HASHED:
        generator = np.random.default_rng(0)
        hashes = [row.tobytes() for row in generator.integers(0, 256, (n, 32), dtype=np.uint8)]
        start = time.process_time()
        find_near_duplicates(hashes)
        rows[f"near duplicates of {n}"] = (time.process_time() - start, "processor s")
    return rows


def read_measured(path: Path = MEASURED) -> dict[str, float]:
    """Return what was measured, by name."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["what"]: float(row["value"]) for row in csv.DictReader(stream)}


def tell_work(found: Mapping[str, float], price: float) -> Iterator[dict[str, object]]:
    """Yield a row for each data set: processor hours, hours on so many cores, money."""
    for name, n in SETS.items():
        hours = {stage: found[stage] * n / 3600 for stage in STAGES}
        total = sum(hours.values())
        yield {
            "films": f"{name}: {n:,}",
            **{f"{stage}, core h": f"{value:,.1f}" for stage, value in hours.items()},
            **{f"h on {cores} cores": f"{total / cores:,.1f}" for cores in CORES},
            "money": f"{total * price:,.0f}",
            "maps of all, core h": f"{found['maps'] * n / 3600:,.0f}",
        }


def tell_disk(found: Mapping[str, float]) -> Iterator[dict[str, object]]:
    """Yield a row for each data set: gigabytes on disk and in memory."""
    for name, n in SETS.items():
        yield {
            "films": f"{name}: {n:,}",
            **{
                f"{what}, GB": f"{found[what] * n / 1e9:,.1f}"
                for what in ("film", "cleaned film", "view", "row of films.csv", "film in memory")
            },
        }


def tell_search(found: Mapping[str, float]) -> Iterator[dict[str, object]]:
    """Yield a row for each data set: loading its list, and looking for near duplicates."""
    small, large = _HASHED
    seconds = [found[f"near duplicates of {n}"] for n in _HASHED]
    # a n + b n^2 through both measurements.
    squared = max((seconds[1] / large - seconds[0] / small) / (large - small), 0.0)
    linear = seconds[0] / small - squared * small
    for name, n in SETS.items():
        yield {
            "films": f"{name}: {n:,}",
            "loading the list, min": f"{found['loading films.csv'] * n / 60:,.1f}",
            "near duplicates, min": f"{(linear * n + squared * n**2) / 60:,.1f}",
        }


def main() -> None:
    """Measure where that is asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path, help="configuration whose films are measured")
    parser.add_argument("--price", type=float, default=0.05, help="money for a core hour")
    asked = parser.parse_args()
    if asked.measure is not None:
        measure(asked.measure)
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        sys.stderr.write(f"peak memory {peak_gb:.1f} GB\n")
    found = read_measured()
    tables = (tell_work(found, asked.price), tell_disk(found), tell_search(found))
    sys.stdout.write("\n".join(to_markdown(list(rows)) for rows in tables))


if __name__ == "__main__":
    main()
