"""Film, map and cleaned film in one frame."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from covid_debug.imaging.geometry import ViewSpec
from covid_debug.records import TextRegion
from covid_debug.reporting.pictures import (
    FILM_PX,
    cut_out,
    draw_frame,
    draw_thumbnail,
    find_patches,
)

VIEW = ViewSpec(image_size=16)
REGION = TextRegion(((5, 20), (15, 20), (15, 26), (5, 26)), 0.9, "R", "x")


def size_of(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return image.size


def test_find_patches_holds_what_differs_and_little_more():
    film = np.full((100, 200), 90, np.uint8)
    cleaned = film.copy()
    cleaned[10:20, 30:50] = 10
    cleaned[80, 199] = 91

    first, second = sorted(find_patches(film, cleaned), key=lambda patch: patch.top)

    # a margin of 2 px all around, cut off at the border
    assert (first.left, first.top) == (28 / 200, 8 / 100)
    assert (first.width, first.height) == (24 / 200, 14 / 100)
    assert (second.left, second.width) == (197 / 200, 3 / 200)
    assert size_of(first.uri) == (24, 14)


def test_find_patches_of_equal_films_is_empty_and_of_many_places_is_one():
    film = np.zeros((100, 100), np.uint8)
    cleaned = film.copy()
    cleaned[5:95:10, 5:95:10] = 200

    assert find_patches(film, film) == ()
    (one,) = find_patches(film, cleaned)
    assert (one.left, one.top) == (0.05, 0.05)
    assert one.width == pytest.approx(0.81)


def test_draw_frame_shrinks_large_films_and_keeps_small_ones():
    large, small = np.zeros((2000, 1000), np.uint8), np.zeros((60, 40), np.uint8)

    frames = [draw_frame(film, film, (), VIEW) for film in (large, small)]

    assert size_of(frames[0].uri) == (FILM_PX // 2, FILM_PX)
    assert size_of(frames[1].uri) == (40, 60)
    assert (frames[0].width, frames[0].height) == (1000, 2000)


def test_draw_frame_says_what_cannot_be_shown():
    film = np.zeros((60, 40), np.uint8)

    frame = draw_frame(film, np.zeros((30, 40), np.uint8), (REGION,), VIEW)

    assert frame.no_patches == "the cleaned film has 40 x 30 pixels"
    assert draw_frame("lost", film, (), VIEW).missing == "lost"


def test_thumbnail_is_the_view_and_without_film_there_is_none():
    assert size_of(draw_thumbnail(np.zeros((60, 40), np.uint8), VIEW)) == (160, 160)
    assert draw_thumbnail("lost", VIEW) == cut_out("lost", REGION) == ""


def test_cut_out_of_a_region_outside_the_film_is_empty():
    assert cut_out(np.zeros((10, 10), np.uint8), REGION) == ""
