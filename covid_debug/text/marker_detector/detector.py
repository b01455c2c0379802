"""Our own text detector for radiographs: strong on single letters, no download.

Owns loading of the shipped weights and running the network on a film.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import CheckpointError
from covid_debug.ranges import check_range
from covid_debug.text.base import MAX_AREA_SHARE, MIN_EDGE, Detections, Gray, RegionDetector
from covid_debug.text.marker_detector.postprocess import RegionThresholds, find_regions

if TYPE_CHECKING:
    from covid_debug.text.marker_detector.network import MarkerNet

WEIGHTS_PATH = Path(__file__).with_name("weights.safetensors")
_PAD_MULTIPLE = 16
_MIN_WORKING_SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class MarkerParams:
    """Parameters of :class:`MarkerDetector`.

    Attributes:
        max_side: Longest side of the film as the network sees it, in pixels, at least 64.
        max_enlargement: A smaller film is enlarged at most by this factor, >= 1.
        thresholds: When heat becomes text.
        uncertain: When heat becomes a region that is left to another detector to confirm.
        max_area_share: Larger regions are rejected; share of the film's area, in (0, 1].
        min_edge: Regions with weaker edges are rejected as anatomy, unless they are certain; gray
            levels/px.
        certain: Confidence of a certain region, in [0, 1]: lead letters over dense tissue are as
            faint as anatomy.
        weights: The network's weights.
    """

    max_side: int = 896
    max_enlargement: float = 1.5
    thresholds: RegionThresholds = field(default_factory=RegionThresholds)
    uncertain: RegionThresholds = field(
        default_factory=lambda: RegionThresholds(character=0.25, area=0.6)
    )
    max_area_share: float = MAX_AREA_SHARE
    min_edge: float = MIN_EDGE
    certain: float = 0.92
    weights: Path = WEIGHTS_PATH

    def __post_init__(self) -> None:
        """Check the ranges."""
        object.__setattr__(self, "weights", Path(self.weights))  # a configuration holds text
        check_range(self, f"[{_MIN_WORKING_SIDE_PX}, inf)", "max_side", where="text.marker")
        check_range(self, "[1, inf)", "max_enlargement", where="text.marker")
        check_range(self, "(0, 1]", "max_area_share", where="text.marker")


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
        self.certain = self.params.certain
        if not self.params.weights.is_file():
            raise CheckpointError(
                f"text.marker: {self.params.weights} does not exist; expected weights made by"
                " python -m recipes.marker_detector"
            )
        self._network: MarkerNet | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the loaded network."""
        return {**self.__dict__, "_network": None}

    def prepare(self) -> None:
        """Load the network; later calls do nothing."""
        self._load()

    def _load(self) -> "MarkerNet":
        """Return the network, loaded once.

        Raises:
            CheckpointError: If the weights cannot be read or do not fit the network.
        """
        if self._network is not None:
            return self._network
        from safetensors import SafetensorError  # noqa: PLC0415 - torch only when used
        from safetensors.torch import load_file  # noqa: PLC0415

        from covid_debug.text.marker_detector.network import MarkerNet  # noqa: PLC0415

        network = MarkerNet()
        try:
            network.load_state_dict(load_file(self.params.weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"text.marker: {self.params.weights} does not hold weights of this network"
                f" ({str(error).splitlines()[0]})"
            ) from error
        self._network = network.eval()
        return self._network

    def compute_maps(self, image: Gray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on one film.

        Args:
            image: ``(H, W)`` uint8.

        Returns:
            Character and area score, each ``(h, w)`` in [0, 1], covering the film exactly.
        """
        import torch  # noqa: PLC0415 - a second to import, only when used

        network = self._load()
        working = _resize(image, self.params.max_side, self.params.max_enlargement)
        height, width = working.shape
        padding = ((0, -height % _PAD_MULTIPLE), (0, -width % _PAD_MULTIPLE))
        padded = np.pad(working, padding, mode="edge").astype(np.float32) / np.float32(255)
        with torch.inference_mode():
            scores = torch.sigmoid(network(torch.from_numpy(padded)[None, None]))[0].numpy()
        inside = scores[:, : (height + 1) // 2, : (width + 1) // 2]
        return inside[0], inside[1]

    def _find(self, image: Gray) -> Detections:
        maps = self.compute_maps(image)
        working = _resize(image, self.params.max_side, self.params.max_enlargement).shape
        scale = (2 * image.shape[1] / working[1], 2 * image.shape[0] / working[0])
        regions, uncertain = (
            tuple(find_regions(*maps, scale, thresholds, self.name))
            for thresholds in (self.params.thresholds, self.params.uncertain)
        )
        return Detections(regions, uncertain=uncertain)


def _resize(image: Gray, max_side: int, max_enlargement: float) -> Gray:
    factor = min(max_side / max(image.shape), max_enlargement)
    height, width = (max(1, round(side * factor)) for side in image.shape)
    if (height, width) == image.shape:
        return image
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
