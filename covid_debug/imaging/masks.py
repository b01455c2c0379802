"""Groups the pixels of a mask.

Owns what belongs together; what is done with a group belongs to the caller.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def iter_groups(mask: Mask, join_px: int = 0) -> Iterator[tuple[int, int, Mask]]:
    """Yield the groups of a mask.

    Args:
        mask: ``(H, W)``.
        join_px: Growth, in pixels on every side of a square, before pixels that touch (also by a
            corner) are joined; 0 gives the connected pieces.

    Yields:
        First row, first column and ``(h, w)`` mask of each group. The window is that of the grown
        group, so the mask may have empty rows and columns along its border.
    """
    grown = mask.astype(np.uint8)
    if join_px:
        side = 2 * join_px + 1
        grown = np.asarray(cv2.dilate(grown, np.ones((side, side), np.uint8)), np.uint8)
    n_labels, labels, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    for label in range(1, n_labels):
        left, top, wide, high = (int(value) for value in stats[label, :4])
        window = (slice(top, top + high), slice(left, left + wide))
        yield top, left, mask[window] & (labels[window] == label)
