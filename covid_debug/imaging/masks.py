"""Shapes at a place on a film, and the groups of pixels of a mask.

Owns what belongs together; what is done with a group belongs to the caller.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_USUAL_SIDE_PX: Final = 640
"""Longer side of the films on which lengths in pixels were chosen; they grow with larger films."""


@dataclass(frozen=True, slots=True)
class PlacedMask:
    """A shape at a place.

    Attributes:
        top: First row on the film; may be negative for a shape moved over the edge.
        left: First column on the film.
        mask: Bool ``(h, w)``, True inside the shape.
    """

    top: int
    left: int
    mask: Mask

    @property
    def high(self) -> int:
        """Rows of the shape."""
        return int(self.mask.shape[0])

    @property
    def wide(self) -> int:
        """Columns of the shape."""
        return int(self.mask.shape[1])

    @property
    def n_pixels(self) -> int:
        """Pixels inside the shape."""
        return int(self.mask.sum())

    def moved(self, rows: int, columns: int) -> "PlacedMask":
        """Return the same shape at another place."""
        return dataclasses.replace(self, top=self.top + rows, left=self.left + columns)

    def window(self, shape: tuple[int, ...], margin: int = 0) -> tuple[slice, slice]:
        """Return rows and columns of the shape with a margin, cut to a film ``(H, W)``."""
        return (
            slice(max(0, self.top - margin), min(shape[0], self.top + self.high + margin)),
            slice(max(0, self.left - margin), min(shape[1], self.left + self.wide + margin)),
        )

    def stamp(self, target: Mask) -> None:
        """Set the pixels of the shape in a film mask; what lies outside the film is cut off."""
        rows, columns = self.window(target.shape)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        target[rows, columns] |= self.mask[
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ]

    def trimmed(self) -> "PlacedMask":
        """Return the same shape without empty rows and columns along its border."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            return self
        top, left = int(rows[0]), int(columns[0])
        inner = self.mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        return PlacedMask(self.top + top, self.left + left, inner)

    def drawn(self, shape: tuple[int, ...]) -> Mask:
        """Return a mask of a film ``(H, W)`` with the shape alone."""
        target = np.zeros(shape, np.bool_)
        self.stamp(target)
        return target


def scale_of(shape: tuple[int, ...]) -> float:
    """Return the pixels of a film ``(H, W)`` for one pixel of a film of 640 px, at least 1.

    Edges of letters get no sharper on smaller films.
    """
    return max(1.0, max(shape) / _USUAL_SIDE_PX)


def grow_mask(mask: Mask, radius_px: int) -> Mask:
    """Return a mask grown by a disc of ``radius_px`` pixels; 0 leaves it as it is."""
    if not radius_px:
        return mask
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), ball) > 0)


def iter_groups(mask: Mask, join_px: int = 0) -> Iterator[PlacedMask]:
    """Yield the groups of a mask.

    Args:
        mask: ``(H, W)``.
        join_px: Growth, in pixels on every side of a square, before pixels that touch (also by a
            corner) are joined; 0 gives the connected pieces.

    Yields:
        Each group. Its window is that of the grown group, so the mask may have empty rows and
        columns along its border.
    """
    grown = mask.astype(np.uint8)
    if join_px:
        side = 2 * join_px + 1
        grown = np.asarray(cv2.dilate(grown, np.ones((side, side), np.uint8)), np.uint8)
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    for label in range(1, n_labels):
        left, top, wide, high = (int(value) for value in stats[label, :4])
        window = (slice(top, top + high), slice(left, left + wide))
        yield PlacedMask(top, left, mask[window] & (labels[window] == label))
