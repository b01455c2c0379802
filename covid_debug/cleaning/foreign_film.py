"""Compares one film before and after a cleaning by whatever tool.

Owns the comparison of two files; the folders belong to :mod:`covid_debug.cleaning.foreign`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.matching import PlaceMatcher
from covid_debug.cleaning.patches import Features, locate, measure_patch
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.colour import read_tint
from covid_debug.imaging.dicom import DicomFilm
from covid_debug.imaging.dicom_files import is_dicom
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.pictures import PictureFilm
from covid_debug.imaging.reading import FilmImage, read_film
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.imaging.stored import StoredFilm
from covid_debug.records import Box, TextRegion
from covid_debug.seeding import derive_seed
from covid_debug.text.finder import Finder

_REACH_PX: Final = 12
"""How far from found text a change still belongs to it: boxes are drawn generously."""
_VISIBLE_SHARE: Final = 0.02
"""Of the range of values, from which a change is no rounding of a coding."""


@dataclass(frozen=True, slots=True)
class ForeignFilm:
    """What another tool did to one film.

    Attributes:
        film: Path below the first folder.
        error: Why it could not be compared, ``""`` otherwise.
        text_before: Boxes of text in the first folder's film.
        text_after: Boxes of text in the second folder's film.
        n_in_filled: Of ``text_after``, those that touch changed pixels.
        n_changed: Pixels of which a stored value differs.
        n_changed_outside: Those of them further than 12 px from text that was found before.
        n_visible_outside: Those of them that differ by more than 2 % of the range of values.
        max_change_outside: The largest difference there, in stored values.
        notes: What else changed: the kind of file, the header.
    """

    film: str
    error: str = ""
    text_before: tuple[Box, ...] = ()
    text_after: tuple[Box, ...] = ()
    n_in_filled: int = 0
    n_changed: int = 0
    n_changed_outside: int = 0
    n_visible_outside: int = 0
    max_change_outside: int = 0
    notes: tuple[str, ...] = ()


def compare_film(
    name: str, first: Path, second: Path, finder: Finder, seed: int
) -> tuple[ForeignFilm, list[Features], list[Features]]:
    """Compare one film before and after cleaning.

    Args:
        name: Its name in the proof.
        first: File before.
        second: File after.
        finder: Finds text.
        seed: Seed of the drawing of untouched places.

    Returns:
        What was done to it, and what its filled places look like and as many untouched ones.

    Raises:
        DataIntegrityError: If one cannot be read or they have different sizes.
    """
    shown = [read_film(path) for path in (first, second)]
    if shown[0].pixels.shape != shown[1].pixels.shape:
        sizes = " and ".join(f"{one.pixels.shape[1]} x {one.pixels.shape[0]}" for one in shown)
        raise DataIntegrityError(f"{name}: has another size after cleaning ({sizes})")
    found = [
        finder.find(image, read_tint(path))
        for image, path in zip(shown, (first, second), strict=True)
    ]
    before, after = ([region for region in one if region.is_text] for one in found)
    stored = [_open(path) for path in (first, second)]
    difference, top = _subtract(stored, shown)
    height, width = difference.shape
    near = regions_to_mask(found[0], width, height, dilation_px=_REACH_PX)
    outside = np.where(near, 0, difference)
    is_visible = difference > _VISIBLE_SHARE * top
    film = ForeignFilm(
        name,
        text_before=tuple(region.box for region in before),
        text_after=tuple(region.box for region in after),
        n_in_filled=sum(_touches(region, is_visible) for region in after),
        n_changed=int(np.count_nonzero(difference)),
        n_changed_outside=int(np.count_nonzero(outside)),
        n_visible_outside=int(np.count_nonzero(is_visible & ~near)),
        max_change_outside=int(outside.max()),
        notes=_note(stored),
    )
    filled, matched = _measure(shown[1], is_visible, found[0], derive_seed(seed, name, "places"))
    return film, filled, matched


def _open(path: Path) -> StoredFilm:
    data = path.read_bytes()
    if is_dicom(path):
        return DicomFilm(data, str(path), overlays="keep")
    return PictureFilm(data, str(path))


def _subtract(
    stored: Sequence[StoredFilm], shown: Sequence[FilmImage]
) -> tuple[NDArray[np.int32], int]:
    """Return how far the films differ, as shown, and the range of their values.

    Stored values are compared where both files hold the same kind; else what is shown.
    """
    before, after = stored
    is_alike = type(before) is type(after) and before.planes.shape == after.planes.shape
    mark = np.zeros(shown[0].pixels.shape, np.bool_)
    mark[0, :2] = True
    is_upright = all(np.array_equal(one.turn(mark), mark) for one in stored)
    if is_alike and before.top == after.top and is_upright:
        planes = [one.planes.astype(np.int32) for one in stored]
        return np.abs(planes[0] - planes[1]).max(axis=2), before.top
    grays = [one.to_uint8().astype(np.int32) for one in shown]
    return np.abs(grays[0] - grays[1]), 255


def _touches(region: TextRegion, changed: Mask) -> bool:
    left, top, right, low = (int(value) for value in region.box)
    return bool(changed[max(top, 0) : low + 1, max(left, 0) : right + 1].any())


def _note(stored: Sequence[StoredFilm]) -> tuple[str, ...]:
    before, after = stored
    notes = []
    if before.coding != after.coding:
        notes.append(f"{before.coding} became {after.coding}")
    if before.top != after.top:
        notes.append(f"values up to {before.top} became values up to {after.top}")
    if before.planes.shape[2] != after.planes.shape[2]:
        notes.append(f"{before.planes.shape[2]} channels became {after.planes.shape[2]}")
    if isinstance(before, DicomFilm) and isinstance(after, DicomFilm):
        notes += before.note_changes(after)
    return tuple(notes)


def _measure(
    image: FilmImage, changed: Mask, text: Sequence[TextRegion], seed: int
) -> tuple[list[Features], list[Features]]:
    """Describe the filled places and untouched ones that are like them."""
    pixels = image.to_uint8()
    height, width = pixels.shape
    filled: list[Features] = []
    matched: list[Features] = []
    if not changed.any():
        return filled, matched
    # Letters leave ragged groups of changed pixels; what was filled is their closed shape.
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    mask = np.asarray(closed, np.bool_)
    matcher = PlaceMatcher(pixels, mask | regions_to_mask(text, width, height))
    generator = np.random.default_rng(seed)
    for hole in locate(mask).holes:
        alike = matcher.find(hole, generator)
        if alike is None:
            continue
        pair = [measure_patch(pixels, one.drawn(pixels.shape)) for one in (hole, alike)]
        if pair[0] is not None and pair[1] is not None:
            filled.append(pair[0])
            matched.append(pair[1])
    return filled, matched
