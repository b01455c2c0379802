"""What every text detector promises, and the rules that all of them share.

Owns the detector protocol and the input contract; impossible regions are rejected by
:mod:`covid_debug.text.screening`. It knows no network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol, final, runtime_checkable

import numpy as np

from covid_debug.errors import InputContractError
from covid_debug.records import TextRegion
from covid_debug.text.screening import (
    MAX_AREA_SHARE,
    MIN_EDGE,
    Detections,
    Gray,
    clip_region,
    compute_edges,
    screen_regions,
)

__all__ = [
    "MAX_AREA_SHARE",
    "MIN_EDGE",
    "Detections",
    "Gray",
    "RegionDetector",
    "TextDetector",
    "clip_region",
    "screen_regions",
]


def check_scales(scales: Sequence[float], where: str) -> tuple[float, ...]:
    """Return the factors at which a network runs; refuse none and such as are not above 0."""
    factors = tuple(float(scale) for scale in scales)
    if not factors or min(factors) <= 0:
        raise InputContractError(
            f"{where}: scales are {factors}; expected one or more positive factors"
        )
    return factors


@runtime_checkable
class TextDetector(Protocol):
    """Anything that finds burned-in text on films."""

    name: str

    @property
    def params(self) -> object:
        """Return exactly what is executed, as a frozen dataclass."""

    def detect(self, images: Sequence[Gray]) -> list[list[TextRegion]]:
        """Find the text of each film; see :meth:`RegionDetector.detect`."""


class RegionDetector(ABC):
    """Base of the detectors here: checks the input, clips, and rejects what cannot be text.

    A subclass sets ``name``, may set ``max_area_share`` and ``min_edge`` (see
    :func:`~covid_debug.text.screening.screen_regions`), and implements :meth:`_find`. Its
    constructor only checks its parameters; the network is loaded by :meth:`prepare`, so an unused
    detector is cheap and can be sent to another process.
    """

    name: ClassVar[str]
    params: object
    max_area_share: float = MAX_AREA_SHARE
    min_edge: float = MIN_EDGE

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
        check_gray_films(images, where=f"text.{self.name}.detect")
        if images:
            self.prepare()
        return [self._inspect_one(image) for image in images]

    def _inspect_one(self, image: Gray) -> Detections:
        found = self._find(image)
        if not isinstance(found, Detections):
            found = Detections(tuple(found))
        needed = self.min_edge > 0 and bool(found.regions or found.uncertain)
        edges = compute_edges(image) if needed else None
        screened, doubtful = (
            screen_regions(
                regions,
                image,
                max_area_share=self.max_area_share,
                min_edge=self.min_edge,
                edges=edges,
            )
            for regions in (found.regions, found.uncertain)
        )
        return Detections(screened.regions, (*found.rejected, *screened.rejected), doubtful.regions)


def check_gray_films(images: object, *, where: str) -> None:
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
