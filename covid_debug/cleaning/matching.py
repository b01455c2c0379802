"""Finds untouched places of a film that are like a given place, for fair comparisons.

Owns what "alike" means: grey level and spread around the place, and nearness to the border. Knows
nothing of fills.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.masks import Mask, PlacedMask

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]

_FRAME_PX: Final = 8
_STEP_PX: Final = 4
_BLOCK_PX: Final = 8
_MIN_FRAME_PX: Final = 30
_FAR_PX: Final = 64
_N_BEST: Final = 5
_UNITS: Final = (10.0, 0.25, 16.0)  # grey levels, logarithm of the spread, pixels to the border


class PlaceMatcher:
    """Untouched places of one film.

    A place is compared by the frame of 8 px around its box, of which cleaning changed nothing, so
    that filled and untouched places are compared by the same measure.
    """

    def __init__(self, pixels: NDArray[np.uint8], closed: Mask) -> None:
        """Prepare sums over boxes.

        Args:
            pixels: ``(H, W)``, gray levels as models see them.
            closed: ``(H, W)``, True where something was filled or written.
        """
        self._shape = pixels.shape
        values = np.where(closed, 0, pixels).astype(np.int64)
        self._sums = [
            _integrate(layer) for layer in ((~closed).astype(np.int64), values, values**2)
        ]

    def find(
        self,
        hole: PlacedMask,
        generator: np.random.Generator,
        *,
        besides: bool = False,
        on_grid: bool = False,
        near_px: float | None = None,
    ) -> PlacedMask | None:
        """Return the shape at one of the five most similar untouched places.

        Args:
            hole: The place to be matched.
            generator: Draws one of the five.
            besides: The place itself is untouched: leave out what meets its frame.
            on_grid: Only places that are whole blocks of JPEG (8 px) away, so that a place cannot
                be told by where the blocks of the film's file meet.
            near_px: Also prefer places near the given one: a step of so many pixels weighs as
                much as ten grey levels. None leaves nearness out.

        Returns:
            The same shape at a place whose frame is all inside the film, or at its border where
            the given one is, and meets nothing closed; None if there is none.
        """
        (height, width), (high, wide) = self._shape, hole.mask.shape
        if high > height or wide > width:
            return None
        at = (min(max(hole.top, 0), height - high), min(max(hole.left, 0), width - wide))
        rows = np.union1d(np.arange(0, height - high + 1, _STEP_PX), at[0])
        columns = np.union1d(
            np.arange(0, width - wide + 1, _STEP_PX), [at[1], width - wide - at[1]]
        )
        if on_grid:
            rows = np.arange(at[0] % _BLOCK_PX, height - high + 1, _BLOCK_PX)
            columns = np.arange(at[1] % _BLOCK_PX, width - wide + 1, _BLOCK_PX)
        grid = np.meshgrid(rows, columns, indexing="ij")
        tops, lefts = grid[0].ravel(), grid[1].ravel()
        n_free, mean, spread, border, is_whole = self._describe(tops, lefts, (high, wide))
        own = self._describe(np.array([at[0]]), np.array([at[1]]), (high, wide))
        if own[0][0] < _MIN_FRAME_PX:
            return None
        cost = (
            ((mean - own[1]) / _UNITS[0]) ** 2
            + ((spread - own[2]) / _UNITS[1]) ** 2
            + ((border - own[3]) / _UNITS[2]) ** 2
        )
        if near_px is not None:
            cost += ((tops - at[0]) ** 2 + (lefts - at[1]) ** 2) / near_px**2
        is_open = is_whole & (n_free >= _MIN_FRAME_PX)
        if besides:
            far = 2 * _FRAME_PX
            is_open &= (np.abs(tops - at[0]) >= high + far) | (np.abs(lefts - at[1]) >= wide + far)
        best = np.argsort(np.where(is_open, cost, np.inf), kind="stable")[:_N_BEST]
        best = best[is_open[best]]
        if not len(best):
            return None
        chosen = int(best[generator.integers(len(best))])
        return PlacedMask(int(tops[chosen]), int(lefts[chosen]), hole.mask)

    def _describe(
        self, tops: Counts, lefts: Counts, size: tuple[int, int]
    ) -> tuple[Numbers, Numbers, Numbers, Numbers, Mask]:
        """Return free pixels, mean, log spread, distance to the border; is nothing closed?"""
        height, width = self._shape
        bottoms, rights = tops + size[0], lefts + size[1]
        outer = (
            np.maximum(tops - _FRAME_PX, 0),
            np.maximum(lefts - _FRAME_PX, 0),
            np.minimum(bottoms + _FRAME_PX, height),
            np.minimum(rights + _FRAME_PX, width),
        )
        whole = [_sum_boxes(sums, *outer) for sums in self._sums]
        inner = [_sum_boxes(sums, tops, lefts, bottoms, rights) for sums in self._sums]
        n_free, total, squares = (
            (large - small).astype(np.float64) for large, small in zip(whole, inner, strict=True)
        )
        n = np.maximum(n_free, 1.0)
        mean = total / n
        variance = np.maximum(squares / n - mean**2, 0.0)
        edges = [tops, lefts, height - bottoms, width - rights]
        border = np.minimum(np.min(edges, axis=0), _FAR_PX).astype(np.float64)
        is_whole: Mask = whole[0] == (outer[2] - outer[0]) * (outer[3] - outer[1])
        spread = np.log(np.sqrt(variance) + 1.0)
        return n_free, mean, spread, border, is_whole


def _integrate(layer: Counts) -> Counts:
    return np.pad(layer.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _sum_boxes(
    sums: Counts, tops: Counts, lefts: Counts, bottoms: Counts, rights: Counts
) -> Counts:
    return sums[bottoms, rights] - sums[tops, rights] - sums[bottoms, lefts] + sums[tops, lefts]
