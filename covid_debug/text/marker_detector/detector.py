"""Our own text detector for radiographs: strong on single letters, no download.

Owns loading of the shipped weights and running the network on a film, by ONNX Runtime alone.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from covid_debug.errors import CheckpointError
from covid_debug.ranges import check_range
from covid_debug.text.base import Detections, Gray, RegionDetector
from covid_debug.text.marker_detector.calibration import (
    CALIBRATION_PATH,
    Calibration,
    load_marker_calibration,
)
from covid_debug.text.marker_detector.candidates import (
    Maps,
    RegionThresholds,
    find_candidates,
    grow,
)
from covid_debug.text.marker_detector.postprocess import (
    LineRules,
    choose_text,
    find_annotations,
    find_over_lung,
    join_lines,
    to_region,
)

WEIGHTS_PATH = Path(__file__).with_name("weights.onnx")
MOST_AREA_SHARE = 0.15  # a word of a twelfth of the film's height covers more than a twentieth
_PAD_MULTIPLE = 32
_MIN_WORKING_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class MarkerParams:
    """Parameters of :class:`MarkerDetector`.

    Attributes:
        max_side: Longest side of the film as the network sees it, in pixels, at least 64.
        max_enlargement: A smaller film is enlarged at most by this factor, >= 1.
        thresholds: When heat becomes a candidate.
        rules: When a candidate is text.
        doubt: Least probability of a region that is left to another detector to confirm.
        annotations: Whether drawn arrows, circles and lines are reported, too.
        max_area_share: Larger regions are rejected; share of the film's area, in (0, 1].
        min_edge: Regions with weaker edges are rejected as anatomy; gray levels/px. 0: the
            probability has judged edges.
        weights: The network.
        calibration: From a candidate's features to its probability.
    """

    max_side: int = 896
    max_enlargement: float = 1.5
    thresholds: RegionThresholds = field(default_factory=RegionThresholds)
    rules: LineRules = field(default_factory=LineRules)
    doubt: float = 0.05
    annotations: bool = True
    max_area_share: float = MOST_AREA_SHARE
    min_edge: float = 0.0
    weights: Path = WEIGHTS_PATH
    calibration: Path = CALIBRATION_PATH

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("weights", "calibration"):  # a configuration holds text
            object.__setattr__(self, name, Path(getattr(self, name)))
        check_range(self, f"[{_MIN_WORKING_SIDE_PX}, inf)", "max_side", where="text.marker")
        check_range(self, "[1, inf)", "max_enlargement", where="text.marker")
        check_range(self, "(0, 1]", "max_area_share", "doubt", where="text.marker")


class MarkerDetector(RegionDetector):
    """Finds markers with the network of this package."""

    name: ClassVar[str] = "marker"

    params: MarkerParams

    def __init__(self, params: MarkerParams | None = None) -> None:
        """Keep the parameters; the weights are loaded on first use.

        Raises:
            CheckpointError: If the weights are missing.
        """
        self.params = params or MarkerParams()
        self.max_area_share = self.params.max_area_share
        self.min_edge = self.params.min_edge
        if not self.params.weights.is_file():
            raise CheckpointError(
                f"text.marker: {self.params.weights} does not exist; expected weights made by"
                " python -m recipes.marker_detector"
            )
        self._session: Any = None
        self._calibration: Calibration | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the loaded network."""
        return {**self.__dict__, "_session": None}

    def prepare(self) -> None:
        """Load the network; later calls do nothing."""
        self._load()

    def _load(self) -> Any:  # noqa: ANN401
        """Return the network's session, loaded once.

        Raises:
            CheckpointError: If the weights cannot be read.
        """
        if self._session is not None:
            return self._session
        import onnxruntime  # noqa: PLC0415 - only when used

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.params.weights), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes share no base but this
            raise CheckpointError(
                f"text.marker: {self.params.weights} does not hold weights of this network"
                f" ({str(error).splitlines()[0]})"
            ) from error
        return self._session

    def compute_maps(self, image: Gray) -> Maps:
        """Run the network on one film.

        Args:
            image: ``(H, W)`` uint8.

        Returns:
            The network's maps, covering the film exactly.
        """
        session = self._load()
        working = _resize(image, self.params.max_side, self.params.max_enlargement)
        height, width = working.shape
        below, right = -height % _PAD_MULTIPLE, -width % _PAD_MULTIPLE
        padded = cv2.copyMakeBorder(working, 0, below, 0, right, cv2.BORDER_REPLICATE)
        films = (padded.astype(np.float32) / np.float32(255))[None, None]
        scores = session.run(None, {"films": films})[0][0]
        size = ((width + 1) // 2, (height + 1) // 2)
        inside = scores[:, : size[1], : size[0]]
        film = cv2.resize(working, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        scale = (2 * image.shape[1] / width, 2 * image.shape[0] / height)
        return Maps(inside[0], inside[1], inside[2], film, scale)

    def _find(self, image: Gray) -> Detections:
        if self._calibration is None:
            self._calibration = load_marker_calibration(self.params.calibration)
        maps, thresholds = self.compute_maps(image), self.params.thresholds
        candidates = find_candidates(maps, thresholds)
        probabilities = self._calibration.rate(candidates)
        rules = self.params.rules
        over_lung = find_over_lung(maps, candidates, probabilities, rules)
        chosen = choose_text(candidates, probabilities, rules, over_lung)
        lines = join_lines(candidates, probabilities, chosen, rules)
        regions = [
            to_region(grow(rectangle, thresholds), probability, maps.scale, self.name)
            for rectangle, probability in lines
        ]
        uncertain = [
            to_region(grow(one.rectangle, thresholds), probability, maps.scale, self.name)
            for index, (one, probability) in enumerate(zip(candidates, probabilities, strict=True))
            if index not in chosen and probability >= self.params.doubt
        ]
        if self.params.annotations:
            regions += find_annotations(maps, [one for one, _ in lines], thresholds, self.name)
        return Detections(tuple(regions), uncertain=tuple(uncertain))


def _resize(image: Gray, max_side: int, max_enlargement: float) -> Gray:
    factor = min(max_side / max(image.shape), max_enlargement)
    height, width = (max(1, round(side * factor)) for side in image.shape)
    if (height, width) == image.shape:
        return image
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
