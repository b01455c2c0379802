"""`covid-debug bench clean`: ways of cleaning side by side, and how fast and how flat it runs.

Builds the same films in several ways and asks of each: how far is the fill from what was there
(at places without text, where that is known), what does a second detector still see, and can the
scars be seen. Computes nothing itself.
"""

import csv
import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import psutil

from covid_debug.artifacts import hash_file, write_artifact
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.placebo import placebo_regions
from covid_debug.cleaning.residual import ResidualScan, scan_residual
from covid_debug.cleaning.scar import ProbeParams, ScarProbe, probe_scars
from covid_debug.cleaning.verify import plan_jobs
from covid_debug.cleaning.workers import read_and_clean
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.imaging.writing import write_png
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.terminal import RunConsole
from covid_debug.text.scan import scan_films

VARIANTS: Final[Mapping[str, CleaningParams]] = {
    "telea, letters (default)": CleaningParams(),
    "telea, boxes": CleaningParams(mask_shape="box"),
    "navier_stokes": CleaningParams(method="navier_stokes"),
    "local_median": CleaningParams(method="local_median"),
    "blur": CleaningParams(method="blur"),
    "telea, grain": CleaningParams(grain=True),
    "transplant": CleaningParams(method="transplant"),
    "transplant, dilation 6": CleaningParams(method="transplant", dilation_px=6),
    "telea, boxes, 1 decoy set": CleaningParams(mask_shape="box", decoy_sets=1),
    "telea, boxes, 3 decoy sets": CleaningParams(mask_shape="box", decoy_sets=3),
    "telea, boxes, 3 decoy sets, grain": CleaningParams(mask_shape="box", decoy_sets=3, grain=True),
}
TABLE_NAME: Final = "clean.csv"
SUMMARY_NAME: Final = "clean.md"
_N_PHANTOMS: Final = 60
_N_DISTINCT: Final = 24
_MIN_FILMS: Final = 10
_MEGABYTE: Final = 2**20


