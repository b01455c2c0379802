"""Gives a smooth fill the fine texture of its surroundings.

Owns the borrowing of texture only; the fill itself is :mod:`covid_debug.imaging.inpainting`.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.masks import iter_groups
from covid_debug.imaging.reading import Pixels

_SIGMA_PX: Final = 4.0
_GAP_PX: Final = 6
_SEAM_PX: Final = 1.6
_DIRECTIONS: Final = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


def add_grain(filled: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """Exchange the fine part of each fill for that of a place beside it.

    The fine part is what a Gaussian of 4 px removes. It is taken from the same shape shifted by
    its own size, in the first of eight directions that shows an unmasked part of the film.
    Nothing is random, so the result needs no seed.

    Args:
        filled: ``(H, W)`` after the fill, 8 or 16 bit.
        mask: ``(H, W)``, True where ``filled`` was filled.

    Returns:
        A new array; equal to ``filled`` outside the mask and where no direction is free.
    """
    result = filled.copy()
    top = np.iinfo(filled.dtype).max
    for piece in iter_groups(mask):
        y, x, high, wide = piece.top, piece.left, piece.high, piece.wide
        source = _find_source(mask, x, y, wide, high)
        if source is None:
            continue
        coarse, _ = _split(filled, x, y, wide, high)
        _, fine = _split(filled, *source, wide, high)
        target = result[y : y + high, x : x + wide]
        padded = np.pad(piece.mask.astype(np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        weight = np.minimum(depth / _SEAM_PX, 1.0)  # the fill itself meets its border best
        mixed = weight * (coarse + fine) + (1 - weight) * target
        target[piece.mask] = np.clip(np.rint(mixed), 0, top).astype(filled.dtype)[piece.mask]
    return result


def _find_source(
    mask: NDArray[np.bool_], x: int, y: int, wide: int, high: int
) -> tuple[int, int] | None:
    for step_x, step_y in _DIRECTIONS:
        left, top = x + step_x * (wide + _GAP_PX), y + step_y * (high + _GAP_PX)
        if left < 0 or top < 0 or left + wide > mask.shape[1] or top + high > mask.shape[0]:
            continue
        if not mask[top : top + high, left : left + wide].any():
            return left, top
    return None


def _split(
    film: Pixels, x: int, y: int, wide: int, high: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coarse and the fine part of a window of the film; their sum is the window."""
    margin = int(3 * _SIGMA_PX)
    top, left = max(y - margin, 0), max(x - margin, 0)
    crop = film[top : y + high + margin, left : x + wide + margin].astype(np.float32)
    coarse = cv2.GaussianBlur(crop, (0, 0), _SIGMA_PX)
    window = (slice(y - top, y - top + high), slice(x - left, x - left + wide))
    return coarse[window], (crop - coarse)[window]
