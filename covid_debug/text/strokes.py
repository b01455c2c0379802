"""Bright strokes with steep borders: a detector without a network, to check the others' work.

Owns the search for lone bright strokes. Nothing is learned, so it shares no blind spot with the
detectors that clean; it overlooks dark and faint text, and takes some wires and clips for letters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.boxes import to_polygon
from covid_debug.ranges import check_range
from covid_debug.records import TextRegion
from covid_debug.text.base import MAX_AREA_SHARE, MIN_EDGE, Gray, RegionDetector
from covid_debug.text.screening import compute_edges

_SIZE_PX: Final = (6, 80)  # longer side of a glyph on the scaled film
_MIN_SIDE_PX: Final = 3
_MIN_AREA_PX: Final = 14
_MIN_FILL: Final = 0.12
_MAX_ASPECT: Final = 6.0
_BORDER_QUANTILE: Final = 40  # most of the border must be steep, not a single spot of it


@dataclass(frozen=True, slots=True)
class StrokeParams:
    """Parameters of :class:`StrokeDetector`, chosen on the annotated development films.

    Attributes:
        max_stroke_px: Widest stroke, in pixels of the film scaled to 640 px.
        min_contrast: Gray levels by which a stroke is brighter than what is beside it.
        min_steepness: Gray levels per pixel along most of a stroke's border.
        max_area_share: Larger regions are rejected; share of the film's area, in (0, 1].
        min_edge: Regions with weaker edges are rejected as anatomy; gray levels/px.
    """

    max_stroke_px: int = 17
    min_contrast: float = 35.0
    min_steepness: float = 24.0
    max_area_share: float = MAX_AREA_SHARE
    min_edge: float = MIN_EDGE

    def __post_init__(self) -> None:
        """Check the ranges."""
        names = ("max_stroke_px", "min_contrast", "min_steepness", "max_area_share")
        check_range(self, "(0, inf)", *names, where="text.strokes")


class StrokeDetector(RegionDetector):
    """Finds bright strokes by a top-hat filter and the steepness of their borders."""

    name: ClassVar[str] = "strokes"
    params: StrokeParams

    def __init__(self, params: StrokeParams | None = None) -> None:
        """Take the parameters."""
        self.params = params or StrokeParams()
        self.max_area_share = self.params.max_area_share
        self.min_edge = self.params.min_edge

    def prepare(self) -> None:
        """Do nothing: there is no network."""

    def _find(self, image: Gray) -> list[TextRegion]:
        edges = compute_edges(image)
        height, width = edges.steepness.shape
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        room = self.params.max_stroke_px
        padded = cv2.copyMakeBorder(scaled, *(room,) * 4, cv2.BORDER_REPLICATE)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (room, room))
        stroke = cv2.morphologyEx(padded, cv2.MORPH_TOPHAT, kernel)[room:-room, room:-room]
        by_x, by_y = edges.scale
        regions = []
        for window, inside in _glyph_like(stroke >= self.params.min_contrast):
            steepness = _border_steepness(inside, edges.steepness[window])
            if steepness >= self.params.min_steepness:
                top, left = window[0].start / by_y, window[1].start / by_x
                low, right = window[0].stop / by_y, window[1].stop / by_x
                polygon = to_polygon((left, top, right, low))
                confidence = min(steepness / (2 * self.params.min_steepness), 1.0)
                regions.append(TextRegion(polygon, confidence, None, self.name))
        return regions


def _glyph_like(
    mask: NDArray[np.bool_],
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Yield the windows of the components that have the size and shape of a character."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        short, long = sorted((width, height))
        if not (_SIZE_PX[0] <= long <= _SIZE_PX[1] and short >= _MIN_SIDE_PX):
            continue
        if area < max(_MIN_AREA_PX, _MIN_FILL * width * height) or long > _MAX_ASPECT * short:
            continue
        rows = slice(max(y - 1, 0), min(y + height + 1, mask.shape[0]))
        columns = slice(max(x - 1, 0), min(x + width + 1, mask.shape[1]))
        yield (rows, columns), labels[rows, columns] == label


def _border_steepness(inside: NDArray[np.bool_], steepness: NDArray[np.float32]) -> float:
    square = np.ones((3, 3), np.uint8)
    piece = inside.astype(np.uint8)
    border = cv2.dilate(piece, square) != cv2.erode(piece, square)
    return float(np.percentile(steepness[border], _BORDER_QUANTILE))
