"""Boxes fitted to glyphs and rings drawn here."""

import cv2
import numpy as np
import pytest

from covid_debug.records import TextRegion
from covid_debug.text.refinement import (
    find_ring,
    refine_regions,
    shrink_to_glyphs,
)


def region(*polygon):
    return TextRegion(polygon, 0.7, "R", "test")


@pytest.fixture
def letter_film():
    """A smooth film with a white block at (60, 40)-(80, 70)."""
    film = np.tile(np.linspace(30, 90, 200).astype(np.uint8), (150, 1))
    film[40:70, 60:80] = 250
    return film


@pytest.fixture
def circled_film():
    """A black disc of radius 30 at (100, 80) with a white ring and a letter in it."""
    film = np.full((160, 200), 120, np.uint8)
    cv2.circle(film, (100, 80), 30, 0, -1)
    cv2.circle(film, (100, 80), 29, 255, 2)
    cv2.putText(film, "L", (92, 90), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 2)
    return film


def test_box_shrinks_to_the_glyph_with_one_pixel_around(letter_film):
    x0, y0, x1, y1 = shrink_to_glyphs((45, 30, 95, 80), letter_film)

    # The Sobel kernel sees an edge one pixel on either side of it.
    assert (x0, y0, x1, y1) == (58, 38, 82, 72)


def test_box_never_grows_by_shrinking(letter_film):
    assert shrink_to_glyphs((61, 41, 79, 69), letter_film) == (61, 41, 79, 69)


def test_box_without_edges_stays():
    assert shrink_to_glyphs((10, 10, 50, 40), np.full((60, 80), 99, np.uint8)) == (10, 10, 50, 40)


def test_box_with_a_lone_speck_stays():
    film = np.full((150, 200), 60, np.uint8)
    film[120, 120] = 255

    assert shrink_to_glyphs((100, 100, 180, 140), film) == (100, 100, 180, 140)


def test_letter_grows_to_its_ring(circled_film):
    ring = find_ring((91, 68, 108, 92), circled_film)

    assert ring == pytest.approx((70, 50, 131, 111), abs=2)


def test_letter_without_ring_stays(letter_film):
    assert find_ring((58, 38, 82, 72), letter_film) is None


def test_open_arc_is_no_ring():
    film = np.full((160, 200), 60, np.uint8)
    cv2.ellipse(film, (100, 80), (30, 30), 0, 0, 270, 255, 2)

    assert find_ring((91, 68, 108, 92), film) is None


def test_word_is_not_grown(circled_film):
    assert find_ring((75, 75, 125, 85), circled_film) is None


def test_slanted_region_is_left_alone(letter_film):
    slanted = region((70, 30), (95, 55), (70, 80), (45, 55))

    assert refine_regions([slanted], letter_film) == [slanted]


def test_everything_but_the_polygon_is_kept(letter_film):
    (fitted,) = refine_regions([region((45, 30), (95, 30), (95, 80), (45, 80))], letter_film)

    assert fitted.box == (58, 38, 82, 72)
    assert (fitted.confidence, fitted.content, fitted.detector) == (0.7, "R", "test")


def test_nothing_to_fit_gives_nothing(letter_film):
    assert refine_regions([], letter_film) == []


@pytest.mark.parametrize("box", [(0, 0, 3, 3), (195, 145, 200, 150), (0, 0, 200, 150)])
def test_boxes_at_the_border_are_fitted_inside_the_film(letter_film, box):
    x0, y0, x1, y1 = box
    (fitted,) = refine_regions([region((x0, y0), (x1, y0), (x1, y1), (x0, y1))], letter_film)

    assert fitted.box[0] >= 0
    assert fitted.box[2] <= 200
