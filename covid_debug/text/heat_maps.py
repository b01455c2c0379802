"""From character heat maps to regions, and from many regions to few.

Source: Baek et al. 2019, "Character Region Awareness for Text Detection", section 3.3: threshold
region and affinity scores, label connected components, minimum-area rectangles. The lower
threshold for a component's extent follows the authors' released parameters.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.boxes import area_of, enclose, share_of_smaller, to_polygon
from covid_debug.records import Point, TextRegion


@dataclass(frozen=True, slots=True)
class HeatMapRegion:
    """One connected group of characters.

    Attributes:
        polygon: Four corners ``(x, y)`` in heat-map pixels, pixel ``i`` covering ``[i, i+1)``.
        confidence: Highest region score inside, in [0, 1].
    """

    polygon: tuple[Point, ...]
    confidence: float


def group_characters(
    text_map: NDArray[np.float32],
    link_map: NDArray[np.float32] | None,
    *,
    text_threshold: float = 0.7,
    link_threshold: float = 0.4,
    low_text: float = 0.4,
    min_area_px: int = 10,
) -> list[HeatMapRegion]:
    """Group the characters of a heat map into text regions.

    Pixels above ``low_text`` or linked above ``link_threshold`` form 4-connected components; a
    component whose highest region score is below ``text_threshold`` is dropped. The rectangle is
    drawn round the component's text pixels (links left out) after growing them by the component's
    mean stroke, since a Gaussian cut at ``low_text`` is smaller than its character.

    Args:
        text_map: Region score ``(h, w)`` in [0, 1].
        link_map: Affinity score ``(h, w)`` in [0, 1]; None when every component stands alone.
        text_threshold: Least peak of a component.
        link_threshold: Least affinity that joins two characters.
        low_text: Region score above which a pixel belongs to a character.
        min_area_px: Smaller components are dropped; heat-map pixels.

    Returns:
        Regions in the order of their top-left pixel.
    """
    is_text = text_map > low_text
    is_member = is_text if link_map is None else is_text | (link_map > link_threshold)
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(
        is_member.astype(np.uint8), connectivity=4
    )
    regions = []
    for label in range(1, n_labels):
        x, y, width, height, area = (int(value) for value in stats[label])
        if area < min_area_px:
            continue
        window = np.s_[y : y + height, x : x + width]
        inside = labels[window] == label
        peak = float(text_map[window][inside].max())
        characters = inside & is_text[window]
        if peak < text_threshold or not characters.any():
            continue
        growth = math.sqrt(area * min(width, height) / (width * height))
        polygon = _rectangle_around(characters, x, y, growth, text_map.shape)
        regions.append(HeatMapRegion(polygon, min(peak, 1.0)))
    return regions


def _rectangle_around(
    characters: NDArray[np.bool_], x: int, y: int, growth: float, shape: tuple[int, ...]
) -> tuple[Point, ...]:
    """Return the least rectangle round all pixel corners, grown on all sides and clipped."""
    rows, columns = np.nonzero(characters)
    corners = np.concatenate(
        [
            np.stack([columns + x + dx, rows + y + dy], axis=1)
            for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1))
        ]
    ).astype(np.float32)
    centre, (side_a, side_b), angle = cv2.minAreaRect(corners)
    if abs(side_a - side_b) <= 0.1 * max(side_a, side_b):
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        centre, (side_a, side_b), angle = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0), 0.0
    box = cv2.boxPoints((centre, (side_a + 2 * growth, side_b + 2 * growth), angle))
    return tuple(
        (float(np.clip(px, 0, shape[1])), float(np.clip(py, 0, shape[0]))) for px, py in box
    )


def merge_regions(regions: Sequence[TextRegion]) -> list[TextRegion]:
    """Merge regions that see the same text.

    A group of :func:`group_regions` becomes the bounding rectangle of its members; a region without
    partner keeps its polygon. Detector names are joined by ``+`` in alphabetical order, the
    confidence is the highest, the content is that of the most confident member that reads.

    Args:
        regions: Regions of one film.

    Returns:
        The merged regions, in reading order of their top-left corners.
    """
    groups = group_regions(regions)
    joined = [_merge_group(group) for group in groups]
    return sorted(joined, key=lambda region: (region.box[1], region.box[0]))


def group_regions(
    regions: Sequence[TextRegion], *, min_overlap: float = 0.3, max_growth: float = 2.0
) -> list[list[TextRegion]]:
    """Put regions that see the same text into one group, transitively.

    Two regions belong together when their bounding boxes share at least ``min_overlap`` of the
    smaller box and their common box is at most ``max_growth`` times the larger one.

    Args:
        regions: Regions of one film.
        min_overlap: Shared area over the smaller area, in (0, 1].
        max_growth: Area of the common box over the larger area, >= 1; two slanted lines that cross
            stay apart.

    Returns:
        The groups; every region is in one of them.
    """
    groups = [[region] for region in regions]
    boxes = [region.box for region in regions]
    merged_any = True
    while merged_any:
        merged_any = False
        for first in range(len(groups)):
            second = first + 1
            while second < len(groups):
                joint = enclose(boxes[first], boxes[second])
                larger = max(area_of(boxes[first]), area_of(boxes[second]))
                if (
                    share_of_smaller(boxes[first], boxes[second]) >= min_overlap
                    and area_of(joint) <= max_growth * larger
                ):
                    groups[first] += groups.pop(second)
                    boxes[first] = joint
                    boxes.pop(second)
                    merged_any = True
                else:
                    second += 1
    return groups


def _merge_group(group: Sequence[TextRegion]) -> TextRegion:
    if len(group) == 1:
        return group[0]
    box = functools.reduce(enclose, (region.box for region in group))
    return attribute(group, to_polygon(box))


def attribute(group: Sequence[TextRegion], polygon: tuple[Point, ...]) -> TextRegion:
    """Return a region with this polygon, seen and read by all of the group."""
    names = sorted({name for region in group for name in region.detector.split("+")})
    readers = [region for region in group if region.content is not None]
    content = max(readers, key=lambda region: region.confidence).content if readers else None
    return TextRegion(
        polygon=polygon,
        confidence=max(region.confidence for region in group),
        content=content,
        detector="+".join(names),
        kind=group[0].kind,
    )
