"""Clipping and rejection of regions."""

import pytest

from covid_debug.records import TextRegion
from covid_debug.text.base import clip_region, screen_regions


def rectangle(x0, y0, x1, y1, confidence=0.5):
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), confidence, None, "test")


def test_region_over_the_edge_is_clipped_to_it():
    clipped = clip_region(rectangle(-5, 90, 20, 130, confidence=1.2), 100, 100)

    assert clipped.box == (0, 90, 20, 100)
    assert clipped.confidence == 1.0


def test_region_of_film_scale_is_rejected_with_its_share():
    small, large = rectangle(0, 0, 20, 20), rectangle(10, 10, 50, 70)

    found = screen_regions([small, large], 100, 100)

    assert found.regions == (small,)
    assert found.rejected == ((large, "film scale: covers 24.0% of the film, limit 5.0%"),)


def test_region_of_exactly_the_limit_is_kept():
    assert screen_regions([rectangle(0, 0, 5, 100)], 100, 100).rejected == ()


@pytest.mark.parametrize("region", [rectangle(150, 10, 170, 20), rectangle(10, 10, 30, 10.5)])
def test_region_without_pixels_is_rejected(region):
    found = screen_regions([region], 100, 100)

    assert found.regions == ()
    assert found.rejected[0][1] == "outside the film or thinner than one pixel"
