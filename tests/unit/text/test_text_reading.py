"""A side letter is read however it lies; a ring or a bar is none."""

import pickle

import cv2
import numpy as np
import pytest

from covid_debug.records import TextRegion
from covid_debug.text.reading import SideLetterReader


@pytest.fixture(scope="module")
def reader():
    return SideLetterReader()


def film_with(letter):
    """A dark film with a white letter at about (40-70, 40-80)."""
    film = np.full((120, 120), 40, np.uint8)
    return cv2.putText(film, letter, (42, 78), cv2.FONT_HERSHEY_SIMPLEX, 1.6, 255, 4)


def region_of_ink(film):
    rows, columns = np.nonzero(film > 150)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.5, None, "marker")


@pytest.mark.parametrize("n_turns", [0, 1, 2, 3])
def test_turned_letter_is_read(reader, n_turns):
    film = np.ascontiguousarray(np.rot90(film_with("L"), n_turns))

    assert reader.read(region_of_ink(film), film) == "L"


def test_mirrored_letter_is_read(reader):
    film = np.ascontiguousarray(film_with("R")[:, ::-1])

    assert reader.read(region_of_ink(film), film) == "R"


def test_ring_and_noise_are_no_side_letters(reader):
    ring = cv2.circle(np.full((120, 120), 40, np.uint8), (60, 60), 20, 255, 4)
    noise = np.random.default_rng(0).integers(0, 255, (120, 120)).astype(np.uint8)

    assert reader.read(region_of_ink(ring), ring) is None
    assert reader.read(region_of_ink(ring), noise) is None


def test_region_at_the_corner_of_the_film_is_read(reader):
    film = film_with("L")
    region = region_of_ink(film)
    x0, y0, x1, y1 = (int(value) for value in region.box)
    corner = np.ascontiguousarray(film[y0:y1, x0:x1])
    at_corner = region_of_ink(corner)

    assert reader.read(at_corner, corner) in {"L", None}


def test_pickled_reader_reads_the_same(reader):
    film = film_with("D")

    twin = pickle.loads(pickle.dumps(reader))  # noqa: S301 - our own bytes

    assert twin.read(region_of_ink(film), film) == reader.read(region_of_ink(film), film)
