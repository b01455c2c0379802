import cv2
import numpy as np
import pytest

from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.glyphs import TextMask, mask_box, mask_glyphs
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion

SHAPE = (120, 160)


def make_region(x: float, y: float, wide: float, high: float) -> TextRegion:
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, None, "made")


REGION = make_region(40, 40, 60, 30)


def make_background(noise: float = 2.0, dtype: type = np.uint8) -> np.ndarray:
    ramp = np.linspace(60, 120, SHAPE[1])[None, :].repeat(SHAPE[0], 0)
    noisy = ramp + np.random.default_rng(0).normal(0, noise, SHAPE)
    unit = 1 if dtype == np.uint8 else 257
    return (noisy * unit).astype(dtype)


def write(film: np.ndarray, text: str = "AP", grey: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """Return the film with anti-aliased letters and the mask of every pixel they change."""
    canvas = np.zeros(SHAPE, np.uint8)
    cv2.putText(canvas, text, (46, 66), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 3, lineType=cv2.LINE_AA)
    share = canvas / 255.0
    unit = 1 if film.dtype == np.uint8 else 257
    written = (film * (1 - share) + grey * unit * share).astype(film.dtype)
    return written, written != film


def draw_glyphs(film: np.ndarray, region: TextRegion) -> tuple[np.ndarray, str]:
    hidden = regions_to_mask([region], SHAPE[1], SHAPE[0], dilation_px=3)
    grey_range = 255.0 if film.dtype == np.uint8 else 65535.0
    found = mask_glyphs(film, region, hidden, dilation_px=3, grey_range=grey_range)
    return found.placed.drawn(SHAPE), found.kind


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [250, 10, 170])
def test_glyph_mask_covers_every_pixel_of_the_letters_and_less_than_the_box(grey, dtype):
    film, letters = write(make_background(dtype=dtype), grey=grey)

    mask, kind = draw_glyphs(film, REGION)

    assert kind == "glyphs"
    assert not (letters & ~mask).any()
    box = regions_to_mask([REGION], SHAPE[1], SHAPE[0], dilation_px=3)
    assert mask.sum() < 0.8 * box.sum()


def test_glyph_mask_follows_strokes_that_leave_the_box():
    film, letters = write(make_background())

    mask, _ = draw_glyphs(film, make_region(44, 46, 52, 16))

    assert not (letters & ~mask).any()


def test_glyph_mask_takes_the_circle_around_a_letter():
    film = make_background()
    plain = film.copy()
    cv2.circle(film, (80, 60), 20, 250, 2)
    cv2.putText(film, "R", (72, 68), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 250, 2)

    mask, _ = draw_glyphs(film, make_region(64, 44, 32, 32))

    assert not ((film != plain) & ~mask).any()


def test_glyph_mask_without_letters_is_the_whole_box():
    mask, kind = draw_glyphs(make_background(), REGION)

    assert kind == "box"
    np.testing.assert_array_equal(
        mask, regions_to_mask([REGION], SHAPE[1], SHAPE[0], dilation_px=3)
    )


def test_glyph_mask_of_a_solid_plate_contains_the_whole_box():
    film = make_background()
    film[38:72, 38:102] = 5
    cv2.putText(film, "AP", (46, 66), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 3)

    mask, _ = draw_glyphs(film, REGION)

    assert mask[38:72, 38:102].all()


@pytest.mark.parametrize("letter", [250, 120])
def test_glyph_mask_takes_a_plate_that_is_larger_than_the_region(letter):
    film = make_large(1)
    film[260:300, 380:440] = 30
    cv2.putText(film, "L", (400, 292), cv2.FONT_HERSHEY_SIMPLEX, 0.8, letter, 2)

    found = mask_large(film, make_region(394, 268, 28, 28))

    assert not found.is_incomplete
    mask = found.placed.drawn(film.shape)
    assert mask[260:300, 380:440].all()
    assert mask.sum() < 1.5 * 40 * 60


def test_glyph_mask_leaves_a_large_plate_and_says_so():
    film = make_large(1)
    film[200:340, 300:440] = 30  # 4.8 % of the film
    cv2.putText(film, "LAT", (340, 290), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 250, 4)

    found = mask_large(film, make_region(334, 248, 84, 50))

    assert found.is_incomplete
    assert not found.placed.drawn(film.shape)[200:240].any()


def test_glyph_mask_takes_the_ring_around_a_letter_that_the_region_leaves_out():
    film = make_large(1)
    plain = film.copy()
    cv2.circle(film, (320, 320), 20, 250, 2)
    cv2.putText(film, "R", (312, 328), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 250, 2)

    mask = mask_large(film, make_region(309, 309, 22, 22)).placed.drawn(film.shape)

    assert not ((film != plain) & ~mask).any()


