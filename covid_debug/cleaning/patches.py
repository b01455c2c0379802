"""Filled places of cleaned films and what they look like, as numbers.

Owns the features that the scar probe learns from; learns nothing itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.matching import PlaceMatcher
from covid_debug.cleaning.workers import Job, read_and_clean
from covid_debug.imaging.masks import Mask, PlacedMask, iter_groups
from covid_debug.imaging.reading import FILM_ERRORS, FilmFile, read_film
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.seeding import derive_seed

Gray = NDArray[np.uint8]
Features = NDArray[np.float64]
Measure = Callable[[Gray, Mask], Features | None]

_GEOMETRY_GRID: Final = 4
_JOIN_PX: Final = 5
_RING_PX: Final = 8
_MIN_AREA_PX: Final = 30
_MAX_PATCHES: Final = 6
_EPSILON: Final = 0.25  # grey levels; keeps the ratios of flat patches finite


@dataclass(frozen=True, slots=True)
class FilledPlaces:
    """Where a film was filled.

    Attributes:
        shape: ``(H, W)`` of the film.
        holes: The largest groups of filled pixels.
        geometry: Film-level numbers of the mask alone: number of groups, share of the film, share
            of the largest group, and the filled share of each cell of a 4 x 4 grid.
    """

    shape: tuple[int, int]
    holes: tuple[PlacedMask, ...]
    geometry: Features


@dataclass(frozen=True, slots=True)
class PatchJob:
    """One cleaned film with the places to look at.

    Attributes:
        job: The cleaning of the film; ``job.output`` is the cleaned file.
        own: Its filled places.
        donors: Filled places of other films, looked at here where this film is untouched.
        seed: Seed of the drawing of places.
    """

    job: Job
    own: FilledPlaces
    donors: tuple[FilledPlaces, ...]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PatchFeatures:
    """Patches of one film in pairs: the second of each pair is an untouched place like the first.

    Attributes:
        filled: Where the film was filled.
        matched: A place like each of them.
        untouched: Where *other* films were filled and this one was not: places of the kind that
            text takes, without text.
        untouched_matched: A place like each of them. A probe that tells these two apart sees the
            matching, not the fill.
    """

    filled: list[Features]
    matched: list[Features]
    untouched: list[Features]
    untouched_matched: list[Features]


def find_filled_places(job: Job) -> FilledPlaces | None:
    """Return where a film was filled, by cleaning it again; None where it cannot be cleaned."""
    try:
        _, cleaned = read_and_clean(job)
    except FILM_ERRORS:
        return None
    return locate(cleaned.mask)


def locate(mask: Mask) -> FilledPlaces:
    """Group the filled pixels of a film.

    Args:
        mask: ``(H, W)``, True where the film was filled.

    Returns:
        The places; no holes and zero geometry for an empty mask.
    """
    holes = sorted(iter_groups(mask, _JOIN_PX), key=lambda hole: -hole.n_pixels)
    areas = [hole.n_pixels for hole in holes]
    cells = cv2.resize(
        mask.astype(np.float32), (_GEOMETRY_GRID, _GEOMETRY_GRID), interpolation=cv2.INTER_AREA
    )
    summary = [len(areas), sum(areas) / mask.size, max(areas, default=0) / mask.size]
    geometry = np.concatenate([summary, cells.ravel()]).astype(np.float64)
    shape = (mask.shape[0], mask.shape[1])
    large = [hole for hole, area in zip(holes, areas, strict=True) if area >= _MIN_AREA_PX]
    return FilledPlaces(shape, tuple(large[:_MAX_PATCHES]), geometry)


def measure_patches(patch_job: PatchJob, measure: Measure | None = None) -> PatchFeatures:
    """Measure the filled patches of a cleaned film and untouched ones that are like them.

    Args:
        patch_job: The film and the places.
        measure: What is taken of a patch instead of :func:`measure_patch`.

    Returns:
        Features of pairs of patches, see :class:`PatchFeatures`.
    """
    job = patch_job.job
    pixels = read_film(FilmFile(job.output, window=job.source.window)).to_uint8()
    closed = _close(job, patch_job.own, pixels.shape)
    touched = cv2.dilate(closed.astype(np.uint8), np.ones((2 * _RING_PX + 1,) * 2, np.uint8)) > 0
    matcher = PlaceMatcher(pixels, closed)
    generator = np.random.default_rng(derive_seed(patch_job.seed, job.film.image_id, "scar places"))
    found = PatchFeatures([], [], [], [])
    measure = measure or measure_patch
    for hole in patch_job.own.holes:
        mask = hole.drawn(pixels.shape)
        alike = matcher.find(hole, generator, on_grid=True)
        _measure_pair((pixels, mask, alike), measure, found.filled, found.matched)
    for donor in patch_job.donors:
        for shape in donor.holes:
            hole = _scale(shape, donor.shape, pixels.shape)
            mask = hole.drawn(pixels.shape)
            if mask.any() and not (mask & touched).any():
                alike = matcher.find(hole, generator, besides=True, on_grid=True)
                _measure_pair(
                    (pixels, mask, alike), measure, found.untouched, found.untouched_matched
                )
    return found


def _close(job: Job, own: FilledPlaces, shape: tuple[int, ...]) -> Mask:
    """Mark what was filled or written."""
    closed = np.zeros(shape, np.bool_)
    for hole in own.holes:
        hole.stamp(closed)
    regions = [*job.regions.regions, *(job.shapes or ()), *job.decoys]
    growth = job.params.growth_on(shape)
    return closed | regions_to_mask(regions, shape[1], shape[0], dilation_px=growth)


def _measure_pair(
    place: tuple[Gray, Mask, PlacedMask | None],
    measure: Measure,
    ones: list[Features],
    others: list[Features],
) -> None:
    """Append the features of both places, or of none."""
    pixels, mask, alike = place
    if alike is None:
        return
    first = measure(pixels, mask)
    second = measure(pixels, alike.drawn(pixels.shape))
    if first is not None and second is not None:
        ones.append(first)
        others.append(second)


def measure_patch(pixels: Gray, mask: Mask) -> Features | None:
    """Compare the texture inside a patch with that of the ring around it.

    Args:
        pixels: ``(H, W)``, gray levels as models see them.
        mask: ``(H, W)``, True inside the patch.

    Returns:
        Eight numbers: logarithms of inside over ring for fine and medium texture, Laplacian and
        gradient; the same fine texture inside, absolute; the step over the edge; the difference of
        the means in ring spreads; the share of exactly flat pixels. None if the film has no room
        for a ring.
    """
    rows, columns = np.nonzero(mask)
    margin = 2 * _RING_PX
    window = (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin + 1),
        slice(max(int(columns.min()) - margin, 0), int(columns.max()) + margin + 1),
    )
    inside = mask[window]
    grown = cv2.dilate(inside.astype(np.uint8), np.ones((2 * _RING_PX + 1,) * 2, np.uint8)) > 0
    ring = grown & ~inside
    if ring.sum() < _MIN_AREA_PX:
        return None
    crop = pixels[window].astype(np.float64)
    fine = crop - cv2.GaussianBlur(crop, (0, 0), 1.0)
    medium = cv2.GaussianBlur(crop, (0, 0), 1.0) - cv2.GaussianBlur(crop, (0, 0), 3.0)
    laplacian = cv2.Laplacian(crop, cv2.CV_64F)
    gradient = np.hypot(cv2.Sobel(crop, cv2.CV_64F, 1, 0), cv2.Sobel(crop, cv2.CV_64F, 0, 1))
    edge = (cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~inside
    ratios = [
        np.log((np.std(layer[inside]) + _EPSILON) / (np.std(layer[ring]) + _EPSILON))
        for layer in (fine, medium, laplacian)
    ]
    return np.array(
        [
            *ratios,
            np.log((gradient[inside].mean() + _EPSILON) / (gradient[ring].mean() + _EPSILON)),
            np.log(np.std(fine[inside]) + _EPSILON),
            np.log((gradient[edge].mean() + _EPSILON) / (gradient[ring].mean() + _EPSILON)),
            (crop[inside].mean() - crop[ring].mean()) / (np.std(crop[ring]) + _EPSILON),
            float((np.abs(laplacian[inside]) < _EPSILON).mean()),
        ]
    )


def _scale(hole: PlacedMask, old: tuple[int, int], new: tuple[int, ...]) -> PlacedMask:
    by_row, by_column = new[0] / old[0], new[1] / old[1]
    size = (max(round(hole.wide * by_column), 1), max(round(hole.high * by_row), 1))
    mask = cv2.resize(hole.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return PlacedMask(round(hole.top * by_row), round(hole.left * by_column), mask)
