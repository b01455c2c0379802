"""Fits regions to what is burned in: tight round the glyphs, out to a circle round a letter.

Owns geometry only; whether something is text was decided before. Detectors of scene text draw
generous boxes, which clean away tissue, and stop at the letter of a circled marker, which leaves a
ring behind.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.boxes import area_of, to_polygon
from covid_debug.records import Box, TextRegion
from covid_debug.text.screening import Gray

_PAD_PX = 1
_EDGE_SHARE = 0.4
_LEAST_KEPT = 0.25
_UPRIGHT = 0.8
_RING_REACH = 1.6
_RING_FILL = 0.45
_MOST_SLENDER = 2.5
_RING_ROUNDNESS = 0.6
_RING_CONTRAST = 0.4


def refine_regions(regions: Sequence[TextRegion], image: Gray) -> list[TextRegion]:
    """Fit regions to the film.

    Args:
        regions: Accepted regions in film pixels.
        image: The film, ``(H, W)`` uint8.

    Returns:
        As many regions in the same order. An upright region is shrunk to its glyphs with 1 px
        around; a compact one inside a ring becomes the ring's box; slanted ones stay.
    """
    return [_refine(region, image) for region in regions]


def _measure_steepness(pixels: Gray) -> NDArray[np.float32]:
    window = pixels.astype(np.float32)
    across, down = (cv2.Sobel(window, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down), np.float32)


def _refine(region: TextRegion, image: Gray) -> TextRegion:
    if not _is_upright(region):
        return region
    box = shrink_to_glyphs(region.box, image)
    ring = find_ring(box, image)
    return replace(region, polygon=to_polygon(ring or box))


def _is_upright(region: TextRegion) -> bool:
    x0, y0, x1, y1 = region.box
    area = cv2.contourArea(np.asarray(region.polygon, np.float32))
    return bool(area >= _UPRIGHT * (x1 - x0) * (y1 - y0))


def shrink_to_glyphs(box: Box, image: Gray) -> Box:
    """Return the part of a box that holds steep edges, with 1 px around, inside the box.

    Args:
        box: ``(x0, y0, x1, y1)`` in film pixels.
        image: The film, ``(H, W)`` uint8.

    Returns:
        The tighter box; ``box`` itself where less than a quarter of it would remain, since then the
        edges are not those of the glyphs.
    """
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    if min(x1 - x0, y1 - y0) < 4:
        return box
    steepness = _measure_steepness(image[y0:y1, x0:x1])
    is_edge = steepness > _EDGE_SHARE * np.percentile(steepness, 98)
    rows, columns = np.flatnonzero(is_edge.any(axis=1)), np.flatnonzero(is_edge.any(axis=0))
    if not rows.size:
        return box
    tight = (
        max(box[0], x0 + columns[0] - _PAD_PX),
        max(box[1], y0 + rows[0] - _PAD_PX),
        min(box[2], x0 + columns[-1] + 1 + _PAD_PX),
        min(box[3], y0 + rows[-1] + 1 + _PAD_PX),
    )
    if area_of(tight) < _LEAST_KEPT * area_of(box):
        return box
    return float(tight[0]), float(tight[1]), float(tight[2]), float(tight[3])


def find_ring(box: Box, image: Gray) -> Box | None:
    """Find a bright closed line round a box, as on circled side markers.

    Args:
        box: A letter's box in film pixels.
        image: The film, ``(H, W)`` uint8.

    Returns:
        The bounding box of the smallest ring; None without one, or when the box holds a word. A
        ring is a connected line that encloses the box, is closed, about as wide as high, and fills
        little of its own bounding box.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    if max(width, height) > _MOST_SLENDER * min(width, height):
        return None
    reach = _RING_REACH * max(width, height)
    x0, y0, x1, y1 = _to_pixels(
        (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach), image.shape
    )
    window = image[y0:y1, x0:x1].astype(np.float32)
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(_find_lines(window))
    rings = []
    for label in range(1, n_labels):
        left, top, wide, high, area = (int(value) for value in stats[label])
        found = (float(x0 + left), float(y0 + top), float(x0 + left + wide), float(y0 + top + high))
        if (
            _encloses(found, box)
            and min(wide, high) >= _RING_ROUNDNESS * max(wide, high)
            and area <= _RING_FILL * wide * high
            and _is_closed(labels[top : top + high, left : left + wide] == label)
        ):
            rings.append((wide * high, found))
    return min(rings)[1] if rings else None


def _find_lines(window: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 1 where the window is brighter than what lies on both sides of a thin line."""
    side = max(5, min(window.shape) // 8 | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    line = cv2.morphologyEx(window, cv2.MORPH_TOPHAT, kernel)
    least = max(_RING_CONTRAST * float(np.percentile(line, 99)), 1.0)
    return np.asarray(line > least, np.uint8)


def _encloses(outer: Box, inner: Box) -> bool:
    centre_x, centre_y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    wide, high = (inner[2] - inner[0]) / 2, (inner[3] - inner[1]) / 2
    return (
        outer[0] <= centre_x - 0.6 * wide
        and outer[1] <= centre_y - 0.6 * high
        and outer[2] >= centre_x + 0.6 * wide
        and outer[3] >= centre_y + 0.6 * high
        and (outer[2] - outer[0]) * (outer[3] - outer[1]) > 4 * wide * high
    )


def _is_closed(line: NDArray[np.bool_]) -> bool:
    """Return whether the background at the centre cannot reach the border past the line."""
    free = np.pad(~line, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(free, connectivity=4)
    rows, columns = labels.shape
    centre = labels[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    enclosed = (centre != labels[0, 0]) & (centre != 0)
    return bool(enclosed.mean() > 0.25)


def _to_pixels(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    return (
        max(int(box[0]), 0),
        max(int(box[1]), 0),
        min(int(np.ceil(box[2])), shape[1]),
        min(int(np.ceil(box[3])), shape[0]),
    )
