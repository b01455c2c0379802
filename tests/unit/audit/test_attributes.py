"""What is read from a film, and what one film gives another."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from covid_debug.audit.attributes import (
    ATTRIBUTES,
    Exchange,
    find_margins,
    read_attributes,
)
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import FilmFile
from covid_debug.imaging.writing import write_png
from covid_debug.records import FilmRegions, TextRegion
from tests.films import make_film

SIDE = 128
SPEC = ViewSpec(image_size=SIDE, top_crop=0.0)
TEXT = (20, 20, 34, 30)
MARK = (84, 80, 98, 94)


def box(x0, y0, x1, y1):
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return TextRegion(tuple((float(x), float(y)) for x, y in corners), 0.9, None, "made")


def lungs(film):
    mask = np.zeros(film.shape, bool)
    mask[48:80, 30:56] = mask[48:80, 72:98] = True
    return mask


def no_lungs(film):
    return np.zeros(film.shape, bool)


@pytest.fixture
def read(tmp_path):
    def make(index, *, level=90, text=False, mark=False, find=lungs):
        pixels = np.full((SIDE, SIDE), level, np.uint8)
        if text:
            pixels[TEXT[1] : TEXT[3], TEXT[0] : TEXT[2]] = 230
        if mark:
            pixels[MARK[1] : MARK[3], MARK[0] : MARK[2]] = 230
        path = tmp_path / f"{index}.png"
        write_png(path, pixels)
        left_out = ((box(*MARK), "uncertain: seen by one detector"),) if mark else ()
        found = FilmRegions(str(index), SIDE, SIDE, (box(*TEXT),) if text else (), None, left_out)
        reading = read_attributes(FilmFile(path), make_film(index), found, SPEC, find)
        return pixels, reading

    return make


def give(name, taker, donor):
    pixels, own = taker
    return ATTRIBUTES[name].exchange(Exchange(pixels, SPEC, own, donor[1]))


def inside(region):
    x0, y0, x1, y1 = region
    return slice(y0 + 2, y1 - 2), slice(x0 + 2, x1 - 2)


def test_text_is_taken_from_the_film_and_given_by_the_donor(read):
    plain, lettered = read(0), read(1, text=True, level=70)

    given = give("text", plain, lettered)
    taken = give("text", lettered, plain)

    np.testing.assert_allclose(given[inside(TEXT)], 90 + 230 - 70, atol=3)  # Telea is not flat
    np.testing.assert_allclose(taken, 70, atol=3)
    rest = np.ones(given.shape, bool)
    rest[TEXT[1] - 8 : TEXT[3] + 8, TEXT[0] - 8 : TEXT[2] + 8] = False
    assert np.all(given[rest] == 90)


def test_marks_are_given_and_the_films_own_text_stays(read):
    lettered, marked = read(0, text=True), read(1, mark=True)

    given = give("marks", lettered, marked)

    np.testing.assert_allclose(given[inside(MARK)], 230, atol=3)
    assert np.all(given[inside(TEXT)] == 230)
    np.testing.assert_allclose(give("marks", marked, lettered), 90, atol=3)


def test_what_is_text_is_no_mark(read):
    _, reading = read(0, text=True)

    assert reading.features["marks"][0] == 0
    assert reading.features["text"][0] == 1


def test_an_annotation_is_a_mark_and_no_text(tmp_path):
    pixels = np.full((SIDE, SIDE), 90, np.uint8)
    pixels[MARK[1] : MARK[3], MARK[0] : MARK[2]] = 230
    write_png(tmp_path / "0.png", pixels)
    found = FilmRegions("0", SIDE, SIDE, (replace(box(*MARK), kind="annotation"),))

    reading = read_attributes(FilmFile(tmp_path / "0.png"), make_film(0), found, SPEC, no_lungs)

    assert reading.features["text"][0] == 0
    assert reading.features["marks"][0] == 1
    assert np.all(reading.text_free[inside(MARK)] == 230)
    np.testing.assert_allclose(reading.mark_free[inside(MARK)], 90, atol=3)


@pytest.mark.parametrize(
    ("name", "inner", "outer"),
    [
        ("border", (64, 64), (2, 64)),
        ("border", (64, 64), (64, 125)),
        ("corners", (64, 2), (2, 2)),
        ("lungs", (2, 2), (64, 40)),
        ("outside_lungs", (64, 40), (2, 2)),
    ],
)
def test_a_place_is_the_donors_inside_and_the_films_elsewhere(read, name, inner, outer):
    film, donor = read(0, level=90), read(1, level=150)

    given = give(name, film, donor)

    assert given[inner] == 90
    assert given[outer] == 150


def test_lungs_and_all_else_make_up_the_whole_film(read):
    film, donor = read(0, level=90), read(1, level=150)

    total = give("lungs", film, donor).astype(int) + give("outside_lungs", film, donor)

    np.testing.assert_allclose(total, 90 + 150, atol=1)


def test_films_whose_lungs_are_not_found_neither_give_nor_take_them(read):
    film = read(0, find=no_lungs)

    assert film[1].lungs is None
    assert not ATTRIBUTES["lungs"].is_known(film[1])
    assert ATTRIBUTES["border"].is_known(film[1])
    with pytest.raises(InputContractError, match="lungs of a film were not found"):
        give("lungs", film, read(1))


def test_every_exchange_with_the_film_itself_gives_the_view(read):
    film, lettered = read(0, mark=True), read(1, text=True)

    for name, attribute in ATTRIBUTES.items():
        if attribute.exchange is not None:
            given = give(name, film, film).astype(int)
            np.testing.assert_allclose(given, film[1].view, atol=1, err_msg=name)
    np.testing.assert_array_equal(give("text", lettered, lettered), lettered[1].view)


def test_flat_dark_and_bright_margins_are_measured_and_a_gray_one_is_none():
    view = np.random.default_rng(0).integers(60, 180, (100, 100)).astype(np.uint8)
    view[:7] = 3
    view[:, -11:] = 250
    view[-5:] = 128

    # the white strip at the right ends the flat black rows at the top, but not the rows' bulk
    top, bottom, left, right = find_margins(view)

    assert (bottom, left, right) == (0, 0, 11)
    assert top in (0, 7)


def test_the_table_of_a_jpeg_is_read_and_a_png_has_none(tmp_path, read):
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
    path = tmp_path / "film.jpg"
    Image.fromarray(pixels).save(path, quality=40)
    found = FilmRegions("jpeg", SIDE, SIDE, ())

    reading = read_attributes(FilmFile(path), make_film(5), found, SPEC, lungs)

    assert reading.quantization is not None
    assert len(reading.quantization) == 64
    assert read(0)[1].quantization is None
    blurred = give("jpeg", (pixels, reading), (pixels, reading))
    assert blurred.shape == (SIDE, SIDE)
