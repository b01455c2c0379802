"""The pixels of a film as its file stores them, and the file again with other pixels.

Owns what every kind of file promises here. Formats: :mod:`covid_debug.imaging.dicom` and
:mod:`covid_debug.imaging.pictures`. What is shown on a screen belongs to
:mod:`covid_debug.imaging.reading`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Planes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""``(H, W, C)``: every channel as stored; signed values are shifted to begin at 0."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a file says about how its pixels came about.

    Attributes:
        description: One sentence, plain ASCII.
        is_clean: Whether nothing was left on purpose that may name a person: only then does a
            DICOM file say that no annotation is burned in.
        overlays_cleared: Whether overlay planes were taken out.
    """

    description: str
    is_clean: bool = True
    overlays_cleared: bool = False


class StoredFilm(Protocol):
    """One film's file in memory.

    Attributes:
        planes: The stored pixels, not to be written to.
        top: Largest value that the file can hold in a plane.
        suffix: Suffix of the file that :meth:`encode` makes, ``""`` for that of the original.
        coding: How the original is coded, e.g. ``"RLE Lossless"`` or ``"PNG"``.
        coding_out: How :meth:`encode` codes.
        is_exact: Whether the coding of the output keeps every value.
    """

    @property
    def planes(self) -> Planes: ...  # noqa: D102 - see the class
    @property
    def top(self) -> int: ...  # noqa: D102
    @property
    def suffix(self) -> str: ...  # noqa: D102
    @property
    def coding(self) -> str: ...  # noqa: D102
    @property
    def coding_out(self) -> str: ...  # noqa: D102
    @property
    def is_exact(self) -> bool: ...  # noqa: D102

    def turn(self, shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return a mask of the film as shown, ``(H, W)``, on the film as stored."""

    def encode(self, planes: Planes, derivation: Derivation) -> bytes:
        """Return the file with other pixels: all else as it was, but for what tells the change."""


def count_outside(before: Planes, after: Planes, mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Compare two films outside a mask.

    Args:
        before: ``(H, W, C)``.
        after: The same.
        mask: ``(H, W)``, True where they may differ.

    Returns:
        Pixels outside the mask that differ, and the largest difference there.
    """
    difference = np.abs(before.astype(np.int32) - after.astype(np.int32)).max(axis=2)
    difference[mask] = 0
    return int(np.count_nonzero(difference)), int(difference.max(initial=0))
