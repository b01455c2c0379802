"""What can be seen of fills: one table for every fill and dilation, on the same films.

Cleans the films with each fill and asks a forest and a small network to tell filled places from
untouched ones that are like them, and the class from the places and from the texture of the fills.
"""

import csv
import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.clean.network_probe import N_TEXTURES, cut_patch, score_by_network
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import write_artifact
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.patches import Features, FilledPlaces, locate, measure_patches
from covid_debug.cleaning.scar import ProbeParams, estimate_auc, pair_with_donors
from covid_debug.cleaning.verify import plan_jobs
from covid_debug.cleaning.workers import Job, read_and_clean
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.reading import FILM_ERRORS
from covid_debug.pool import run_in_order
from covid_debug.records import FilmRegions
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole

FILM_LIST: Final = Path(__file__).with_name("scar_films.csv")
FILM_SETS: Final = ("chosen_on", "held_out")
FILLS: Final = (("telea", 3), ("telea", 6), ("transplant", 3), ("transplant", 6))
TABLE_NAME: Final = "scars.csv"
SUMMARY_NAME: Final = "scars.md"


@dataclass(frozen=True, slots=True)
class ScarBench:
    """Which films are filled, and how.

    Attributes:
        filmset: The films.
        regions: Their text.
        fills: Pairs of method and dilation, see :class:`CleaningParams`.
        probe: How to probe; ``max_films`` is not used, all films are looked at.
        with_network: Ask the network as well.
        n_workers: Processes.
    """

    filmset: FilmSet
    regions: Mapping[str, FilmRegions]
    fills: Sequence[tuple[str, int]] = FILLS
    probe: ProbeParams = field(default_factory=ProbeParams)
    with_network: bool = True
    n_workers: int = 1


@dataclass(frozen=True, slots=True)
class _Patches:
    """Pairs of patches of all films; every list is as long as the patients of its kind."""

    filled: list[Features]
    matched: list[Features]
    patients: list[str]
    labels: list[str]
    untouched: list[Features]
    untouched_matched: list[Features]
    untouched_patients: list[str]


def parse_fill(text: str) -> tuple[str, int]:
    """Read a fill.

    Args:
        text: ``METHOD=PX``, such as ``telea=3``.

    Returns:
        Method and dilation in pixels of a film of 640 px.

    Raises:
        InputContractError: If it is written otherwise.
        CatalogError: If there is no such method.
    """
    method, _, dilation_px = text.partition("=")
    if not dilation_px.isdecimal():
        raise InputContractError(f"--fill: {text!r}; expected METHOD=PX, such as telea=3")
    params = CleaningParams(method=method, dilation_px=int(dilation_px))
    return params.method, params.dilation_px


def choose_films(filmset: FilmSet, name: str) -> FilmSet:
    """Keep the films of one of the two lists that the published tables were made with.

    Args:
        filmset: The films of ``configs/covidx.yaml``.
        name: ``"chosen_on"`` (training split, fills were chosen on them) or ``"held_out"``.

    Returns:
        The same data set with these films only.

    Raises:
        InputContractError: If the name is another.
        DataIntegrityError: If the data set holds none of them.
    """
    if name not in FILM_SETS:
        raise InputContractError(f"--films: {name!r}; expected {' or '.join(FILM_SETS)}")
    with FILM_LIST.open(encoding="utf-8", newline="") as stream:
        wanted = {row["image_id"] for row in csv.DictReader(stream) if row["set"] == name}
    films = tuple(film for film in filmset.films if film.image_id in wanted)
    if not films:
        raise DataIntegrityError(
            f"{filmset.root}: has none of the {len(wanted)} films {name!r} of {FILM_LIST.name};"
            " expected the films of configs/covidx.yaml, or no --films"
        )
    return dataclasses.replace(filmset, films=films)


