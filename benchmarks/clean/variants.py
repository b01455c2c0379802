"""Ways of cleaning side by side.

Builds the same films in several ways and asks of each: how far is the fill from what was there
(at places without text, where that is known), and can the scars be seen. Computes nothing itself.
"""

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import write_artifact
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.placebo import placebo_regions
from covid_debug.cleaning.scar import ProbeParams, ScarProbe, probe_scars
from covid_debug.cleaning.verify import plan_jobs
from covid_debug.cleaning.workers import read_and_clean
from covid_debug.data.filmset import FilmSet
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.records import FilmRegions
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole

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
        scars: What the scar probe sees.
    """

    name: str
    n_films: int
    films_per_s: float
    changed_share: float
    fill_error: float
    scars: ScarProbe

    def to_row(self) -> dict[str, str]:
        """Return the cells of the table."""
        return {
            "variant": self.name,
            "films": str(self.n_films),
            "films/s": f"{self.films_per_s:.1f}",
            "changed share": f"{self.changed_share:.3%}",
            "fill error": f"{self.fill_error:.2f}",
            "AUC patches": _auc(self.scars.patch_auc),
            "AUC untouched": _auc(self.scars.calibration_auc),
            **{f"AUC masks: {name}": _auc(v) for name, v in self.scars.class_auc.items()},
        }


@dataclass(frozen=True, slots=True)
class CleanBench:
    """Which films are cleaned, and in which ways.

    Attributes:
        filmset: Films; phantoms with their true regions when None.
        regions: Text regions of ``filmset``; needed with it.
        variants: Name -> parameters.
        probe: How to probe for scars.
        n_workers: Processes.
    """

    filmset: FilmSet | None = None
    regions: Mapping[str, FilmRegions] | None = None
    variants: Mapping[str, CleaningParams] = field(default_factory=lambda: VARIANTS)
    probe: ProbeParams | None = None
    n_workers: int = 2


def bench_clean(request: CleanBench, out: Path, console: RunConsole) -> list[VariantResult]:
    """Clean the same films in several ways and compare; write the tables.

    Args:
        request: Films and ways.
        out: Folder to write; must not exist.
        console: Terminal.

    Returns:
        One result for each variant.

    Raises:
        InputContractError: If only one of films and regions is given.
        ArtifactError: If ``out`` exists or cannot be written.
    """
    filmset, regions = request.filmset, request.regions
    if (filmset is None) != (regions is None):
        raise InputContractError("--data and --regions: expected both, or none for phantoms")
    results = []
    with (
        write_artifact(out, kind="bench-clean", parameters=dict(request.variants)) as draft,
        tempfile.TemporaryDirectory(dir=draft.path.parent, prefix=".bench-clean-") as scratch,
    ):
        work = Path(scratch)
        if filmset is None or regions is None:
            console.say(f"making {_N_PHANTOMS} phantoms")
            filmset = generate_phantom(work / "phantom", n_train=_N_PHANTOMS, n_test=1, seed=0)
            regions = read_regions(filmset.root / "truth_regions.jsonl")
        for at, (name, params) in enumerate(request.variants.items()):
            with console.stage(name):
                results.append(
                    _run_variant(name, params, filmset, regions, work / str(at), request)
                )
        rows = [result.to_row() for result in results]
        write_csv(draft.path / TABLE_NAME, list(rows[0]), rows)
        table = to_markdown(rows)
        (draft.path / SUMMARY_NAME).write_text(table, encoding="utf-8")
    console.say(table)
    console.say(f"tables: {out}")
    return results


def _run_variant(
    name: str,
    params: CleaningParams,
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    folder: Path,
    request: CleanBench,
) -> VariantResult:
    n_workers = request.n_workers
    start = time.perf_counter()
    cleaned = clean_filmset(
        filmset, regions, params, folder / "cleaned", means=Means(n_workers=n_workers)
    )
    seconds = time.perf_counter() - start
    return VariantResult(
        name,
        len(cleaned.films),
        len(cleaned.films) / seconds,
        float(np.mean([changed.mean() for changed in _iter_changes(filmset, cleaned)])),
        _measure_fill_error(filmset, regions, params, folder / "placebo", n_workers),
        probe_scars(cleaned, filmset, request.probe, n_workers=n_workers),
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
        means=Means(n_workers=n_workers),
        shapes_from=regions,
    )
    total, n_pixels = 0.0, 0
    for job in plan_jobs(placebo, filmset):
        image, cleaned = read_and_clean(job)
        unit = 1.0 if image.pixels.dtype == np.uint8 else 257.0
        error = np.abs(cleaned.pixels.astype(np.float64) - image.pixels)[cleaned.mask] / unit
        total, n_pixels = total + float(error.sum()), n_pixels + error.size
    return total / n_pixels if n_pixels else float("nan")


def _auc(value: Estimate) -> str:
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]" if value.is_defined else "n/a"
