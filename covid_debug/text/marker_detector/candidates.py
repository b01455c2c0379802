"""From the network's heat maps to candidates: patches that may be text, with what is known of each.

Owns thresholds, geometry and features; whether a candidate is text is decided in ``calibration``.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.ranges import check_range

Map = NDArray[np.float32]
Corners = NDArray[np.float64]
FEATURES = (
    "area", "area_spread", "area_peak", "character", "characters", "annotation", "log_side",
    "log_aspect", "fill", "log_edge", "log_contrast", "at_border",
)  # fmt: skip
_LEAST_SCORE = 1e-3


@dataclass(frozen=True, slots=True)
class Maps:
    """What the network says about one film, and the film at the same resolution.

    Attributes:
        characters: Score of character centres ``(h, w)`` in [0, 1].
        areas: Score of text areas, likewise.
        annotations: Score of drawn arrows, circles and lines, likewise.
        film: Gray levels ``(h, w)`` in [0, 255].
        scale: Film pixels in one map pixel, along x and y.
    """

    characters: Map
    areas: Map
    annotations: Map
    film: Map
    scale: tuple[float, float]


@dataclass(frozen=True, slots=True)
class RegionThresholds:
    """When heat becomes a candidate.

    Attributes:
        area: Area score above which a pixel belongs to a region, in (0, 1).
        weak_area: The same for candidates that are weak throughout, in (0, 1).
        character: Least peak of the character map inside a candidate, in (0, 1).
        annotation: Score above which a pixel belongs to an annotation, in (0, 1).
        annotation_peak: Score that a tenth of an annotation's pixels reach, in (0, 1).
        growth: Margin added on every side, as a share of the region's shorter side, >= 0.
        growth_px: Margin added on every side on top, in map pixels, >= 0.
        min_side: Regions with a shorter side below this are dropped, in map pixels, >= 0.
    """

    area: float = 0.5
    weak_area: float = 0.25
    character: float = 0.1
    annotation: float = 0.5
    annotation_peak: float = 0.92
    growth: float = 0.04
    growth_px: float = 0.1
    min_side: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        scores = ("area", "weak_area", "character", "annotation", "annotation_peak")
        check_range(self, "(0, 1)", *scores, where="text.marker")
        check_range(self, "[0, inf)", "growth", "growth_px", "min_side", where="text.marker")


@dataclass(frozen=True, slots=True)
class TurnedBox:
    """A rectangle in map pixels: centre, half sides and the unit vector along its longer side."""

    center: NDArray[np.float64]
    half: tuple[float, float]
    ahead: NDArray[np.float64]

    @property
    def aside(self) -> NDArray[np.float64]:
        """Unit vector along the shorter side."""
        return np.array([-self.ahead[1], self.ahead[0]])

    def corners(self) -> Corners:
        """Return the four corners."""
        first, second = self.half[0] * self.ahead, self.half[1] * self.aside
        return self.center + np.stack(
            [-first - second, first - second, first + second, second - first]
        )

    def reach(self, direction: NDArray[np.float64]) -> float:
        """Return half of the extent along a unit vector."""
        along = self.half[0] * abs(float(self.ahead @ direction))
        return along + self.half[1] * abs(float(self.aside @ direction))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A patch of heat.

    Attributes:
        points: Corner points of its pixels ``(n, 2)`` in map pixels.
        rectangle: The rectangle round it.
        features: Numbers in the order of :data:`FEATURES`.
    """

    points: NDArray[np.float32]
    rectangle: TurnedBox
    features: NDArray[np.float64]


def find_candidates(maps: Maps, thresholds: RegionThresholds) -> list[Candidate]:
    """Group heat into candidates: strong patches, and weak ones apart from them.

    Args:
        maps: The network's answer.
        thresholds: When heat becomes a candidate.

    Returns:
        The candidates, strong ones first, each in the order of the top-left pixels.
    """
    strong = (maps.areas > thresholds.area).astype(np.uint8)
    weak = (maps.areas > thresholds.weak_area).astype(np.uint8)
    # The flank of a strong patch is no candidate, what is left of a half-seen word is one.
    weak[cv2.dilate(strong, np.ones((5, 5), np.uint8)) > 0] = 0
    steepness = _measure_steepness(maps.film)
    return [
        candidate
        for mask, least in ((strong, thresholds.min_side), (weak, thresholds.min_side + 1))
        for candidate in _group(mask, least, maps, steepness, thresholds)
    ]


