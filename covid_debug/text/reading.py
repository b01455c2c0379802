"""Reads single side letters, in whatever way the marker was laid on the film.

Owns a second opinion on uncertain regions: a lead letter may be turned or mirrored, an electrode
or a clip is no letter in any direction. Uses the recognition network in the RapidOCR wheel.
"""

from typing import Any

import cv2
import numpy as np

from covid_debug.records import TextRegion
from covid_debug.text.rapidocr import load_engine
from covid_debug.text.screening import Gray

# Left, right and their names in other languages; what a turned or mirrored L is read as.
SIDE_LETTERS = {"L": "L", "R": "R", "D": "D", "S": "S", "I": "I", "E": "E", "」": "L", "¬": "L"}
_LINE_HEIGHT_PX = 48
_MARGIN = 0.15


class SideLetterReader:
    """Tells whether a region holds a side letter."""

    def __init__(self, least_score: float = 0.97) -> None:
        """Keep the limit; the network is loaded on first use.

        Args:
            least_score: Least recognition score of a letter, in (0, 1].
        """
        self.least_score = least_score
        self._engine: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the loaded network."""
        return {**self.__dict__, "_engine": None}

    def prepare(self) -> None:
        """Load the network from the wheel; touches no network connection."""
        if self._engine is None:
            self._engine = load_engine({})

    def read(self, region: TextRegion, image: Gray) -> str | None:
        """Read one region in its eight directions.

        Args:
            region: The region, in film pixels.
            image: The film, ``(H, W)`` uint8.

        Returns:
            The most certain side letter; None when none is read with the least score.
        """
        self.prepare()
        crop = _cut_out(region, image)
        best: tuple[float, str] | None = None
        for mirrored in (crop, crop[:, ::-1]):
            for n_turns in range(4):
                content, score = self._read_line(np.rot90(mirrored, n_turns))
                letter = SIDE_LETTERS.get(content)
                if letter and score >= self.least_score and (best is None or score > best[0]):
                    best = (score, letter)
        return best[1] if best else None

    def _read_line(self, pixels: Gray) -> tuple[str, float]:
        scale = _LINE_HEIGHT_PX / pixels.shape[0]
        size = (max(1, round(pixels.shape[1] * scale)), _LINE_HEIGHT_PX)
        line = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_LINEAR)
        result = self._engine(
            cv2.cvtColor(line, cv2.COLOR_GRAY2BGR), use_det=False, use_cls=False, use_rec=True
        )
        if not result.txts:
            return "", 0.0
        return str(result.txts[0]), float(result.scores[0])


def _cut_out(region: TextRegion, image: Gray) -> Gray:
    x0, y0, x1, y1 = region.box
    margin = _MARGIN * max(x1 - x0, y1 - y0) + 1
    return image[
        max(0, int(y0 - margin)) : int(y1 + margin) + 1,
        max(0, int(x0 - margin)) : int(x1 + margin) + 1,
    ]
