"""Fills holes of a film with film from beside them, cell by cell.

Owns the choice of a donor place and the seamless transplantation. It does not decide what is
masked, and it does not fill where no donor place is free.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import Pixels

Layer = NDArray[np.float64]
Places = NDArray[np.int64]
Cell = tuple[int, int]

_STEP_PX: Final = 8
"""Donor shifts are multiples of this, the block size of JPEG, so that its grid goes on."""
_CELL_PX: Final = 2 * _STEP_PX
_RING_PX: Final = 6
_NEAR_PX: Final = 96
_MIN_DONORS: Final = 12
_MAX_DONORS: Final = 200
_MAX_SAMPLES: Final = 150
_MIN_RING: Final = 6
_LEVELS: Final = 255.0
_EPSILON: Final = 0.25  # grey levels
_WEIGHTS: Final = (2.0, 1.0, 1 / 20, 1.0, 1 / 400)
"""Of fine texture, spread, mean (grey levels), difference to the film around the hole, pixels."""
_MAX_EXCESS: Final = (4.0, 2.0)
"""Finest detail over the ring's 90th percentile, range inside over the ring's 10 to 90 %."""
_SLACK: Final = 4.0  # grey levels
_N_LOOKED_AT: Final = 24
_N_SWEEPS: Final = 40
_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)


def transplant(film: Pixels, mask: Mask, avoid: Mask | None = None) -> tuple[Pixels, Mask]:
    """Fill each hole with film from nearby places that look like its surroundings.

    A hole is filled in cells of 16 px, laid on the grid of JPEG, the one with most film around it
    first ([criminisi2004region]). A donor place of a cell is the same shape, shifted by multiples
    of 8 px, that lies inside the film and shows nothing hidden. Of the nearby ones, that one is
    taken whose own surroundings are most like those of the cell, of which cells filled before are
    a part: in fine texture, spread, mean grey level, and pixel by pixel. So an edge that runs into
    a hole goes on, and no object larger than a cell is copied. A place with finer detail or a
    wider range inside than around the cell is passed over while there is another, for it may show
    text or an edge.
    On the donor lies the harmonic function that makes it meet the film all around
    ([perez2003poisson]).

    Nothing is random and all sums that decide are exact, so the result needs no seed.

    Args:
        film: ``(H, W)``, 8 or 16 bit.
        mask: ``(H, W)``, True where a pixel is to be replaced.
        avoid: ``(H, W)``, True where nothing may be copied from, for example text that stays.

    Returns:
        The filled film, equal to ``film`` outside the mask, and what is still to be filled.
    """
    if not mask.any() or mask.all():
        return film.copy(), mask.copy()
    canvas = _Canvas(film, mask, mask if avoid is None else mask | avoid)
    waiting = {cell: canvas.count_known(cell) for cell in canvas.list_cells()}
    while waiting:
        cell = max(waiting, key=lambda one: (waiting[one], -one[0], -one[1]))
        del waiting[cell]
        if canvas.fill(cell):
            reach = _CELL_PX + _RING_PX
            for other in waiting:
                if abs(other[0] - cell[0]) <= reach and abs(other[1] - cell[1]) <= reach:
                    waiting[other] = canvas.count_known(other)
    filled = film.copy()
    filled[mask] = canvas.values[mask]
    return filled, canvas.hidden


class _Canvas:
    """A film that is being filled: what is known by now, and what may be copied.

    Attributes:
        values: Grey values, filled so far.
        hidden: What is still to be filled.
    """

    def __init__(self, film: Pixels, mask: Mask, closed: Mask) -> None:
        self.values = film.astype(np.int64)
        self.hidden = mask.copy()
        self._source = self.values.copy()
        self._known = ~mask
        self._top = int(np.iinfo(film.dtype).max)
        spread = 0.0 if film.dtype == np.uint8 else float(np.ptp(film[~mask]))
        self._unit = max(spread / _LEVELS, 1.0)
        # Detail beside a hidden pixel is made of that pixel, too.
        self._closed_sums = cv2.integral(cv2.dilate(closed.astype(np.uint8), _NEIGHBOURS))
        self._source_detail = _measure_detail(self.values)
        self._detail = self._source_detail.copy()

    def list_cells(self) -> list[Cell]:
        """Return top and left of the cells in which something is hidden."""
        height, width = self.hidden.shape
        pad = ((0, -height % _CELL_PX), (0, -width % _CELL_PX))
        padded = np.pad(self.hidden, pad)
        blocks = padded.reshape(padded.shape[0] // _CELL_PX, _CELL_PX, -1, _CELL_PX)
        rows, columns = np.nonzero(blocks.any(axis=(1, 3)))
        return [
            (int(row) * _CELL_PX, int(column) * _CELL_PX)
            for row, column in zip(rows, columns, strict=True)
        ]

    def count_known(self, cell: Cell) -> int:
        """Return how many pixels in and around a cell are known."""
        top, left = max(cell[0] - _RING_PX, 0), max(cell[1] - _RING_PX, 0)
        reach = _CELL_PX + _RING_PX
        return int(np.count_nonzero(self._known[top : cell[0] + reach, left : cell[1] + reach]))

    def fill(self, cell: Cell) -> bool:
        """Fill what is hidden in a cell; False where it has no surroundings or no donor."""
        window = (
            slice(cell[0], cell[0] + _CELL_PX),
            slice(cell[1], cell[1] + _CELL_PX),
        )
        inside = np.stack(np.nonzero(self.hidden[window]), axis=1) + np.array(cell)
        height, width = self.hidden.shape
        top, left = (int(value) for value in np.maximum(inside.min(axis=0) - _RING_PX, 0))
        low, right = (int(value) for value in inside.max(axis=0) + _RING_PX + 1)
        box = (top, left, min(low, height), min(right, width))
        # Detail is that of the film where all neighbours are film.
        corner = (max(box[0] - 1, 0), max(box[1] - 1, 0))
        near = self._known[corner[0] : box[2] + 1, corner[1] : box[3] + 1].astype(np.uint8)
        sure = cv2.erode(near, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        at = (box[0] - corner[0], box[1] - corner[1])
        sure = sure[at[0] :, at[1] :][: box[2] - box[0], : box[3] - box[1]]
        ring = np.stack(np.nonzero(sure), axis=1) + np.array(box[:2])
        if len(ring) < _MIN_RING:
            return False
        shift = self._find_donor(ring[:: -(-len(ring) // _MAX_SAMPLES)], inside, box)
        if shift is None:
            return False
        self._copy(inside, shift)
        return True

    def _find_donor(
        self, ring: Places, inside: Places, box: tuple[int, int, int, int]
    ) -> tuple[int, int] | None:
        """Return rows and columns to the best donor place, or None."""
        shifts = self._find_free(box)
        if not len(shifts):
            return None
        here = self._describe(self.values, self._detail, ring, np.zeros((1, 2), np.int64))
        there = self._describe(self._source, self._source_detail, ring, shifts)
        cost = (
            _WEIGHTS[0] * np.abs(np.log(there[0] / here[0]))
            + _WEIGHTS[1] * np.abs(np.log(there[1] / here[1]))
            + _WEIGHTS[2] * np.abs(there[2] - here[2])
            + _WEIGHTS[3] * self._mismatch(ring, shifts) / here[1]
            + _WEIGHTS[4] * np.hypot(shifts[:, 0], shifts[:, 1])
        )
        best = np.argsort(np.round(cost, 6), kind="stable")[:_N_LOOKED_AT]
        is_calm = self._is_calm(ring, inside, shifts[best])
        if not is_calm.any():
            return None
        chosen = best[int(np.argmax(is_calm))]
        return int(shifts[chosen, 0]), int(shifts[chosen, 1])

    def _find_free(self, box: tuple[int, int, int, int]) -> Places:
        """Return the shifts that show nothing closed, the nearby ones where they suffice."""
        height, width = self.hidden.shape
        shifts: Places = np.empty((0, 2), np.int64)
        for near in (_NEAR_PX, max(height, width)):
            rows = _multiples(max(-box[0], -near), min(height - box[2], near))
            columns = _multiples(max(-box[1], -near), min(width - box[3], near))
            sums = self._closed_sums
            free = (
                sums[np.ix_(box[2] + rows, box[3] + columns)]
                - sums[np.ix_(box[0] + rows, box[3] + columns)]
                - sums[np.ix_(box[2] + rows, box[1] + columns)]
                + sums[np.ix_(box[0] + rows, box[1] + columns)]
            ) == 0
            at = np.stack(np.nonzero(free), axis=1)
            shifts = np.stack([rows[at[:, 0]], columns[at[:, 1]]], axis=1)
            if len(shifts) >= _MIN_DONORS:
                break
        distance = (shifts**2).sum(axis=1)
        return shifts[np.argsort(distance, kind="stable")[:_MAX_DONORS]]

    def _describe(
        self, values: Places, detail: Places, points: Places, shifts: Places
    ) -> tuple[Layer, Layer, Layer]:
        """Return mean detail, spread and mean of the points at each shift, in grey levels."""
        rows = shifts[:, :1] + points[:, 0]
        columns = shifts[:, 1:] + points[:, 1]
        seen, fine = values[rows, columns], detail[rows, columns]
        n = points.shape[0]
        mean = seen.sum(axis=1) / n
        variance = (seen**2).sum(axis=1) / n - mean**2
        spread = np.sqrt(np.maximum(variance, 0.0)) / self._unit
        return (
            fine.sum(axis=1) / (4 * n * self._unit) + _EPSILON,
            spread + _EPSILON,
            mean / self._unit,
        )

    def _mismatch(self, points: Places, shifts: Places) -> Layer:
        """Return the spread of the difference between film and donor over the points."""
        away = self._source[shifts[:, :1] + points[:, 0], shifts[:, 1:] + points[:, 1]]
        difference = away - self.values[points[:, 0], points[:, 1]]
        n = len(points)
        mean = difference.sum(axis=1) / n
        variance = (difference**2).sum(axis=1) / n - mean**2
        spread: Layer = np.sqrt(np.maximum(variance, 0.0)) / self._unit
        return spread

    def _is_calm(self, ring: Places, inside: Places, shifts: Places) -> Mask:
        """Say which places have inside no more detail and spread than there is around the cell."""
        detail = self._detail[ring[:, 0], ring[:, 1]]
        values = self.values[ring[:, 0], ring[:, 1]]
        rows, columns = shifts[:, :1] + inside[:, 0], shifts[:, 1:] + inside[:, 1]
        finest = self._source_detail[rows, columns].max(axis=1)
        slack = _SLACK * self._unit
        limit = _MAX_EXCESS[0] * np.percentile(detail, 90) + 4 * slack
        room = _MAX_EXCESS[1] * (np.percentile(values, 90) - np.percentile(values, 10)) + slack
        calm: Mask = (finest <= limit) & (np.ptp(self._source[rows, columns], axis=1) <= room)
        return calm

    def _copy(self, inside: Places, shift: tuple[int, int]) -> None:
        """Lay the donor into the hidden pixels and join it to all that is known around."""
        height, width = self.hidden.shape
        top, left = (int(value) for value in np.maximum(inside.min(axis=0) - 1, 0))
        low, right = (int(value) for value in inside.max(axis=0) + 2)
        low, right = min(low, height), min(right, width)
        window = (slice(top, low), slice(left, right))
        away = (slice(top + shift[0], low + shift[0]), slice(left + shift[1], right + shift[1]))
        donor = self._source[away]
        known = self._known[window]
        offset = np.where(known, self.values[window] - donor, 0).astype(np.float64)
        level = np.rint(donor + interpolate_membrane(offset, known))
        rows, columns = inside[:, 0], inside[:, 1]
        self.values[rows, columns] = np.clip(level[rows - top, columns - left], 0, self._top)
        self.hidden[rows, columns] = False
        self._known[rows, columns] = True
        outer = (slice(max(top - 2, 0), low + 2), slice(max(left - 2, 0), right + 2))
        inner = (slice(max(top - 1, 0), low + 1), slice(max(left - 1, 0), right + 1))
        at = (inner[0].start - outer[0].start, inner[1].start - outer[1].start)
        detail = _measure_detail(self.values[outer])[at[0] :, at[1] :]
        target = self._detail[inner]
        target[...] = detail[: target.shape[0], : target.shape[1]]


def _measure_detail(values: Places) -> Places:
    """Return the magnitude of the Laplacian, exactly."""
    padded = np.pad(values, 1, mode="edge")
    detail: Places = np.abs(
        4 * padded[1:-1, 1:-1]
        - padded[:-2, 1:-1]
        - padded[2:, 1:-1]
        - padded[1:-1, :-2]
        - padded[1:-1, 2:]
    )
    return detail


def _multiples(low: int, high: int) -> Places:
    """Return the multiples of the step in [low, high]."""
    return np.arange(-(-low // _STEP_PX), high // _STEP_PX + 1, dtype=np.int64) * _STEP_PX


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
