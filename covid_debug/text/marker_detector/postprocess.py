"""From the network's heat maps to text regions in film pixels.

Owns thresholds and geometry; a line of text is a connected patch of the area map that holds at
least one clear character.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.ranges import check_range
from covid_debug.records import TextRegion

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RegionThresholds:
    """When heat becomes text.

    Attributes:
        character: Least peak of the character map inside a region, in (0, 1).
        area: Area score above which a pixel belongs to a region, in (0, 1).
        growth: Margin added on every side, as a share of the region's shorter side, >= 0.
        growth_px: Margin added on every side on top, in heat-map pixels, >= 0.
        min_side: Regions with a shorter side below this are dropped, in heat-map pixels, >= 0.
    """

    character: float = 0.4
    area: float = 0.5
    growth: float = 0.04
    growth_px: float = 0.1
    min_side: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range(self, "(0, 1)", "character", "area", where="text.marker")
        check_range(self, "[0, inf)", "growth", "growth_px", "min_side", where="text.marker")


def find_regions(
    characters: Map,
    areas: Map,
    scale: tuple[float, float],
    thresholds: RegionThresholds,
    detector: str,
) -> list[TextRegion]:
    """Group heat into regions.

    Args:
        characters: Character score ``(h, w)`` in [0, 1].
        areas: Text-area score ``(h, w)`` in [0, 1].
        scale: Film pixels in one heat-map pixel, along x and y.
        thresholds: When heat becomes text.
        detector: Name recorded in every region.

    Returns:
        Rectangles (turned where the text is), in film pixels. The confidence is the median area
        score inside, which tells text from look-alikes better than the peak of the character map
        (benchmarks/text.md).
    """
    is_text = (areas > thresholds.area).astype(np.uint8)
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(is_text, connectivity=8)
    regions = []
    for label in range(1, n_labels):
        x, y, width, height, _ = (int(value) for value in stats[label])
        if min(width, height) < thresholds.min_side:
            continue
        window = (slice(y, y + height), slice(x, x + width))
        inside = labels[window] == label
        if characters[window][inside].max() < thresholds.character:
            continue
        confidence = float(np.median(areas[window][inside]))
        corners = _rectangle(inside, thresholds) + np.array([x, y])
        polygon = tuple((float(px * scale[0]), float(py * scale[1])) for px, py in corners)
        regions.append(TextRegion(polygon, min(confidence, 1.0), None, detector))
    return regions


def _rectangle(inside: NDArray[np.bool_], thresholds: RegionThresholds) -> NDArray[np.float64]:
    """Return the least rectangle round the pixels; upright unless turning it saves a fifth."""
    rows, columns = np.nonzero(inside)
    corners = np.concatenate(
        [np.stack([columns + dx, rows + dy], axis=1) for dx in (0, 1) for dy in (0, 1)]
    ).astype(np.float32)
    center, size, angle = cv2.minAreaRect(corners)
    upright = inside.shape[0] * inside.shape[1]
    if size[0] * size[1] > 0.8 * upright:
        center = (inside.shape[1] / 2, inside.shape[0] / 2)
        size, angle = (inside.shape[1], inside.shape[0]), 0.0
    margin = 2 * (thresholds.growth * min(size) + thresholds.growth_px)
    return np.asarray(
        cv2.boxPoints((center, (size[0] + margin, size[1] + margin), angle)), np.float64
    )
