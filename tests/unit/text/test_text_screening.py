"""Clipping and rejection of regions."""

import cv2
import numpy as np
import pytest

from covid_debug.records import TextRegion
from covid_debug.text.screening import (
    clip_region,
    compute_edges,
    edge_strength,
    screen_regions,
)


def rectangle(x0, y0, x1, y1, confidence=0.5):
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), confidence, None, "test")


@pytest.fixture
def stripes():
    """A film with an edge of 200 gray levels every two pixels."""
    return np.tile(np.array([0, 0, 200, 200], np.uint8), (100, 25))


def test_region_over_the_edge_is_clipped_to_it():
    clipped = clip_region(rectangle(-5, 90, 20, 130, confidence=1.2), 100, 100)

    assert clipped.box == (0, 90, 20, 100)
    assert clipped.confidence == 1.0


def test_region_of_film_scale_is_rejected_with_its_share(stripes):
    small, large = rectangle(0, 0, 20, 20), rectangle(10, 10, 50, 70)

    found = screen_regions([small, large], stripes)

    assert found.regions == (small,)
    assert found.rejected == ((large, "film scale: covers 24.0% of the film, limit 5.0%"),)


def test_region_of_exactly_the_limit_is_kept(stripes):
    assert screen_regions([rectangle(0, 0, 5, 100)], stripes).rejected == ()


@pytest.mark.parametrize("region", [rectangle(150, 10, 170, 20), rectangle(10, 10, 30, 10.5)])
def test_region_without_pixels_is_rejected(region, stripes):
    found = screen_regions([region], stripes)

    assert found.regions == ()
    assert found.rejected[0][1] == "outside the film or thinner than one pixel"


def test_ramp_has_its_slope_as_edge_strength():
    ramp = np.tile(np.repeat(np.arange(64, dtype=np.uint8), 2) * 4, (640, 5))

    # Four gray levels every two pixels; the Sobel kernel spreads each step over two pixels.
    assert edge_strength(rectangle(10, 10, 60, 40), compute_edges(ramp)) == pytest.approx(2.0)


def test_edges_are_measured_at_a_common_size():
    ramp = np.tile(np.repeat(np.arange(0, 160, dtype=np.uint8), 8), (1280, 1))

    edges = compute_edges(ramp)

    assert edges.steepness.shape == (640, 640)
    # One gray level every 8 film pixels is one every 4 scaled pixels, seen as half of it twice.
    assert edge_strength(rectangle(100, 100, 1100, 1100), edges) == pytest.approx(0.5)


def test_smooth_anatomy_is_rejected_and_a_glyph_is_kept():
    film = np.tile(np.linspace(40, 200, 300).astype(np.uint8), (300, 1))
    cv2.putText(film, "R", (200, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2)
    glyph, lung = rectangle(198, 36, 224, 62), rectangle(40, 200, 80, 240)

    found = screen_regions([glyph, lung], film)

    assert found.regions == (glyph,)
    assert found.rejected[0][0] == lung
    assert found.rejected[0][1].startswith("anatomy: edges of 0.5 gray levels/px")


def test_edge_limit_of_zero_keeps_anatomy():
    region = rectangle(40, 20, 50, 30)

    assert screen_regions([region], np.zeros((100, 100), np.uint8), min_edge=0).regions == (region,)
