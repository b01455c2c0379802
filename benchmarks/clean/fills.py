"""Fills of several versions of the same films side by side: where, how many, how visible.

A placebo controls for cleaning only as far as its fills are like those of the cleaning. Computes
the numbers for each version and asks a forest to tell the fills of each version from the first's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import write_artifact
from covid_debug.cleaning.patches import locate, measure_patch
from covid_debug.cleaning.placebo import NO_PLACE
from covid_debug.cleaning.provenance import REGIONS_NAME
from covid_debug.cleaning.scar import ProbeParams, estimate_auc
from covid_debug.cleaning.verify import plan_jobs
from covid_debug.cleaning.workers import Job, read_and_clean
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.imaging.masks import PlacedMask
from covid_debug.imaging.reading import FILM_ERRORS
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress
from covid_debug.terminal import RunConsole

TABLE_NAME: Final = "fills.csv"
SUMMARY_NAME: Final = "fills.md"
_RING_PX: Final = 8
_CENTRE: Final = (0.2, 0.8)  # the central 60 % of both sides

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FilmFills:
    """The fills of one film.

    Attributes:
        label: Class of the film.
        patient: Its patient.
        geometry: Number, size and place of the fills, see :func:`locate`.
        textures: Texture of each of the six largest fills, see :func:`measure_patch`.
        fills: ``(n, 4)``: mean squared change in grey levels squared, absolute difference of the
            mean from that of the ring, share inside the view, and 1 where the centre of the fill
            lies in the central 60 % of both sides.
    """

    label: str
    patient: str
    geometry: Numbers
    textures: tuple[Numbers, ...]
    fills: Numbers


def bench_fills(
    original: FilmSet,
    versions: Mapping[str, Path],
    out: Path,
    console: RunConsole,
    *,
    n_workers: int = 2,
    params: ProbeParams | None = None,
) -> list[dict[str, str]]:
    """Measure the fills of versions of the same films; write the tables.

    Args:
        original: The films before.
        versions: Name -> folder made by cleaning them; the first one is what the others' fills
            are told from.
        out: Folder to write; must not exist.
        console: Terminal.
        n_workers: Processes.
        params: Of the forest; ``max_films`` is not used, all films are looked at.

    Returns:
        The rows of the table.

    Raises:
        ArtifactError: If a folder is no cleaned data set or ``out`` cannot be written.
    """
    params = params or ProbeParams()
    rows: list[dict[str, str]] = []
    first: list[FilmFills] = []
    with write_artifact(out, kind="bench-fills", parameters=list(versions)) as draft:
        for name, folder in versions.items():
            with console.stage(name), console.progress("films") as progress:
                films = _measure_all(load_filmset(folder), original, n_workers, progress)
                first = first or films
                row = _describe(name, films, original.class_names, params)
                row |= _count(folder)
                row["AUC against first"] = _tell_apart(first, films, params)
            rows.append(row)
        write_csv(draft.path / TABLE_NAME, list(rows[0]), rows)
        (draft.path / SUMMARY_NAME).write_text(to_markdown(rows), encoding="utf-8")
    return rows


def _measure_all(
    version: FilmSet, original: FilmSet, n_workers: int, progress: Progress
) -> list[FilmFills]:
    films = []
    jobs = plan_jobs(version, original)
    for n_done, one in enumerate(
        run_in_order(measure_film, jobs, n_workers, where="bench_fills"), start=1
    ):
        if one is not None:
            films.append(one)
        progress(n_done, len(version.films))
    return films


def measure_film(job: Job) -> FilmFills | None:
    """Fill a film again and measure its fills; None where it cannot be filled."""
    try:
        image, cleaned = read_and_clean(job)
    except FILM_ERRORS:
        return None
    unit = 1.0 if image.pixels.dtype == np.uint8 else 257.0
    before, after = image.pixels / unit, cleaned.pixels / unit
    found = locate(cleaned.mask)
    grays = np.clip(np.rint(after), 0, 255).astype(np.uint8)
    textures = [measure_patch(grays, hole.drawn(grays.shape)) for hole in found.holes]
    rows = [_measure_fill(before, after, hole) for hole in found.holes]
    return FilmFills(
        job.film.label,
        job.film.patient_id,
        found.geometry,
        tuple(texture for texture in textures if texture is not None),
        np.array(rows, np.float64).reshape(-1, 4),
    )


def _measure_fill(before: Numbers, after: Numbers, hole: PlacedMask) -> list[float]:
    height, width = after.shape
    mask = hole.drawn(after.shape)
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _RING_PX + 1,) * 2, np.uint8)) > 0
    ring = grown & ~mask
    geometry = compute_geometry(width, height, ViewSpec())
    rows = slice(geometry.y0, geometry.y0 + geometry.side)
    columns = slice(geometry.x0, geometry.x0 + geometry.side)
    y, x = (float(index.mean()) for index in np.nonzero(mask))
    low, high = _CENTRE
    return [
        float(((after - before)[mask] ** 2).mean()),
        abs(float(after[mask].mean() - after[ring].mean())),
        float(mask[rows, columns].sum() / mask.sum()),
        float(low < x / width < high and low < y / height < high),
    ]


def _describe(
    name: str, films: Sequence[FilmFills], class_names: Sequence[str], params: ProbeParams
) -> dict[str, str]:
    fills = np.concatenate([film.fills for film in films])
    patients = [film.patient for film in films]
    row = {
        "fills": name,
        "n": str(len(fills)),
        "central 60 %": f"{fills[:, 3].mean():.1%}",
        "in the view": f"{fills[:, 2].mean():.1%}",
        "mean squared change": f"{np.median(fills[:, 0]):.0f}",
        "contrast to the ring": f"{np.median(fills[:, 1]):.1f}",
    }
    for label in class_names:
        auc = estimate_auc(
            [film.geometry for film in films],
            [film.label == label for film in films],
            patients,
            params,
        )
        row[f"AUC masks: {label}"] = _show(auc)
    return row


def _tell_apart(first: Sequence[FilmFills], films: Sequence[FilmFills], params: ProbeParams) -> str:
    if first is films:
        return ""
    features: list[Numbers] = []
    kinds: list[bool] = []
    patients: list[str] = []
    for is_other, members in ((False, first), (True, films)):
        for film in members:
            features += film.textures
            kinds += [is_other] * len(film.textures)
            patients += [film.patient] * len(film.textures)
    return _show(estimate_auc(features, kinds, patients, params))


def _count(folder: Path) -> dict[str, str]:
    """Count the regions that were filled and those that found no place."""
    n_filled = n_free = 0
    with (folder / REGIONS_NAME).open(encoding="utf-8") as stream:
        for line in map(json.loads, stream):
            n_filled += sum(region["action"] == "removed" for region in line["regions"])
            n_free += sum(item["reason"] in NO_PLACE for item in line["rejected"])
    return {"regions filled": str(n_filled), "without a place": str(n_free)}


def _show(auc: Estimate) -> str:
    return f"{auc.value:.2f} [{auc.low:.2f}, {auc.high:.2f}]" if auc.is_defined else auc.reason