@pytest.mark.parametrize("unit", [1, 2, 4])
def test_glyph_mask_of_an_enlarged_film_is_the_enlarged_mask(unit):
    film, letters = write_large(unit)

    found = mask_large(film, make_region(*(unit * value for value in (296, 290, 50, 32))))

    mask = found.placed.drawn(film.shape)
    assert found.kind == "glyphs"
    assert not (letters & ~mask).any()
    grown = cv2.dilate(letters.astype(np.uint8), np.ones((10 * unit + 1,) * 2, np.uint8))
    assert not (mask & (grown == 0)).any()
    small = mask_large(write_large(1)[0], make_region(296, 290, 50, 32)).placed.n_pixels
    assert mask.sum() / unit**2 == pytest.approx(small, rel=0.1)


def test_glyph_mask_of_letters_on_the_border_of_a_body_leaves_the_border():
    film = make_large(1)
    film[:, :320] = 4  # air
    plain = film.copy()
    cv2.putText(film, "AP", (302, 316), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 3)

    found = mask_large(film, make_region(298, 290, 44, 32))

    mask = found.placed.drawn(film.shape)
    assert found.kind == "glyphs"
    assert not ((film != plain) & ~mask).any()
    assert mask.sum() < 2.6 * (film != plain).sum()


@pytest.mark.parametrize("grey", [150, 130, 120])
def test_glyph_mask_covers_a_letter_that_is_far_fainter_than_the_others(grey):
    film = make_large(1)
    cv2.putText(film, "A", (302, 316), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 3)
    plain = film.copy()
    cv2.putText(film, "P", (372, 316), cv2.FONT_HERSHEY_SIMPLEX, 0.9, grey, 3)

    mask = mask_large(film, make_region(298, 290, 100, 32)).placed.drawn(film.shape)

    assert not ((film != plain) & ~mask).any()


def make_large(unit: int) -> np.ndarray:
    """Return a slope from 70 to 130 with noise, 640 px times ``unit``."""
    ramp = np.linspace(70, 130, 640)[None, :].repeat(640, 0)
    noisy = ramp + np.random.default_rng(1).normal(0, 2, ramp.shape)
    return cv2.resize(noisy, None, fx=unit, fy=unit).astype(np.uint8)


def write_large(unit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a film with letters, and the mask of the pixels that they change."""
    film = make_large(1)
    written = film.copy()
    cv2.putText(written, "AP", (302, 316), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 250, 3, cv2.LINE_AA)
    scaled = [cv2.resize(one, None, fx=unit, fy=unit) for one in (film, written)]
    return scaled[1], scaled[0] != scaled[1]


def mask_large(film: np.ndarray, region: TextRegion) -> TextMask:
    unit = film.shape[1] // 640
    hidden = regions_to_mask([region], film.shape[1], film.shape[0], dilation_px=3 * unit)
    return mask_glyphs(film, region, hidden, dilation_px=3 * unit, grey_range=255.0)


def test_glyph_mask_of_a_region_over_the_whole_film_is_the_box():
    whole = make_region(0, 0, SHAPE[1], SHAPE[0])

    _, kind = draw_glyphs(write(make_background())[0], whole)

    assert kind == "box"


def test_mask_moved_over_the_edge_is_cut_off():
    box = mask_box(make_region(10, 10, 20, 10), SHAPE, 0)
    mask = np.zeros(SHAPE, np.bool_)

    box.moved(-15, 140).stamp(mask)

    assert mask.sum() == 5 * 10
    assert mask[0:5, 150:160].all()


def test_clean_film_by_glyphs_leaves_no_trace_of_the_letters():
    plain = make_background()
    film, letters = write(plain)

    cleaned = clean_film(film, [REGION], CleaningParams())

    left = np.abs(cleaned.pixels.astype(float) - plain)[letters]
    assert left.mean() < 6  # three noise units; the letters stood out by 130 and more
    assert left.max() < 25
    np.testing.assert_array_equal(cleaned.pixels[~cleaned.mask], film[~cleaned.mask])


def test_clean_film_by_glyphs_of_one_region_ignores_its_neighbour():
    plain = make_background()
    film, letters = write(plain)
    left, right = make_region(44, 40, 26, 30), make_region(70, 40, 26, 30)

    cleaned = clean_film(film, [left, right], CleaningParams())

    assert np.abs(cleaned.pixels.astype(float) - plain)[letters].max() < 25