@dataclass(frozen=True, slots=True)
class VariantResult:
    """One way of cleaning on all films.

    Attributes:
        name: Its name in the table.
        n_films: Films cleaned.
        films_per_s: Films cleaned a second, reading and writing included.
        changed_share: Mean share of a film's pixels that changed.
        fill_error: Mean absolute difference, in 8-bit grey levels, between fill and film at
            places without text of the same number and shape.
        residual: What the second detector still sees, or None where it was not asked.
        scars: What the scar probe sees.
    """

    name: str
    n_films: int
    films_per_s: float
    changed_share: float
    fill_error: float
    residual: ResidualScan | None
    scars: ScarProbe

    def to_row(self) -> dict[str, str]:
        """Return the cells of the table."""
        residual = "" if self.residual is None else _percent(self.residual.share)
        return {
            "variant": self.name,
            "films": str(self.n_films),
            "films/s": f"{self.films_per_s:.1f}",
            "changed share": f"{self.changed_share:.3%}",
            "fill error": f"{self.fill_error:.2f}",
            "residual films": residual,
            "AUC patches": _auc(self.scars.patch_auc),
            "AUC untouched": _auc(self.scars.calibration_auc),
            **{f"AUC masks: {name}": _auc(v) for name, v in self.scars.class_auc.items()},
        }


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast films are cleaned and what memory that takes.

    Attributes:
        n_films: Films cleaned.
        side_px: Side of the square films.
        n_workers: Processes.
        films_per_s: Films a second from first to last, start of the processes included.
        processor_s: Processor seconds a film, all processes together: what the speed is on free
            cores, whatever else the machine does.
        memory_mb: Resident memory of this process and of its largest worker, MiB, after each
            tenth of the films.
    """

    n_films: int
    side_px: int
    n_workers: int
    films_per_s: float
    processor_s: float
    memory_mb: tuple[tuple[float, float], ...]

    def describe(self) -> str:
        """Return one line."""
        parent, worker = (
            " ".join(f"{value:.0f}" for value in values)
            for values in zip(*self.memory_mb, strict=True)
        )
        return (
            f"{self.n_films} films of {self.side_px} px on {self.n_workers} processes: "
            f"{self.films_per_s:.1f} films/s, {self.processor_s:.3f} processor seconds a film "
            f"({self.n_workers / self.processor_s:.1f} films/s on free cores); MiB after each "
            f"tenth: this process {parent}; largest worker {worker}"
        )


def bench_clean_command_line(
    out: Path,
    *,
    data: Path | None,
    regions: Path | None,
    detector: str | None,
    n_films: int,
    side_px: int,
    n_workers: int,
    console: RunConsole,
) -> None:
    """Run the benchmark that the command line asks for and print its table.

    Args:
        out: Folder to write; must not exist.
        data: Data set folder, or None for phantoms.
        regions: Its text regions; needed with ``data``.
        detector: Second detector, or None.
        n_films: Phantoms for speed and memory; 0 compares ways of cleaning instead.
        side_px: Side of these phantoms in pixels.
        n_workers: Processes.
        console: Terminal.

    Raises:
        InputContractError: If only one of ``data`` and ``regions`` is given, or ``n_films`` is
            below 10.
    """
    if n_films:
        if n_films < _MIN_FILMS:
            raise InputContractError(f"--films {n_films}: expected at least {_MIN_FILMS}")
        sizes = {"n_films": n_films, "side_px": side_px}
        with write_artifact(out, kind="bench-clean", parameters=sizes) as draft:
            with tempfile.TemporaryDirectory(dir=draft.path.parent, prefix=".bench-") as scratch:
                found = measure_throughput(
                    Path(scratch), n_films=n_films, side_px=side_px, n_workers=n_workers
                )
            (draft.path / SUMMARY_NAME).write_text(found.describe() + "\n", encoding="utf-8")
        console.say(found.describe())
        console.say(f"tables: {out}")
        return
    if (data is None) != (regions is None):
        raise InputContractError("--data and --regions: expected both, or none for phantoms")
    results = bench_clean(
        out,
        filmset=None if data is None else load_filmset(data),
        regions=None if regions is None else read_regions(regions),
        detector=detector,
        n_workers=n_workers,
        console=console,
    )
    console.say(to_markdown(results))
    console.say(f"tables: {out}")


def bench_clean(
    out: Path,
    *,
    filmset: FilmSet | None = None,
    regions: Mapping[str, FilmRegions] | None = None,
    detector: str | None = None,
    variants: Mapping[str, CleaningParams] | None = None,
    probe: ProbeParams | None = None,
    n_workers: int = 2,
    console: RunConsole,
) -> list[VariantResult]:
    """Clean the same films in several ways and compare; write the tables.

    Args:
        out: Folder to write; must not exist.
        filmset: Films; phantoms with their true regions when None.
        regions: Text regions of ``filmset``; needed with it.
        detector: Second detector for the residual scan; not scanned when None.
        variants: Name -> parameters; all of :data:`VARIANTS` when None.
        probe: How to probe for scars.
        n_workers: Processes.
        console: Terminal.

    Returns:
        One result for each variant.

    Raises:
        ArtifactError: If ``out`` exists or cannot be written.
    """
    variants = variants or VARIANTS
    results = []
    with (
        write_artifact(out, kind="bench-clean", parameters=dict(variants)) as draft,
        tempfile.TemporaryDirectory(dir=draft.path.parent, prefix=".bench-clean-") as scratch,
    ):
        work = Path(scratch)
        if filmset is None or regions is None:
            console.say(f"making {_N_PHANTOMS} phantoms")
            filmset = generate_phantom(work / "phantom", n_train=_N_PHANTOMS, n_test=1, seed=0)
            regions = read_regions(filmset.root / "truth_regions.jsonl")
        for at, (name, params) in enumerate(variants.items()):
            with console.stage(name):
                results.append(
                    _run_variant(
                        name, params, filmset, regions, work / str(at), detector, probe, n_workers
                    )
                )
        rows = [result.to_row() for result in results]
        with (draft.path / TABLE_NAME).open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        (draft.path / SUMMARY_NAME).write_text(to_markdown(results), encoding="utf-8")
    return results


def to_markdown(results: Sequence[VariantResult]) -> str:
    """Return the results as one table."""
    rows = [result.to_row() for result in results]
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def measure_throughput(
    folder: Path, *, n_films: int, side_px: int = 1024, n_workers: int = 2
) -> Throughput:
    """Clean many phantoms, a few distinct ones under many names, and watch speed and memory.

    Args:
        folder: Empty or absent folder for the films; the cleaned films are written there too.
        n_films: Films to clean, at least 10.
        side_px: Side of the films in pixels.
        n_workers: Processes.

    Returns:
        Speed and memory.
    """
    filmset, regions = _multiply_phantoms(folder, n_films, side_px)
    process = psutil.Process()
    memory: list[tuple[float, float]] = []
    period = n_films // 10

    def watch(n_done: int, _n_total: int) -> None:
        if n_done % period == 0:
            workers = [child.memory_info().rss for child in process.children()]
            own = process.memory_info().rss
            memory.append((own / _MEGABYTE, max(workers, default=0) / _MEGABYTE))

    start, processor_start = time.perf_counter(), _processor_seconds()
    clean_filmset(
        filmset,
        regions,
        CleaningParams(),
        folder / "cleaned",
        n_workers=n_workers,
        progress=watch,
    )
    rate = n_films / (time.perf_counter() - start)
    processor_s = (_processor_seconds() - processor_start) / n_films
    return Throughput(n_films, side_px, n_workers, rate, processor_s, tuple(memory))


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _run_variant(
    name: str,
    params: CleaningParams,
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    folder: Path,
    detector: str | None,
    probe: ProbeParams | None,
    n_workers: int,
) -> VariantResult:
    start = time.perf_counter()
    cleaned = clean_filmset(filmset, regions, params, folder / "cleaned", n_workers=n_workers)
    seconds = time.perf_counter() - start
    shares = [float(cleaned_pixels.mean()) for cleaned_pixels in _iter_changes(filmset, cleaned)]
    residual = None
    if detector is not None:
        scan = partial(scan_films, detector_name=detector, n_workers=n_workers)
        residual = scan_residual(cleaned, scan, detector)
    return VariantResult(
        name,
        len(cleaned.films),
        len(cleaned.films) / seconds,
        float(np.mean(shares)),
        _measure_fill_error(filmset, regions, params, folder / "placebo", n_workers),
        residual,
        probe_scars(cleaned, filmset, probe, n_workers=n_workers),
    )


def _iter_changes(original: FilmSet, cleaned: FilmSet) -> Iterator[np.ndarray]:
    sources = {film.image_id: film for film in original.films}
    for film in cleaned.films:
        before = read_film(original.file_of(sources[film.image_id])).pixels
        yield before != read_film(cleaned.file_of(film)).pixels


def _measure_fill_error(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    params: CleaningParams,
    folder: Path,
    n_workers: int,
) -> float:
    plain = dataclasses.replace(params, decoy_sets=0)
    placebo = clean_filmset(
        filmset,
        placebo_regions(filmset, regions, seed=0),
        plain,
        folder,
        n_workers=n_workers,
        shapes_from=regions,
    )
    total, n_pixels = 0.0, 0
    for job in plan_jobs(placebo, filmset):
        image, cleaned = read_and_clean(job)
        unit = 1.0 if image.pixels.dtype == np.uint8 else 257.0
        error = np.abs(cleaned.pixels.astype(np.float64) - image.pixels)[cleaned.mask] / unit
        total, n_pixels = total + float(error.sum()), n_pixels + error.size
    return total / n_pixels if n_pixels else float("nan")


def _multiply_phantoms(
    folder: Path, n_films: int, side_px: int
) -> tuple[FilmSet, dict[str, FilmRegions]]:
    phantom = generate_phantom(folder / "phantom", n_train=_N_DISTINCT, n_test=1, seed=0)
    truth = read_regions(phantom.root / "truth_regions.jsonl")
    enlarged = folder / "enlarged"
    with write_artifact(enlarged, kind="filmset") as draft:
        films, regions, digests = [], {}, {}
        for film in phantom.films:
            pixels = read_film(phantom.file_of(film)).to_uint8()
            size = (side_px, side_px)
            path = draft.path / f"{film.image_id}.png"
            write_png(path, cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC))
            digests[film.image_id] = hash_file(path)
        for at, film in zip(range(n_films), itertools.cycle(phantom.films), strict=False):
            key = f"{at:016x}"
            films.append(
                dataclasses.replace(
                    film,
                    image_id=key,
                    path=str(enlarged.resolve() / f"{film.image_id}.png"),
                    width=side_px,
                    height=side_px,
                    sha256=digests[film.image_id],
                )
            )
            regions[key] = _enlarge(truth[film.image_id], key, side_px)
        write_films(draft.path, films)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, films)
        draft.facts.update(
            name="phantoms", class_names=phantom.class_names, n_ok=n_films, n_total=n_films
        )
    return FilmSet(enlarged, "phantoms", phantom.class_names, tuple(films), n_films), regions


def _enlarge(film: FilmRegions, key: str, side_px: int) -> FilmRegions:
    by_x, by_y = side_px / film.width, side_px / film.height
    regions = tuple(
        TextRegion(
            tuple((x * by_x, y * by_y) for x, y in region.polygon),
            region.confidence,
            region.content,
            region.detector,
        )
        for region in film.regions
    )
    return FilmRegions(key, side_px, side_px, regions)


def _percent(value: Estimate) -> str:
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]" if value.is_defined else "n/a"


def _auc(value: Estimate) -> str:
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]" if value.is_defined else "n/a"
