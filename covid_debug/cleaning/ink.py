"""Follows the ink of a text region over the border of its mask.

Owns the question whether a letter was cut off. What belongs to the letters inside a region is
:mod:`covid_debug.cleaning.glyphs`.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.masks import Mask, PlacedMask, scale_of
from covid_debug.imaging.reading import Pixels

Layer = NDArray[np.float32]

_REACH_PX: Final = (6, 24)
_STROKE_PX: Final = (3, 10)
_FAINTEST_SHARE: Final = 0.6
"""Ink outside stands out at least as this share of the ink inside."""
_LEVEL_PERCENTILE: Final = 90.0
_MIN_LEVEL: Final = 0.12  # of the grey range; fainter letters cannot be told from film
_MIN_CUT_PX: Final = 4
_MIN_INSIDE_SHARE: Final = 0.2  # of a piece; what lies nearly all outside is no letter of this text
_MAX_WIDENING: Final = 1.5
"""What is wider outside than this many strokes is film that is as bright as the letter."""


def follow_ink(
    pixels: Pixels, placed: PlacedMask, hidden: Mask, *, dilation_px: int, grey_range: float
) -> tuple[PlacedMask, bool]:
    """Complete the mask of a region whose ink goes on outside.

    Ink is what is thin and stands out (a top-hat wider than strokes), in the one direction, bright
    or dark, in which the letters inside stand out more. It goes on where a connected piece of it,
    at least 0.6 times as strong as the letters, lies on both sides of the border and is no wider
    outside than letters are. A piece that ends within half the height of the mask (6 to 24 px) is
    taken along (more on films larger than 640 px); one that goes further is left.

    Args:
        pixels: ``(H, W)``, 8 or 16 bit.
        placed: The mask of the region.
        hidden: ``(H, W)``, True in the masks of all regions of the film.
        dilation_px: Growth of what is added, in pixels.
        grey_range: Largest minus smallest grey value that counts as full contrast.

    Returns:
        The mask, larger where ink was followed, and whether ink goes on outside of it still.
    """
    side = min(placed.high, placed.wide)
    unit = scale_of(pixels.shape)
    reach = int(np.clip(side // 2, unit * _REACH_PX[0], unit * _REACH_PX[1]))
    stroke = int(np.clip(side // 5, unit * _STROKE_PX[0], unit * _STROKE_PX[1]))
    rows, columns = placed.window(pixels.shape, reach + max(2 * stroke, dilation_px) + 1)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return placed, False
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    PlacedMask(placed.top - rows.start, placed.left - columns.start, placed.mask).stamp(inside)
    if not inside.any():
        return placed, False
    kernel = np.ones((2 * stroke + 1,) * 2, np.uint8)
    crop = pixels[rows, columns].astype(np.float32)
    hats = [cv2.morphologyEx(crop, kind, kernel) for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    levels = [float(np.percentile(hat[inside], _LEVEL_PERCENTILE)) for hat in hats]
    level, hat = max(levels), hats[int(np.argmax(levels))]
    if level < _MIN_LEVEL * grey_range:
        return placed, False
    near = cv2.dilate(inside.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
    ink: Mask = np.asarray(hat > _FAINTEST_SHARE * level)
    added, goes_on = _find_cut(ink, inside, hidden[rows, columns], near)
    if not added.any():
        return placed, goes_on
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilation_px + 1,) * 2)
    grown = inside | (cv2.dilate(added.astype(np.uint8), ball) > 0)
    return PlacedMask(rows.start, columns.start, grown), goes_on


def _find_cut(ink: Mask, inside: Mask, hidden: Mask, near: Mask) -> tuple[Mask, bool]:
    """Return the ink outside that ends nearby, and whether some goes further."""
    written = inside | hidden
    added, goes_on = np.zeros_like(inside), False
    width = _measure_depth(ink & inside)
    n_labels, labels = cv2.connectedComponents(ink.astype(np.uint8), connectivity=8)
    for label in range(1, n_labels):
        piece = labels == label
        outside = piece & ~written
        n_inside = int((piece & inside).sum())
        if outside.sum() < _MIN_CUT_PX or n_inside < _MIN_INSIDE_SHARE * piece.sum():
            continue
        if _measure_depth(outside) > _MAX_WIDENING * width + 1:
            continue
        if (outside & ~near).any():
            goes_on = True
        else:
            added |= outside
    return added, goes_on


def _measure_depth(mask: Mask) -> float:
    """Return half the width of the widest place of a mask, in pixels."""
    return float(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5).max())
