"""Planted texts: where they are, how strong, and how they are counted."""

from typing import ClassVar

import numpy as np

from benchmarks.text.planted import (
    CONTRASTS,
    SIZES,
    TEXTS,
    describe_planted,
    plant_text,
    score_planted,
)
from covid_debug.records import TextRegion
from covid_debug.text.base import RegionDetector

BRIGHT = np.full((400, 500), 150, np.uint8)


class Everything(RegionDetector):
    """Reports the whole film."""

    name: ClassVar[str] = "everything"
    max_area_share = 1.0
    min_edge = 0.0
    params = None

    def prepare(self) -> None:
        pass

    def _find(self, image):
        height, width = image.shape
        corners = ((0, 0), (width, 0), (width, height), (0, height))
        return [TextRegion(tuple((float(x), float(y)) for x, y in corners), 1.0, None, "e")]


def test_planted_text_has_its_size_and_contrast_inside_its_box() -> None:
    pixels, (x0, y0, x1, y1) = plant_text(BRIGHT, "L", 0.08, 40, np.random.default_rng(0))

    changed = np.argwhere(pixels != BRIGHT)
    assert changed.min(axis=0).tolist() >= [y0, x0]
    assert (changed.max(axis=0) < [y1, x1]).all()
    assert pixels.max() == 190
    assert abs((y1 - y0) - 0.08 * 400) < 5


def test_nothing_is_planted_on_dark_films() -> None:
    assert plant_text(BRIGHT // 2, "L", 0.05, 40, np.random.default_rng(0)) is None


def test_every_size_and_contrast_is_counted_once() -> None:
    scores = score_planted([BRIGHT], Everything())

    assert len(scores) == len(SIZES) * len(CONTRASTS)
    assert all(score.is_found and score.text in TEXTS for score in scores)
    table = describe_planted(scores)
    assert "letters, 3% of the height" in table
    assert "contrast 15" in table