def enclose_points(points: NDArray[np.float32]) -> TurnedBox:
    """Return the least rectangle round points; upright unless turning it saves a fifth."""
    center, size, angle = cv2.minAreaRect(points)
    low, high = points.min(axis=0), points.max(axis=0)
    upright = high - low
    if size[0] * size[1] > 0.8 * upright[0] * upright[1]:
        center, size, angle = tuple((low + high) / 2), tuple(upright), 0.0
    turn = np.deg2rad(angle)
    ahead = np.array([np.cos(turn), np.sin(turn)])
    first, second = float(size[0]) / 2, float(size[1]) / 2
    if second > first:
        first, second, ahead = second, first, np.array([-ahead[1], ahead[0]])
    return TurnedBox(np.asarray(center, np.float64), (first, second), ahead)


def grow(rectangle: TurnedBox, thresholds: RegionThresholds) -> TurnedBox:
    """Return the rectangle with its margin."""
    margin = thresholds.growth * 2 * rectangle.half[1] + thresholds.growth_px
    half = (rectangle.half[0] + margin, rectangle.half[1] + margin)
    return TurnedBox(rectangle.center, half, rectangle.ahead)


def corner_points(inside: NDArray[np.bool_], x: int, y: int) -> NDArray[np.float32]:
    """Return the corner points ``(n, 2)`` of the outline's pixels of a window at ``(x, y)``."""
    contours, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    pixels = np.concatenate([contour[:, 0] for contour in contours]) + np.array([x, y])
    steps = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
    return np.asarray((pixels[:, None] + steps).reshape(-1, 2), np.float32)


def _measure_steepness(film: Map) -> Map:
    across, down = (cv2.Sobel(film, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down) / 8, np.float32)


def _group(
    mask: NDArray[np.uint8],
    least_side: float,
    maps: Maps,
    steepness: Map,
    thresholds: RegionThresholds,
) -> list[Candidate]:
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label in range(1, n_labels):
        x, y, width, height, _ = (int(value) for value in stats[label])
        if min(width, height) < least_side:
            continue
        window = (slice(y, y + height), slice(x, x + width))
        inside = labels[window] == label
        if maps.characters[window][inside].max() < thresholds.character:
            continue
        points = corner_points(inside, x, y)
        rectangle = enclose_points(points)
        size = cv2.minAreaRect(points)[1]
        fill = float(inside.sum()) / max(size[0] * size[1], 1.0)
        features = _describe(window, inside, rectangle, fill, maps, steepness)
        found.append(Candidate(points, rectangle, features))
    return found


def _describe(
    window: tuple[slice, slice],
    inside: NDArray[np.bool_],
    rectangle: TurnedBox,
    fill: float,
    maps: Maps,
    steepness: Map,
) -> NDArray[np.float64]:
    areas = maps.areas[window][inside]
    characters = maps.characters[window][inside]
    low, middle, high = np.percentile(areas, (25, 50, 95))
    levels = np.percentile(maps.film[window], (5, 95))
    height, width = maps.areas.shape
    rows, columns = window
    first, second = rectangle.half
    side = 2 * second / max(height, width)
    at_border = min(rows.start, columns.start, height - rows.stop, width - columns.stop) <= 1
    return np.array(
        [
            _logit(middle),
            _logit(middle) - _logit(low),
            _logit(high),
            _logit(characters.max()),
            _logit(characters.mean()),
            _logit(np.percentile(maps.annotations[window][inside], 75)),
            np.log(max(side, _LEAST_SCORE)),
            np.log(first / max(second, 0.5)),
            fill,
            np.log1p(np.percentile(steepness[window], 90)),
            np.log1p(levels[1] - levels[0]),
            float(at_border),
        ]
    )


def _logit(score: float | np.floating) -> float:
    share = float(np.clip(score, _LEAST_SCORE, 1 - _LEAST_SCORE))
    return float(np.log(share / (1 - share)))
