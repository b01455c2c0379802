"""Gives filled pixels the quantisation of the JPEG file that the film came from.

Owns the tables and the grid. A fill that was never compressed has detail that the film around it
lost when it was.
"""

import io
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import Pixels

Table = tuple[int, ...]

_BLOCK_PX: Final = 8
_N_ENTRIES: Final = 64
_ORIENTATION_TAG: Final = 0x0112


def read_quantisation(path: Path) -> Table | None:
    """Return the quantisation table of a JPEG file's luma.

    Args:
        path: A film's file.

    Returns:
        64 steps; None where the file is no JPEG, is turned by EXIF, so that its grid is not that
        of the pixels, or cannot be opened.
    """
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
                return None
            table = tuple(int(step) for step in getattr(image, "quantization", {}).get(0, ()))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return table if len(table) == _N_ENTRIES else None


def grow_to_blocks(mask: Mask) -> Mask:
    """Return all of every block of 8 x 8 px in which the mask has a pixel.

    A block that is filled in part is no block of a JPEG file any more, and its seam shows.

    Args:
        mask: ``(H, W)``, from the upper left corner of the coded picture.

    Returns:
        A new mask that covers the given one, at most 7 px further on each side.
    """
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % _BLOCK_PX), (0, -width % _BLOCK_PX)))
    rows, columns = (side // _BLOCK_PX for side in padded.shape)
    blocks = padded.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).any(axis=(1, 3), keepdims=True)
    grown: Mask = np.broadcast_to(blocks, (rows, _BLOCK_PX, columns, _BLOCK_PX)).reshape(
        padded.shape
    )[:height, :width]
    return grown.copy()


def requantise(pixels: Pixels, mask: Mask, table: Table) -> Pixels:
    """Code masked pixels as the film was coded, on the same grid.

    Args:
        pixels: ``(H, W)`` uint8, from the upper left corner of the coded picture.
        mask: ``(H, W)``, True where a pixel may change.
        table: Quantisation steps, see :func:`read_quantisation`.

    Returns:
        A new array, equal to ``pixels`` outside the mask.
    """
    result = pixels.copy()
    if not mask.any():
        return result
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    top, left = (int(at) // _BLOCK_PX * _BLOCK_PX for at in (rows[0], columns[0]))
    low, right = ((int(at) // _BLOCK_PX + 1) * _BLOCK_PX for at in (rows[-1], columns[-1]))
    window = (slice(top, low), slice(left, right))
    stream = io.BytesIO()
    crop = Image.fromarray(np.ascontiguousarray(pixels[window]))
    crop.save(stream, "JPEG", qtables=[list(table)])
    coded = np.asarray(Image.open(stream), np.uint8)
    result[window][mask[window]] = coded[mask[window]]
    return result
