"""The plate or disc that the letters of a marker stand on, or the ring around them.

Owns the question where a marker ends: a disc without its letter is still a marker. What belongs to
the letters is :mod:`covid_debug.cleaning.glyphs`.
"""

from typing import Final

import cv2
import numpy as np

from covid_debug.imaging.masks import Mask, grow_mask
from covid_debug.imaging.reading import Pixels

_EXTREMES: Final = (2.0, 98.0)  # percentiles
_BORDER_SHARE: Final = 0.08  # of the region's shorter side
_TOLERANCE: Final = 0.2  # of the letters' contrast
_MIN_LEVEL: Final = 0.1  # of the grey range
_MAX_AREA: Final = 0.015  # of the film
_MAX_GROWTH: Final = 1.5  # times the region, which may well be a large one
_MIN_SOLIDITY: Final = 0.9  # area by that of its convex hull
_RIM_SHARE: Final = 0.15  # of the plate's shorter side


def find_plate(
    crop: Pixels,
    core: Mask,
    open_sides: tuple[bool, bool, bool, bool],
    *,
    film_area: int,
    grey_range: float,
) -> tuple[Mask, bool]:
    """Find what the letters of a region stand on.

    The ground of the letters is what lies along the border of the region. It is spread as far as
    its grey value stays (0.2 of the letters' contrast). If that ends on all sides within the
    window, in a convex shape, it is a plate where the film beyond has another grey value, and the
    inside of a ring where it has the same.

    Args:
        crop: The film around a region, ``(h, w)``.
        core: ``(h, w)``, True inside the region; not all False.
        open_sides: Which sides of the window (top, bottom, left, right) lie inside the film.
        film_area: Pixels of the film.
        grey_range: Largest minus smallest grey value that counts as full contrast.

    Returns:
        ``(h, w)``, True on the plate with all that is on it and its rim, or on the ring; and
        whether there is a plate that is too large to go: more than 1.5 % of the film, and more
        than 1.5 times the region.
    """
    found = _find_ground(crop, core, grey_range)
    if found is None:
        return np.zeros_like(core), False
    grey, tolerance, seeds = found
    shape = _spread(crop, grey, tolerance, seeds, open_sides)
    if (core & shape).sum() < core.sum() / 2:
        return np.zeros_like(core), False
    rim_px = max(3, round(_RIM_SHARE * min(np.ptp(np.nonzero(shape), axis=1) + 1)))
    near = grow_mask(shape, rim_px)
    beyond = crop[grow_mask(shape, 2 * rim_px) & ~near]
    film = float(np.median(beyond)) if beyond.size else grey
    rim = near & ~shape & _is_outside(crop, grey, film, tolerance)
    if abs(film - grey) < tolerance:
        return rim, False
    whole, _ = _outline(shape | rim)
    is_large = bool(whole.sum() > max(_MAX_AREA * film_area, _MAX_GROWTH * core.sum()))
    return (np.zeros_like(core) if is_large else whole), is_large


def _find_ground(crop: Pixels, core: Mask, grey_range: float) -> tuple[float, float, Mask] | None:
    """Return grey value and tolerance of the ground of the letters, and where it lies for sure."""
    low, high = (float(value) for value in np.percentile(crop[core], _EXTREMES))
    seeds = core & ~(cv2.erode(core.astype(np.uint8), np.ones((2 * _border_px(core) + 1,) * 2)) > 0)
    border = crop[seeds].astype(np.float32)
    if not border.size:
        return None
    is_dark = border < (low + high) / 2
    ground = border[is_dark] if 2 * is_dark.sum() > is_dark.size else border[~is_dark]
    grey = float(np.median(ground))
    level = max(high - grey, grey - low)
    return (grey, _TOLERANCE * level, seeds) if level >= _MIN_LEVEL * grey_range else None


def _spread(
    crop: Pixels,
    grey: float,
    tolerance: float,
    seeds: Mask,
    open_sides: tuple[bool, bool, bool, bool],
) -> Mask:
    """Return the convex shape that one grey value fills from the seeds on; empty without one."""
    same = np.abs(crop.astype(np.float32) - grey) <= tolerance
    labels = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)[1]
    numbers = np.unique(labels[seeds & same])
    spread: Mask = np.isin(labels, numbers[numbers > 0])
    edges = (spread[0], spread[-1], spread[:, 0], spread[:, -1])
    if any(edge.any() for edge, is_open in zip(edges, open_sides, strict=True) if is_open):
        return np.zeros_like(spread)
    shape, solidity = _outline(spread)
    return shape if solidity >= _MIN_SOLIDITY else np.zeros_like(shape)


def _border_px(core: Mask) -> int:
    sides = (np.flatnonzero(core.any(axis=axis)).size for axis in (0, 1))
    return max(1, round(_BORDER_SHARE * min(sides)))


def _is_outside(crop: Pixels, first: float, second: float, tolerance: float) -> Mask:
    """Return where grey values are neither of the plate nor of the film, nor between."""
    values = crop.astype(np.float32)
    low, high = min(first, second) - tolerance, max(first, second) + tolerance
    return np.asarray((values < low) | (values > high))


def _outline(mask: Mask) -> tuple[Mask, float]:
    """Return the largest shape without holes, and its solidity."""
    closed = cv2.morphologyEx(
        mask.astype(np.uint8), cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    )
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    shape = np.zeros_like(closed)
    if not outlines:
        return shape > 0, 0.0
    outline = max(outlines, key=cv2.contourArea)
    cv2.drawContours(shape, [outline], -1, 1, cv2.FILLED)
    hull = cv2.contourArea(cv2.convexHull(outline))
    return shape > 0, cv2.contourArea(outline) / hull if hull else 0.0
