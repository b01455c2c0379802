"""Side letters beside initials and in rings."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion
from covid_debug.text.contents import ContentReader, build_content_reader
from covid_debug.text.side_letters import cut_polygon

SHAPE = (300, 400)


@pytest.fixture(scope="module")
def contents() -> ContentReader:
    return build_content_reader()


def make_marker(letter: str, initials: str, turn=lambda patch: patch) -> np.ndarray:
    """A large letter with small initials below it, bright on gray."""
    canvas = Image.new("L", (60, 90), 60)
    drawing = ImageDraw.Draw(canvas)
    drawing.text((8, -2), letter, fill=220, font=ImageFont.load_default(56))
    drawing.text((10, 64), initials, fill=220, font=ImageFont.load_default(20))
    return np.ascontiguousarray(turn(np.asarray(canvas)))


def place(patch: np.ndarray, x: int, y: int = 20) -> tuple[np.ndarray, TextRegion]:
    film = np.full(SHAPE, 60, np.uint8)
    film[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    box = (float(x), float(y), float(x + patch.shape[1]), float(y + patch.shape[0]))
    return film, TextRegion(to_polygon(box), 0.9, None, "test")


@pytest.mark.parametrize(
    "turn", [lambda p: p, np.fliplr, lambda p: np.rot90(p, 2)], ids=["", "mirrored", "turned"]
)
def test_a_large_letter_beside_initials_is_a_side_and_the_initials_are_not(contents, turn):
    film, region = place(make_marker("L", "GV", turn), 320)

    side, rest = contents.complete([region], film)

    assert (side.content, side.kind) == ("L", "side_marker")
    assert rest.kind == "unknown"
    whole, mine, others = (
        regions_to_mask(ones, *SHAPE[::-1]) for ones in ([region], [side], [rest])
    )
    assert ((mine | others) == whole).mean() > 0.99
    assert (mine & others).sum() < 0.1 * whole.sum()
    ink = film > 140
    rows = np.nonzero(ink & mine)[0]
    assert np.ptp(rows) < 50


@pytest.mark.parametrize("letter", ["L", "S"])
def test_a_letter_in_a_ring_is_a_side(contents, letter):
    canvas = np.full((60, 60), 10, np.uint8)
    cv2.circle(canvas, (30, 30), 27, 220, 3)
    cv2.putText(canvas, letter, (20, 42), cv2.FONT_HERSHEY_DUPLEX, 1.1, 220, 3)
    film, region = place(canvas, 320)

    (side,) = contents.complete([region], film)

    assert (side.content, side.kind, side.polygon) == (letter, "side_marker", region.polygon)


@pytest.mark.parametrize("initials", ["GV", "SC"])
def test_initials_alone_are_no_side(contents, initials):
    film, region = place(make_marker("", initials), 320)

    assert all(one.kind != "side_marker" for one in contents.complete([region], film))


@pytest.mark.parametrize("initials", ["LPM", "FLN"])
def test_no_letter_is_cut_out_of_initials_of_its_own_size(contents, initials):
    canvas = Image.new("L", (64, 30), 10)
    ImageDraw.Draw(canvas).text((4, 1), initials, fill=220, font=ImageFont.load_default(24))
    film, region = place(np.asarray(canvas), 320)
    film[film == 60] = 180

    assert all(one.kind != "side_marker" for one in contents.complete([region], film))


def test_words_and_bare_film_stay_one_region(contents):
    film, region = place(np.full((40, 40), 60, np.uint8), 320)

    assert contents.complete([region], film) == (region,)


@pytest.mark.parametrize("x", [-90.0, 410.0])
def test_a_region_beside_the_film_stays_as_it_is(contents, x):
    film, region = place(np.full((40, 40), 200, np.uint8), 320)
    beside = replace(region, polygon=to_polygon((x, 20.0, x + 40, 60.0)))

    assert contents.complete([beside], film)[0].polygon == beside.polygon


def test_cut_polygon_halves_a_square():
    square = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))

    assert set(cut_polygon(square, (1.0, 0.0), 1.0)) == {(0, 0), (1, 0), (1, 4), (0, 4)}
    assert cut_polygon(square, (1.0, 0.0), 9.0) == square
    assert cut_polygon(square, (1.0, 0.0), -1.0) == ()
