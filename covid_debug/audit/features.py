"""Films as a few numbers, for models that see nothing else.

Owns the numbers of text, border and view; which model gets them is decided elsewhere.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.exchange import measure_spectrum
from covid_debug.records import TextRegion

Features = NDArray[np.float64]

BORDER_SHARE = 1 / 16  # of the view's side
_GRID = 4  # text positions are told apart by quarters of the film
_BORDER_CELLS = 14
_THUMBNAIL = 8
_N_GRAY_BINS = 16


def describe_layout(regions: Sequence[TextRegion], width: int, height: int) -> Features:
    """Describe how much there is and where.

    Args:
        regions: Regions of one film, all of which count.
        width: The film's width in pixels.
        height: Its height.

    Returns:
        ``(19,)``: whether there are any, the logarithm of their number, the square root of their
        share of the film, and the root of their number in each of 4 x 4 parts of the film.
    """
    grid = np.zeros((_GRID, _GRID))
    area = 0.0
    for region in regions:
        x0, y0, x1, y1 = region.box
        column = int(np.clip(_GRID * (x0 + x1) / 2 / width, 0, _GRID - 1))
        row = int(np.clip(_GRID * (y0 + y1) / 2 / height, 0, _GRID - 1))
        grid[row, column] += 1
        area += (x1 - x0) * (y1 - y0) / (width * height)
    n = len(regions)
    return np.array([float(n > 0), np.log1p(n), np.sqrt(area), *np.sqrt(grid.ravel())])


def describe_border(views: NDArray[np.uint8]) -> Features:
    """Return the mean brightness of short stretches of the view's border.

    Args:
        views: ``(N, S, S)`` uint8.

    Returns:
        ``(N, 4 * cells)``: top, bottom, left, right; 14 cells a side, or ``S`` if that is less.
    """
    side = views.shape[1]
    depth = max(1, round(side * BORDER_SHARE))
    strips = (
        views[:, :depth],
        views[:, -depth:],
        views[:, :, :depth].swapaxes(1, 2),
        views[:, :, -depth:].swapaxes(1, 2),
    )
    cells = [
        cell.mean(axis=(1, 2))
        for strip in strips
        for cell in np.array_split(strip, min(_BORDER_CELLS, side), axis=2)
    ]
    return np.stack(cells, axis=1)


def describe_image(view: NDArray[np.uint8]) -> Features:
    """Describe a view by a fixed bank of numbers.

    Args:
        view: ``(S, S)`` uint8.

    Returns:
        One row: an 8 x 8 thumbnail, the strength of edges in the same 64 cells (letters are small
        and steep), the border, the gray values' shares and the power by spatial frequency.
    """
    image = view.astype(np.float32)
    size = (_THUMBNAIL, _THUMBNAIL)
    edges = np.abs(cv2.Laplacian(image, cv2.CV_32F))
    shares = np.histogram(view, bins=_N_GRAY_BINS, range=(0, 256))[0] / view.size
    return np.concatenate(
        [
            cv2.resize(image, size, interpolation=cv2.INTER_AREA).ravel().astype(np.float64),
            np.log1p(cv2.resize(edges, size, interpolation=cv2.INTER_AREA)).ravel(),
            describe_border(view[None])[0],
            np.sqrt(shares),
            measure_spectrum(view),
        ]
    )
