"""From candidates to regions: which are text, what belongs to the same line, what is drawn.

A candidate is text when its probability says so; over a lung, where text hardly ever lies but
ports, clips and electrodes do, it needs more. A found word then searches its neighbours along its
line: what lies there needs less, because words rarely stand half alone. Regions of one line that
touch become one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.lungs import find_lungs
from covid_debug.imaging.regions import draw_outlines
from covid_debug.ranges import check_range
from covid_debug.records import RegionKind, TextRegion
from covid_debug.text.marker_detector.candidates import (
    Candidate,
    Maps,
    RegionThresholds,
    TurnedBox,
    corner_points,
    enclose_points,
    grow,
)

_ACROSS = 0.5  # of the line's height: how far the centre of a neighbour may lie beside the line
_LIKE_HEIGHT = (0.4, 1.8)  # a neighbour's height over the line's
_LONG = 1.5  # sides of a region that has a direction
_JOINT_WASTE = 1.4  # area of a joined region over that of its parts
_TILE = 24  # map pixels; a thin drawing is covered piece by piece, not by one large box
_THIN = 0.35  # a drawing that fills less than this of its box is thin
_LEAST_DRAWN = 40  # map pixels
_LEAST_LUNG_SIDE = 8  # map pixels: on less no lungs are looked for


@dataclass(frozen=True, slots=True)
class LineRules:
    """Which candidates are text.

    Attributes:
        probability: Least probability of a region that stands alone, in (0, 1).
        in_line: Least probability of a neighbour of sure text along its line, in (0, 1).
        sure: Least probability of text that searches its neighbours, in (0, 1).
        over_lung: Least probability of a region over a lung, in (0, 1).
        lung_share: From this share of it on a region lies over a lung, in (0, 1].
        gap: Widest gap to such a neighbour, in heights of the line, >= 0.
        joined_gap: Widest gap between parts of one region, in heights of the line, >= 0.
    """

    probability: float = 0.2
    in_line: float = 0.05
    sure: float = 0.5
    over_lung: float = 0.7
    lung_share: float = 0.3
    gap: float = 1.6
    joined_gap: float = 0.7

    def __post_init__(self) -> None:
        """Check the ranges."""
        shares = ("probability", "in_line", "sure", "over_lung")
        check_range(self, "(0, 1)", *shares, where="text.marker")
        check_range(self, "(0, 1]", "lung_share", where="text.marker")
        check_range(self, "[0, inf)", "gap", "joined_gap", where="text.marker")


def choose_text(
    candidates: Sequence[Candidate],
    probabilities: Sequence[float],
    rules: LineRules,
    over_lung: Collection[int] = (),
) -> list[int]:
    """Choose the candidates that are text: likely ones, and neighbours of sure ones in line.

    Args:
        candidates: Patches of heat.
        probabilities: Of each, that it is text.
        rules: What a candidate needs.
        over_lung: Indices of those that need more, see :func:`find_over_lung`.

    Returns:
        Their indices, sorted.
    """
    needed = [
        rules.over_lung if i in over_lung else rules.probability for i in range(len(candidates))
    ]
    found = [i for i, share in enumerate(probabilities) if share >= needed[i]]
    open_ones = [i for i, share in enumerate(probabilities) if rules.in_line <= share < needed[i]]
    waiting = [i for i in found if probabilities[i] >= rules.sure]
    while waiting and open_ones:
        line = candidates[waiting.pop()].rectangle
        near = [i for i in open_ones if _is_in_line(line, candidates[i].rectangle, rules.gap)]
        open_ones = [i for i in open_ones if i not in near]
        waiting += near
        found += near
    return sorted(found)


def find_over_lung(
    maps: Maps, candidates: Sequence[Candidate], probabilities: Sequence[float], rules: LineRules
) -> set[int]:
    """Return the indices of candidates that lie over a lung, of those that this decides."""
    asked = [
        i for i, share in enumerate(probabilities) if rules.probability <= share < rules.over_lung
    ]
    if not asked:
        return set()
    height, width = maps.film.shape
    if min(height, width) < _LEAST_LUNG_SIDE:
        return set()
    lungs = find_lungs(np.clip(np.round(maps.film), 0, 255).astype(np.uint8))
    over_lung = set()
    for i in asked:
        corners = [(float(x), float(y)) for x, y in candidates[i].rectangle.corners()]
        inside = draw_outlines([corners], width, height)
        if inside.any() and lungs[inside].mean() >= rules.lung_share:
            over_lung.add(i)
    return over_lung


def join_lines(
    candidates: Sequence[Candidate],
    probabilities: Sequence[float],
    chosen: Sequence[int],
    rules: LineRules,
) -> list[tuple[TurnedBox, float]]:
    """Join what touches along a line.

    Returns:
        TurnedBox and probability, the highest of its parts, of every region.
    """
    parts = [(candidates[i].points, candidates[i].rectangle, probabilities[i]) for i in chosen]
    joined = True
    while joined:
        joined = False
        for first in range(len(parts)):
            for second in range(len(parts) - 1, first, -1):
                merged = _join(parts[first], parts[second], rules.joined_gap)
                if merged is not None:
                    parts[first] = merged
                    parts.pop(second)
                    joined = True
    return [(rectangle, share) for _, rectangle, share in parts]


_Part = tuple[NDArray[np.float32], TurnedBox, float]


def _join(first: _Part, second: _Part, gap: float) -> _Part | None:
    if not _is_in_line(first[1], second[1], gap):
        return None
    points = np.concatenate([first[0], second[0]])
    rectangle = enclose_points(points)
    before, after = (one[1].half[0] * one[1].half[1] for one in (first, second))
    if rectangle.half[0] * rectangle.half[1] > _JOINT_WASTE * (before + after):
        return None
    return points, rectangle, max(first[2], second[2])


def _is_in_line(line: TurnedBox, other: TurnedBox, gap: float) -> bool:
    """Return whether another rectangle lies on this one's line, at most ``gap`` heights away."""
    height = 2 * line.half[1]
    is_long = line.half[0] >= _LONG * line.half[1]
    for ahead, aside in ((line.ahead, line.aside), (line.aside, line.ahead)):
        if ahead is line.aside:
            if is_long:
                break
            height = 2 * line.half[0]
        way = other.center - line.center
        low, high = (factor * height for factor in _LIKE_HEIGHT)
        if abs(float(way @ aside)) > _ACROSS * height or not low <= 2 * other.reach(aside) <= high:
            continue
        if abs(float(way @ ahead)) - line.reach(ahead) - other.reach(ahead) <= gap * height:
            return True
    return False