def bench_scars(request: ScarBench, out: Path, console: RunConsole) -> list[dict[str, str]]:
    """Fill the same films in every way and probe; write the tables.

    Args:
        request: Films and fills.
        out: Folder to write; must not exist.
        console: Terminal.

    Returns:
        The rows, one for each fill.

    Raises:
        ArtifactError: If ``out`` exists or cannot be written.
    """
    rows = []
    with (
        write_artifact(out, kind="bench-scars", parameters=list(request.fills)) as draft,
        tempfile.TemporaryDirectory(dir=draft.path.parent, prefix=".bench-scars-") as scratch,
    ):
        for method, dilation_px in request.fills:
            name = f"{method} {dilation_px}"
            with console.stage(name):
                params = CleaningParams(method=method, dilation_px=dilation_px)
                rows.append(_probe_fill(request, params, Path(scratch) / name))
        write_csv(draft.path / TABLE_NAME, list(rows[0]), rows)
        (draft.path / SUMMARY_NAME).write_text(to_markdown(rows), encoding="utf-8")
    return rows


def _probe_fill(request: ScarBench, params: CleaningParams, folder: Path) -> dict[str, str]:
    n_workers, probe = request.n_workers, request.probe
    means = Means(n_workers=n_workers)
    cleaned = clean_filmset(request.filmset, request.regions, params, folder, means=means)
    jobs = list(plan_jobs(cleaned, request.filmset))
    located = run_in_order(_locate_fills, jobs, n_workers, where="bench_scars")
    films = [(job, *one) for job, one in zip(jobs, located, strict=True) if one is not None]
    patches = _cut_patches([(job, places) for job, places, _ in films], probe.seed, n_workers)

    def tell(name: str, ones: list[Features], others: list[Features], who: list[str]) -> Estimate:
        part = slice(N_TEXTURES) if name == "forest" else slice(N_TEXTURES, None)
        rows = [row[part] for row in (*ones, *others)]
        positive = [True] * len(ones) + [False] * len(others)
        score = None if name == "forest" else score_by_network
        return estimate_auc(rows, positive, [*who, *who], probe, score)

    row = {
        "fill": params.method,
        "dilation": str(params.dilation_px),
        "films": str(len(films)),
        "pairs": str(len(patches.filled)),
    }
    for name in ("forest", "network") if request.with_network else ("forest",):
        row[f"{name}: filled"] = _show(
            tell(name, patches.filled, patches.matched, patches.patients)
        )
        row[f"{name}: untouched"] = _show(
            tell(name, patches.untouched, patches.untouched_matched, patches.untouched_patients)
        )
    geometry = [places.geometry for _, places, _ in films]
    film_patients = [job.film.patient_id for job, _, _ in films]
    for label in request.filmset.class_names:
        is_film = [job.film.label == label for job, _, _ in films]
        row[f"{label}: places"] = _show(estimate_auc(geometry, is_film, film_patients, probe))
        is_patch = [one == label for one in patches.labels]
        for kind, members in (("fills", patches.filled), ("untouched", patches.matched)):
            textures = [member[:N_TEXTURES] for member in members]
            row[f"{label}: texture of {kind}"] = _show(
                estimate_auc(textures, is_patch, patches.patients, probe)
            )
    row["seconds a film"] = f"{sum(seconds for *_, seconds in films) / max(len(films), 1):.3f}"
    return row


def _locate_fills(job: Job) -> tuple[FilledPlaces, float] | None:
    """Fill a film again; return its places and processor seconds, reading included."""
    start = time.process_time()
    try:
        _, cleaned = read_and_clean(job)
    except FILM_ERRORS:
        return None
    return locate(cleaned.mask), time.process_time() - start


def _cut_patches(films: Sequence[tuple[Job, FilledPlaces]], seed: int, n_workers: int) -> _Patches:
    found = _Patches([], [], [], [], [], [], [])
    cut = partial(measure_patches, measure=cut_patch)
    jobs = pair_with_donors(films, seed)
    for (job, _), one in zip(
        films, run_in_order(cut, jobs, n_workers, where="bench_scars"), strict=True
    ):
        found.filled.extend(one.filled)
        found.matched.extend(one.matched)
        found.patients.extend([job.film.patient_id] * len(one.filled))
        found.labels.extend([job.film.label] * len(one.filled))
        found.untouched.extend(one.untouched)
        found.untouched_matched.extend(one.untouched_matched)
        found.untouched_patients.extend([job.film.patient_id] * len(one.untouched))
    return found


def _show(auc: Estimate) -> str:
    return f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]" if auc.is_defined else auc.reason
