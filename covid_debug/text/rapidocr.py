"""RapidOCR's text detector, offline.

Source: PP-OCR detection network (DB, Liao et al. 2020), which the ``rapidocr`` wheel carries as
ONNX. Only detection is used; recognition is optional. Deviation: the film is resized here (longest
side to ``max_side``, up or down) instead of by RapidOCR, whose default enlarges every film; at two
scales, since it overlooks large letters in large films; and its generous boxes are fitted to the
glyphs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.ranges import check_range
from covid_debug.records import TextRegion
from covid_debug.text.base import (
    MAX_AREA_SHARE,
    MIN_EDGE,
    Detections,
    Gray,
    RegionDetector,
    check_scales,
    screen_regions,
)
from covid_debug.text.heat_maps import merge_regions
from covid_debug.text.refinement import refine_regions

_MIN_WORKING_SIDE_PX = 32
_NO_LIMIT_PX = 1_000_000


@dataclass(frozen=True, slots=True)
class RapidOcrParams:
    """Parameters of :class:`RapidOcrDetector`.

    Attributes:
        max_side: Longest side of the film as the network sees it, in pixels, at least 32.
        scales: The network runs once per factor times ``max_side``; large letters are found in the
            smaller film, small print in the larger one.
        max_enlargement: A film smaller than ``max_side`` is enlarged at most by this factor.
        pixel_threshold: Binarisation of the network's probability map, in (0, 1).
        box_threshold: Least mean probability inside a box, in (0, 1).
        max_area_share: Larger regions are rejected; share of the film's area, in (0, 1].
        min_edge: Regions with weaker edges are rejected as anatomy; gray levels/px.
        n_threads: Threads of the network.
        read_content: Also recognise the characters (slower).
    """

    max_side: int = 736
    scales: tuple[float, ...] = (0.65, 1.0)
    max_enlargement: float = 2.0
    pixel_threshold: float = 0.3
    box_threshold: float = 0.3
    max_area_share: float = MAX_AREA_SHARE
    min_edge: float = MIN_EDGE
    n_threads: int = 1
    read_content: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputContractError: If a value is out of its range.
        """
        where = "text.rapidocr"
        object.__setattr__(self, "scales", check_scales(self.scales, where))
        check_range(self, f"[{_MIN_WORKING_SIDE_PX}, inf)", "max_side", where=where)
        check_range(self, "[1, inf)", "max_enlargement", "n_threads", where=where)
        check_range(
            self, "(0, 1]", "pixel_threshold", "box_threshold", "max_area_share", where=where
        )


def _load_engine(params: Mapping[str, Any], *, n_threads: int = 1) -> Any:  # noqa: ANN401
    """Load RapidOCR from its wheel: silent, dropping no text itself; touches no network connection.

    Args:
        params: RapidOCR's own settings beside these.
        n_threads: Threads of one inference.

    Returns:
        The engine.
    """
    from rapidocr import RapidOCR  # noqa: PLC0415 - a second to import, only when used

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.text_score": 0.0,
            "EngineConfig.onnxruntime.intra_op_num_threads": n_threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            **params,
        }
    )


class RapidOcrDetector(RegionDetector):
    """Finds lines of text with the detector in the RapidOCR wheel; weak on single letters."""

    name: ClassVar[str] = "rapidocr"
    params: RapidOcrParams

    def __init__(self, params: RapidOcrParams | None = None) -> None:
        """Keep the parameters; the network is loaded on first use."""
        self.params = params or RapidOcrParams()
        self.max_area_share = self.params.max_area_share
        self.min_edge = self.params.min_edge
        self._engine: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the loaded network."""
        return {**self.__dict__, "_engine": None}

    def prepare(self) -> None:
        """Load the network from the wheel; touches no network connection."""
        if self._engine is not None:
            return
        self._engine = _load_engine(
            {
                "Global.use_cls": False,
                "Global.use_rec": self.params.read_content,
                "Global.max_side_len": _NO_LIMIT_PX,
                "Det.limit_type": "max",
                "Det.limit_side_len": _NO_LIMIT_PX,
                "Det.thresh": self.params.pixel_threshold,
                "Det.box_thresh": self.params.box_threshold,
            },
            n_threads=self.params.n_threads,
        )

    def _find(self, image: Gray) -> Detections:
        found = [
            screen_regions(
                self._find_at(image, round(self.params.max_side * scale)),
                image,
                max_area_share=self.max_area_share,
                min_edge=self.min_edge,
            )
            for scale in self.params.scales
        ]
        regions = [region for one in found for region in one.regions]
        return Detections(
            tuple(refine_regions(merge_regions(regions), image)),
            tuple(entry for one in found for entry in one.rejected),
        )

    def _find_at(self, image: Gray, max_side: int) -> Sequence[TextRegion]:
        scale = min(max_side / max(image.shape), self.params.max_enlargement)
        working = _resize(image, scale)
        result = self._engine(
            cv2.cvtColor(working, cv2.COLOR_GRAY2BGR),
            use_det=True,
            use_cls=False,
            use_rec=self.params.read_content,
        )
        if result.boxes is None:
            return []
        contents = getattr(result, "txts", None) or [None] * len(result.boxes)
        return [
            TextRegion(_to_film(box, working.shape, image.shape), float(score), content, self.name)
            for box, score, content in zip(result.boxes, result.scores, contents, strict=True)
        ]


def _resize(image: Gray, scale: float) -> Gray:
    height, width = (max(_MIN_WORKING_SIDE_PX, round(side * scale)) for side in image.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def _to_film(
    box: NDArray[np.float32], working: tuple[int, ...], film: tuple[int, ...]
) -> tuple[tuple[float, float], ...]:
    """Return the corners in film pixels; RapidOCR's last pixel index means the film's edge."""
    polygon = []
    for x, y in box:
        x_edge = working[1] if x >= working[1] - 1 else float(x)
        y_edge = working[0] if y >= working[0] - 1 else float(y)
        polygon.append((x_edge * film[1] / working[1], y_edge * film[0] / working[0]))
    return tuple(polygon)
