"""What every text detector promises, and the rules that all of them share.

Owns the detector protocol, the input contract and the rejection of impossible regions. It knows
no network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import InputContractError
from covid_debug.records import TextRegion

Gray = NDArray[np.uint8]
MAX_AREA_SHARE = 0.05
_MIN_SIDE_PX = 1.0


@runtime_checkable
class TextDetector(Protocol):
    """Anything that finds burned-in text on films."""

    name: str

    @property
    def params(self) -> object:
        """Return exactly what is executed, as a frozen dataclass."""

    def detect(self, images: Sequence[Gray]) -> list[list[TextRegion]]:
        """Find the text of each film; see :meth:`RegionDetector.detect`."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector says about one film.

    Attributes:
        regions: Accepted regions, polygons in film pixels, all inside the film.
        rejected: Regions that were found and dropped, each with the reason.
    """

    regions: tuple[TextRegion, ...]
    rejected: tuple[tuple[TextRegion, str], ...] = ()


class RegionDetector(ABC):
    """Base of the detectors here: checks the input, clips, and rejects film-scale regions.

    A subclass sets ``name``, ``max_area_share`` and implements :meth:`_find`. The constructor of a
    subclass only checks its parameters; the network is loaded by :meth:`prepare`, so an unused
    detector is cheap and can be sent to another process.
    """

    name: ClassVar[str]
    max_area_share: float = MAX_AREA_SHARE

    @abstractmethod
    def prepare(self) -> None:
        """Load the network; later calls do nothing."""

    @abstractmethod
    def _find(self, image: Gray) -> Sequence[TextRegion] | Detections:
        """Find raw regions of one checked film; polygons in film pixels, not yet clipped."""

    @final
    def detect(self, images: Sequence[Gray]) -> list[list[TextRegion]]:
        """Find the text of each film.

        Args:
            images: Films, uint8 ``(H, W)`` in [0, 255], each of its own size.

        Returns:
            One list for each film, in the order of ``images``; polygons in pixels of that film.

        Raises:
            InputContractError: If an image is not a non-empty uint8 ``(H, W)`` array.
        """
        return [list(found.regions) for found in self.inspect(images)]

    @final
    def inspect(self, images: Sequence[Gray]) -> list[Detections]:
        """Find the text of each film, with the rejected regions and their reasons.

        Args:
            images: As for :meth:`detect`.

        Returns:
            One :class:`Detections` for each film.

        Raises:
            InputContractError: If an image is not a non-empty uint8 ``(H, W)`` array.
        """
        check_images(images, where=f"text.{self.name}.detect")
        if images:
            self.prepare()
        return [self._inspect_one(image) for image in images]

    def _inspect_one(self, image: Gray) -> Detections:
        found = self._find(image)
        if not isinstance(found, Detections):
            found = Detections(tuple(found))
        height, width = image.shape
        screened = screen_regions(found.regions, width, height, max_area_share=self.max_area_share)
        return Detections(screened.regions, (*found.rejected, *screened.rejected))


def check_images(images: object, *, where: str) -> None:
    """Refuse anything but non-empty uint8 ``(H, W)`` arrays.

    Raises:
        InputContractError: Naming the first bad image.
    """
    if isinstance(images, np.ndarray):
        raise InputContractError(f"{where}: got an array; expected a list; pass [image]")
    if not isinstance(images, Sequence):
        raise InputContractError(
            f"{where}: got a {type(images).__name__}; expected a list of uint8 (H, W) arrays"
        )
    for index, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            raise InputContractError(
                f"{where}: image {index} is a {type(image).__name__}; expected a numpy array"
            )
        if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
            raise InputContractError(
                f"{where}: image {index} is {image.dtype} of shape {image.shape}; "
                "expected a non-empty uint8 (H, W); convert with FilmImage.to_uint8()"
            )


def screen_regions(
    regions: Sequence[TextRegion],
    width: int,
    height: int,
    *,
    max_area_share: float = MAX_AREA_SHARE,
) -> Detections:
    """Clip regions to the film and reject those that cannot be text.

    Args:
        regions: Raw regions in film pixels.
        width: Film width in pixels.
        height: Film height in pixels.
        max_area_share: Largest bounding-box area of one region as a share of the film, in (0, 1].

    Returns:
        Accepted regions (clipped, confidence in [0, 1]) and rejected ones with reasons.
    """
    kept: list[TextRegion] = []
    rejected: list[tuple[TextRegion, str]] = []
    for region in regions:
        clipped = clip_region(region, width, height)
        x0, y0, x1, y1 = clipped.box
        share = (x1 - x0) * (y1 - y0) / (width * height)
        if min(x1 - x0, y1 - y0) < _MIN_SIDE_PX:
            rejected.append((clipped, "outside the film or thinner than one pixel"))
        elif share > max_area_share:
            rejected.append(
                (clipped, f"film scale: covers {share:.1%} of the film, limit {max_area_share:.1%}")
            )
        else:
            kept.append(clipped)
    return Detections(tuple(kept), tuple(rejected))


def clip_region(region: TextRegion, width: int, height: int) -> TextRegion:
    """Return the region with its corners moved into the film and its confidence into [0, 1]."""
    polygon = tuple(
        (min(max(float(x), 0.0), float(width)), min(max(float(y), 0.0), float(height)))
        for x, y in region.polygon
    )
    confidence = min(max(float(region.confidence), 0.0), 1.0)
    return TextRegion(polygon, confidence, region.content, region.detector)
