import numpy as np
import pytest

from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.ink import follow_ink
from covid_debug.imaging.masks import PlacedMask
from covid_debug.records import TextRegion


def make_film(seed=0, ink=230):
    noise = np.random.default_rng(seed).normal(100, 3, (160, 200))
    film = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    film[60:100, 60:66] = ink  # the stem of an L of 6 px
    film[94:100, 60:90] = ink  # and its foot
    return film


def make_region(left, top, right, bottom):
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return TextRegion(corners, 0.9, None, "made")


def follow(film, placed, dilation_px=3):
    hidden = placed.drawn(film.shape)
    return follow_ink(film, placed, hidden, dilation_px=dilation_px, grey_range=255.0)


@pytest.mark.parametrize("ink", [230, 5])
def test_follow_ink_takes_the_rest_of_a_letter_along(ink):
    film = make_film(ink=ink)
    placed = PlacedMask(56, 56, np.ones((48, 26), np.bool_))  # to column 82: the foot ends at 90

    whole, goes_on = follow(film, placed)

    assert not goes_on
    mask = whole.drawn(film.shape)
    assert mask[94:100, 60:90].all()
    assert (mask & placed.drawn(film.shape)).sum() == placed.n_pixels
    assert not mask[:, 95:].any()


def test_follow_ink_leaves_a_whole_letter_as_it_is():
    film = make_film()
    placed = PlacedMask(56, 56, np.ones((48, 38), np.bool_))

    assert follow(film, placed) == (placed, False)


def test_follow_ink_says_that_a_long_line_goes_on():
    film = make_film()
    film[94:100, 60:190] = 230
    placed = PlacedMask(56, 56, np.ones((48, 70), np.bool_))

    whole, goes_on = follow(film, placed)

    assert goes_on
    assert whole is placed


def test_follow_ink_does_not_take_film_as_bright_as_the_letter():
    film = make_film()
    film[80:130, 84:150] = 230  # far wider than a stroke, and the foot runs into it
    placed = PlacedMask(56, 56, np.ones((48, 26), np.bool_))

    whole, _ = follow(film, placed)

    assert not whole.drawn(film.shape)[:, 110:].any()


def test_follow_ink_without_letters_or_film_changes_nothing():
    film = make_film()
    plain = PlacedMask(10, 100, np.ones((20, 30), np.bool_))
    beside = PlacedMask(500, 500, np.ones((20, 30), np.bool_))
    empty = PlacedMask(10, 100, np.zeros((20, 30), np.bool_))

    for placed in (plain, beside, empty):
        assert follow(film, placed) == (placed, False)


@pytest.mark.parametrize("shape", ["glyphs", "box"])
def test_clean_film_leaves_nothing_of_a_letter_that_the_box_cuts(shape):
    film = make_film()
    params = CleaningParams(mask_shape=shape)

    cleaned = clean_film(film, [make_region(58, 58, 78, 102)], params)

    assert cleaned.pixels.max() < 140
    assert not cleaned.records[0].is_incomplete
    np.testing.assert_array_equal(cleaned.pixels[~cleaned.mask], film[~cleaned.mask])


def test_clean_film_marks_a_region_that_it_cannot_complete():
    film = make_film()
    film[94:100, 60:199] = 230

    cleaned = clean_film(film, [make_region(58, 58, 120, 102)], CleaningParams())

    assert [record.is_incomplete for record in cleaned.records] == [True]