def find_annotations(
    maps: Maps, text: Sequence[TurnedBox], thresholds: RegionThresholds, detector: str
) -> list[TextRegion]:
    """Group what a human hand drew: arrows, circles, lines.

    Args:
        maps: The network's answer.
        text: What is text already.
        thresholds: When heat becomes an annotation.
        detector: Name recorded in every region.

    Returns:
        Regions of kind ``"annotation"`` in film pixels; a circle comes in pieces along its line.
    """
    drawn = (maps.annotations > thresholds.annotation).astype(np.uint8)
    if not drawn.any():
        return []
    for one in text:
        cv2.fillPoly(drawn, [np.round(one.corners() - 0.5).astype(np.int32)], 0)
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(drawn, connectivity=8)
    regions = []
    for label in range(1, n_labels):
        x, y, width, height, n_pixels = (int(value) for value in stats[label])
        if n_pixels < _LEAST_DRAWN:
            continue
        inside = labels[y : y + height, x : x + width] == label
        score = float(np.percentile(maps.annotations[y : y + height, x : x + width][inside], 90))
        if score < thresholds.annotation_peak:
            continue
        is_thin = n_pixels < _THIN * width * height and max(width, height) > _TILE
        step = _TILE if is_thin else max(width, height)
        for top in range(0, height, step):
            for left in range(0, width, step):
                piece = inside[top : top + step, left : left + step]
                if piece.any():
                    rectangle = enclose_points(corner_points(piece, x + left, y + top))
                    grown = grow(rectangle, thresholds)
                    regions.append(to_region(grown, score, maps.scale, detector, is_text=False))
    return regions


def to_region(
    rectangle: TurnedBox,
    probability: float,
    scale: tuple[float, float],
    detector: str,
    *,
    is_text: bool = True,
) -> TextRegion:
    """Return a rectangle of the maps as a region in film pixels."""
    polygon = tuple((float(x * scale[0]), float(y * scale[1])) for x, y in rectangle.corners())
    kind: RegionKind = "unknown" if is_text else "annotation"
    return TextRegion(polygon, min(probability, 1.0), None, detector, kind)
