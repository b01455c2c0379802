"""Fills holes of a film with texture from beside them.

Owns the choice of a donor place and the seamless transplantation. It does not decide what is
masked, and it does not fill where no donor place is free.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.masks import Mask, PlacedMask, iter_groups
from covid_debug.imaging.reading import Pixels

Layer = NDArray[np.float64]
Places = NDArray[np.int64]

_JOIN_PX: Final = 3
_RING_PX: Final = 6
_STEP_PX: Final = 8
"""Donor shifts are multiples of this, the block size of JPEG, so that its grid goes on."""
_NEAR_PX: Final = 96
_MIN_DONORS: Final = 12
_MAX_DONORS: Final = 400
_MAX_SAMPLES: Final = 240
_MIN_PIECE_PX: Final = 6
_MAX_PIECE_PX: Final = 64
_LEVELS: Final = 255.0
_EPSILON: Final = 0.25  # grey levels
_WEIGHTS: Final = (2.0, 1.0, 1 / 20, 1.0, 1 / 400)
"""Of fine texture, spread, mean (grey levels), difference to the film around the hole, pixels."""
_MAX_EXCESS: Final = (4.0, 2.0)
"""Finest detail over the ring's 90th percentile, range inside over the ring's 10 to 90 %."""
_SLACK: Final = 4.0  # grey levels
_N_LOOKED_AT: Final = 24
_N_SWEEPS: Final = 40
_COARSE_PX: Final = 6.0
_TINY: Final = 1e-12


def transplant(film: Pixels, mask: Mask, avoid: Mask | None = None) -> tuple[Pixels, Mask]:
    """Fill each hole with film from a nearby place that looks like its surroundings.

    A donor place is the same shape, shifted by multiples of 8 px, that lies inside the film and
    shows nothing hidden. Of the nearby ones, that one is taken whose own surroundings are most
    like those of the hole: in fine texture, spread, mean grey level, and pixel by pixel. A place
    with finer detail or a wider range inside than around the hole is passed over, for it may show
    text or an edge.
    Only the donor's texture is taken, what a Gaussian of 6 px removes, so that hardly any anatomy
    comes along. Below it lies the harmonic function that makes it meet the film all around the
    hole ([perez2003poisson]).

    Holes that are wider than 64 px or have no donor are halved and tried again. Nothing is random
    and all sums that decide are exact, so the result needs no seed.

    Args:
        film: ``(H, W)``, 8 or 16 bit.
        mask: ``(H, W)``, True where a pixel is to be replaced.
        avoid: ``(H, W)``, True where nothing may be copied from, for example text that stays.

    Returns:
        The filled film, equal to ``film`` outside the mask, and what is still to be filled.
    """
    filled = film.copy()
    waiting = mask.copy()
    if not mask.any():
        return filled, waiting
    donors = _Donors(film, mask, mask if avoid is None else mask | avoid)
    for group in iter_groups(mask, _JOIN_PX):
        piece = _trim(group)
        if piece is not None:
            _fill_piece(filled, waiting, piece, donors)
    return filled, waiting


class _Donors:
    """What the search needs of a film: exact sums of the closed pixels and a layer of detail."""

    def __init__(self, film: Pixels, hidden: Mask, closed: Mask) -> None:
        self.film = film
        # Detail beside a hidden pixel is made of that pixel, too.
        grown = cv2.dilate(closed.astype(np.uint8), np.ones((3, 3), np.uint8))
        self.closed = grown > 0
        self.closed_sums = cv2.integral(grown)
        spread = 0.0 if film.dtype == np.uint8 else float(np.ptp(film[~hidden]))
        self.unit = max(spread / _LEVELS, 1.0)
        values = np.pad(film.astype(np.int64), 1, mode="edge")
        self.detail = np.abs(
            4 * values[1:-1, 1:-1]
            - values[:-2, 1:-1]
            - values[2:, 1:-1]
            - values[1:-1, :-2]
            - values[1:-1, 2:]
        )
        self.values = film.astype(np.int64)

    def find(self, piece: PlacedMask) -> tuple[int, int] | None:
        """Return rows and columns to the best donor place, or None."""
        height, width = self.film.shape
        top, left = max(piece.top - _RING_PX, 0), max(piece.left - _RING_PX, 0)
        bottom = min(piece.top + piece.high + _RING_PX, height)
        right = min(piece.left + piece.wide + _RING_PX, width)
        shape = np.zeros((bottom - top, right - left), np.uint8)
        row, column = piece.top - top, piece.left - left
        shape[row : row + piece.high, column : column + piece.wide] = piece.mask
        kernel = np.ones((2 * _RING_PX + 1,) * 2, np.uint8)
        around = (cv2.dilate(shape, kernel) > 0) & ~self.closed[top:bottom, left:right]
        origin = np.array([top, left])
        ring = np.stack(np.nonzero(around), axis=1) + origin
        if len(ring) < _MIN_PIECE_PX:
            return None
        ring = ring[:: -(-len(ring) // _MAX_SAMPLES)]
        inside = np.stack(np.nonzero(shape), axis=1) + origin

        shifts = self._find_free((top, left, bottom, right))
        if not len(shifts):
            return None
        sample = inside[:: -(-len(inside) // (2 * _MAX_SAMPLES))]
        here = self._describe(ring, np.zeros((1, 2), np.int64))
        there = self._describe(ring, shifts)
        cost = (
            _WEIGHTS[0] * np.abs(np.log(there[0] / here[0]))
            + _WEIGHTS[1] * np.abs(np.log(there[1] / here[1]))
            + _WEIGHTS[2] * np.abs(there[2] - here[2])
            + _WEIGHTS[3] * self._mismatch(ring, shifts) / here[1]
            + _WEIGHTS[4] * np.hypot(shifts[:, 0], shifts[:, 1])
        )
        best = np.argsort(np.round(cost, 6), kind="stable")[:_N_LOOKED_AT]
        is_calm = self._is_calm(ring, sample, shifts[best])
        if not is_calm.any():
            return None
        chosen = best[int(np.argmax(is_calm))]
        return int(shifts[chosen, 0]), int(shifts[chosen, 1])

    def cut_texture(self, window: tuple[slice, slice]) -> Layer:
        """Return a window of the film less its coarse part, which is taken from open pixels."""
        margin = int(3 * _COARSE_PX)
        top, left = max(window[0].start - margin, 0), max(window[1].start - margin, 0)
        wide = (slice(top, window[0].stop + margin), slice(left, window[1].stop + margin))
        crop = self.film[wide].astype(np.float64)
        weight = (~self.closed[wide]).astype(np.float64)
        total = cv2.GaussianBlur(crop * weight, (0, 0), _COARSE_PX)
        coarse = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), _COARSE_PX), _TINY)
        inner = (
            slice(window[0].start - top, window[0].stop - top),
            slice(window[1].start - left, window[1].stop - left),
        )
        texture: Layer = (crop - coarse)[inner]
        return texture

    def _find_free(self, box: tuple[int, int, int, int]) -> Places:
        """Return the shifts that show nothing closed, the nearby ones where they suffice."""
        top, left, bottom, right = box
        height, width = self.film.shape
        rows = _multiples(-top, height - bottom)
        columns = _multiples(-left, width - right)
        sums = self.closed_sums
        free = (
            sums[np.ix_(bottom + rows, right + columns)]
            - sums[np.ix_(top + rows, right + columns)]
            - sums[np.ix_(bottom + rows, left + columns)]
            + sums[np.ix_(top + rows, left + columns)]
        ) == 0
        at = np.stack(np.nonzero(free), axis=1)
        shifts: Places = np.stack([rows[at[:, 0]], columns[at[:, 1]]], axis=1)
        reach = (bottom - top + _NEAR_PX, right - left + _NEAR_PX)
        is_near = (np.abs(shifts) <= reach).all(axis=1)
        if is_near.sum() >= _MIN_DONORS:
            shifts = shifts[is_near]
        distance = (shifts**2).sum(axis=1)
        return shifts[np.argsort(distance, kind="stable")[:_MAX_DONORS]]

    def _describe(self, points: Places, shifts: Places) -> tuple[Layer, Layer, Layer]:
        """Return mean detail, spread and mean of the points at each shift, in grey levels."""
        rows = shifts[:, :1] + points[:, 0]
        columns = shifts[:, 1:] + points[:, 1]
        values, detail = self.values[rows, columns], self.detail[rows, columns]
        n = points.shape[0]
        mean = values.sum(axis=1) / n
        variance = (values**2).sum(axis=1) / n - mean**2
        spread = np.sqrt(np.maximum(variance, 0.0)) / self.unit
        return (
            detail.sum(axis=1) / (4 * n * self.unit) + _EPSILON,
            spread + _EPSILON,
            mean / self.unit,
        )

    def _mismatch(self, points: Places, shifts: Places) -> Layer:
        """Return the spread of the difference between film and donor over the points."""
        away = self.values[shifts[:, :1] + points[:, 0], shifts[:, 1:] + points[:, 1]]
        difference = away - self.values[points[:, 0], points[:, 1]]
        n = len(points)
        mean = difference.sum(axis=1) / n
        variance = (difference**2).sum(axis=1) / n - mean**2
        spread: Layer = np.sqrt(np.maximum(variance, 0.0)) / self.unit
        return spread

    def _is_calm(self, ring: Places, inside: Places, shifts: Places) -> Mask:
        """Say which places have inside no more detail and spread than there is around the hole."""
        detail = self.detail[ring[:, 0], ring[:, 1]]
        values = self.values[ring[:, 0], ring[:, 1]]
        finest = self.detail[shifts[:, :1] + inside[:, 0], shifts[:, 1:] + inside[:, 1]].max(axis=1)
        away = self.values[shifts[:, :1] + inside[:, 0], shifts[:, 1:] + inside[:, 1]]
        slack = _SLACK * self.unit
        limit = _MAX_EXCESS[0] * np.percentile(detail, 90) + 4 * slack
        room = _MAX_EXCESS[1] * (np.percentile(values, 90) - np.percentile(values, 10)) + slack
        calm: Mask = (finest <= limit) & (np.ptp(away, axis=1) <= room)
        return calm


def _multiples(low: int, high: int) -> Places:
    """Return the multiples of the step in [low, high]."""
    return np.arange(-(-low // _STEP_PX), high // _STEP_PX + 1, dtype=np.int64) * _STEP_PX


def _trim(piece: PlacedMask) -> PlacedMask | None:
    """Cut empty rows and columns off."""
    rows, columns = np.nonzero(piece.mask.any(axis=1))[0], np.nonzero(piece.mask.any(axis=0))[0]
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    inner = piece.mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return PlacedMask(piece.top + top, piece.left + left, inner)


def _halve(piece: PlacedMask) -> list[PlacedMask]:
    if max(piece.high, piece.wide) < 2 * _MIN_PIECE_PX:
        return []
    if piece.wide >= piece.high:
        cut = piece.wide // 2
        halves = [
            PlacedMask(piece.top, piece.left, piece.mask[:, :cut]),
            PlacedMask(piece.top, piece.left + cut, piece.mask[:, cut:]),
        ]
    else:
        cut = piece.high // 2
        halves = [
            PlacedMask(piece.top, piece.left, piece.mask[:cut]),
            PlacedMask(piece.top + cut, piece.left, piece.mask[cut:]),
        ]
    return [half for half in map(_trim, halves) if half is not None]


def _fill_piece(filled: Pixels, waiting: Mask, piece: PlacedMask, donors: _Donors) -> None:
    is_large = max(piece.high, piece.wide) > _MAX_PIECE_PX
    shift = None if is_large else donors.find(piece)
    if shift is None:
        for half in _halve(piece):
            _fill_piece(filled, waiting, half, donors)
        return
    height, width = filled.shape
    top, left = max(piece.top - 1, 0), max(piece.left - 1, 0)
    bottom = min(piece.top + piece.high + 1, height)
    right = min(piece.left + piece.wide + 1, width)
    window = (slice(top, bottom), slice(left, right))
    away = (slice(top + shift[0], bottom + shift[0]), slice(left + shift[1], right + shift[1]))
    hidden = np.zeros((bottom - top, right - left), np.bool_)
    row, column = piece.top - top, piece.left - left
    hidden[row : row + piece.high, column : column + piece.wide] = piece.mask
    known = ~waiting[window]
    texture = donors.cut_texture(away)
    offset = np.where(known, filled[window] - texture, 0.0)
    level = np.rint(texture + interpolate_membrane(offset, known))
    target = filled[window]
    target[hidden] = np.clip(level, 0, np.iinfo(filled.dtype).max).astype(filled.dtype)[hidden]
    waiting[window] &= ~hidden


def interpolate_membrane(values: Layer, known: Mask, n_sweeps: int = _N_SWEEPS) -> Layer:
    """Continue values smoothly over the pixels where they are not known.

    Averages of ever larger blocks of known pixels are the start; sweeps towards the harmonic
    function (each pixel the mean of its four neighbours) join it to the known pixels.

    Args:
        values: ``(h, w)``; where not known they are not looked at.
        known: ``(h, w)``, True where ``values`` counts; at least one pixel must be known.
        n_sweeps: Sweeps.

    Returns:
        ``(h, w)``, equal to ``values`` where known.
    """
    result = _pull_push(np.where(known, values, 0.0), known.astype(np.float64))
    padded = np.pad(result, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    for _ in range(n_sweeps):
        padded[0], padded[-1] = padded[1], padded[-2]
        padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
        mean = (padded[:-2, 1:-1] + padded[2:, 1:-1]) + (padded[1:-1, :-2] + padded[1:-1, 2:])
        inner[...] = np.where(known, inner, 0.25 * mean)
    return inner


def _pull_push(values: Layer, weights: Layer) -> Layer:
    """Fill what has no weight from blocks of 2, 4, 8, ... pixels."""
    if weights.all() or min(values.shape) < 1 or values.size == 1:
        return values
    pad = ((0, values.shape[0] % 2), (0, values.shape[1] % 2))
    weighted, weight = np.pad(values * weights, pad), np.pad(weights, pad)
    sums = _add_blocks(weighted)
    counts = _add_blocks(weight)
    coarse = np.where(counts > 0, sums / np.maximum(counts, 1.0), 0.0)
    below = _pull_push(coarse, (counts > 0).astype(np.float64))
    spread = np.repeat(np.repeat(below, 2, axis=0), 2, axis=1)[: values.shape[0], : values.shape[1]]
    return np.where(weights > 0, values, spread)


def _add_blocks(values: Layer) -> Layer:
    return (values[::2, ::2] + values[1::2, ::2]) + (values[::2, 1::2] + values[1::2, 1::2])
