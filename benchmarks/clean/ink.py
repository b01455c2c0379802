"""How much of an annotated piece of text is still on a cleaned film.

Owns what counts as ink and what counts as left. It compares two films; how a film was cleaned does
not matter: filled, blackened or blurred.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.text.annotated import AnnotatedBox
from covid_debug.text.base import Gray

MAX_LEFT = 0.1
MIN_KEPT = 0.9
_MIN_CONTRAST = 4.0
_MIN_PIECE_PX = 4
_LEFT_CONTRAST = 0.5
_LEFT_CHANGE = 0.4
_STEADY = 2.0


@dataclass(frozen=True, slots=True)
class InkLeft:
    """What is left of one box.

    Attributes:
        share: Share of its ink that is left, in [0, 1]; 0 for a box without ink.
        has_piece: Whether a connected piece of at least 4 px is left.
    """

    share: float
    has_piece: bool

    @property
    def is_gone(self) -> bool:
        """Whether at most a tenth is left: the box is redacted."""
        return self.share <= MAX_LEFT

    @property
    def is_kept(self) -> bool:
        """Whether at least nine tenths are left: the text can be read as before."""
        return self.share >= MIN_KEPT


def measure_ink(before: Gray, after: Gray, box: AnnotatedBox) -> InkLeft:
    """Compare a box of a film before and after cleaning.

    Ink is what stands out of its surroundings by more than Otsu's threshold for the box (a top hat
    with a window as wide as the box is high, of the annotated polarity). A pixel of it is left if
    it still stands out by half as much, and its own gray value has changed by at most two fifths
    of that: the first alone takes the texture of a fill for faint text, the second alone takes
    black text under a black bar for left.

    Args:
        before: The original film, ``(H, W)`` uint8.
        after: The cleaned film, of the same size.
        box: The annotated box.

    Returns:
        What is left.
    """
    window, _ = _window(before.shape, box)
    first, second = (_stand_out(film[window], box) for film in (before, after))
    is_ink = find_ink(before, box)[window]
    if not is_ink.any():
        return InkLeft(0.0, has_piece=False)
    change = np.abs(after[window].astype(np.float32) - before[window])
    is_left = is_ink & (second >= _LEFT_CONTRAST * first)
    is_left &= change <= np.maximum(_LEFT_CHANGE * first, _STEADY)
    _, _, stats, _ = cv2.connectedComponentsWithStats(is_left.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    has_piece = bool(areas.size and areas.max() >= _MIN_PIECE_PX)
    return InkLeft(float(is_left.sum() / is_ink.sum()), has_piece)


def find_ink(film: Gray, box: AnnotatedBox) -> NDArray[np.bool_]:
    """Return ``(H, W)``, True on the ink of a box, see :func:`measure_ink`."""
    window, inside = _window(film.shape, box)
    contrast = _stand_out(film[window], box)
    values = np.round(contrast[inside]).astype(np.uint8)
    threshold, _ = cv2.threshold(values.reshape(-1, 1), 0, 1, cv2.THRESH_OTSU)
    is_ink = np.zeros(film.shape, np.bool_)
    is_ink[window][inside] = contrast[inside] > max(threshold, _MIN_CONTRAST)
    return is_ink


def _window(shape: tuple[int, ...], box: AnnotatedBox) -> tuple[tuple[slice, slice], ...]:
    """Return the box with surroundings on the film, and the box in them."""
    x0, y0 = int(box.box[0]), int(box.box[1])
    x1, y1 = int(np.ceil(box.box[2])), int(np.ceil(box.box[3]))
    margin = _side(box)
    top, left = max(y0 - margin, 0), max(x0 - margin, 0)
    bottom, right = min(y1 + margin, shape[0]), min(x1 + margin, shape[1])
    outer = (slice(top, bottom), slice(left, right))
    return outer, (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _side(box: AnnotatedBox) -> int:
    """Return the odd width of the window that no stroke of the box fills."""
    return max(int(box.size_px), 3) | 1


def _stand_out(crop: Gray, box: AnnotatedBox) -> NDArray[np.float32]:
    kernel = np.ones((_side(box), _side(box)), np.uint8)
    operation = cv2.MORPH_TOPHAT if box.polarity == "bright" else cv2.MORPH_BLACKHAT
    return np.asarray(cv2.morphologyEx(crop, operation, kernel), np.float32)
