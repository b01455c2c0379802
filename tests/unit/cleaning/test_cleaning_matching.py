import cv2
import numpy as np
import pytest

from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.matching import PlaceMatcher
from covid_debug.cleaning.patches import PatchJob, locate, measure_patches
from covid_debug.cleaning.workers import Job
from covid_debug.imaging.masks import PlacedMask
from covid_debug.imaging.reading import FilmFile
from covid_debug.records import FilmRegions
from tests.films import draw_pixels, make_film


def make_hole(top, left, high=10, wide=16):
    return PlacedMask(top, left, np.ones((high, wide), np.bool_))


def make_halves(dtype=np.uint8):
    """A dark and a bright half, the same noise in both."""
    film = np.random.default_rng(0).normal(0, 4, (120, 160)) + 60
    film[:, 80:] += 100
    unit = 257 if dtype == np.uint16 else 1
    return (film * unit).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("left", [20, 120])
def test_place_matcher_stays_in_the_half_with_the_same_grey_level(dtype, left):
    film = make_halves(dtype)
    closed = np.zeros(film.shape, np.bool_)
    closed[50:60, left : left + 16] = True
    matcher = PlaceMatcher(film, closed)

    places = [matcher.find(make_hole(50, left), np.random.default_rng(s)) for s in range(9)]

    assert {place.left >= 80 for place in places if place} == {left >= 80}
    assert all(not closed[p.top : p.top + 10, p.left : p.left + 16].any() for p in places if p)
    assert len({(place.top, place.left) for place in places if place}) > 1


def test_place_matcher_on_the_grid_moves_by_whole_blocks():
    film = make_halves()
    matcher = PlaceMatcher(film, np.zeros(film.shape, np.bool_))

    places = [
        matcher.find(make_hole(51, 22), np.random.default_rng(s), besides=True, on_grid=True)
        for s in range(9)
    ]

    assert {(place.top % 8, place.left % 8) for place in places if place} == {(3, 6)}
    assert len({(place.top, place.left) for place in places if place}) > 1


def test_place_matcher_keeps_the_distance_to_the_border():
    film = np.full((120, 160), 50, np.uint8)
    matcher = PlaceMatcher(film, np.zeros(film.shape, np.bool_))

    found = matcher.find(make_hole(0, 60), np.random.default_rng(0), besides=True)

    assert found is not None
    assert min(found.top, found.left, 110 - found.top, 144 - found.left) == 0


def test_place_matcher_besides_an_untouched_place_leaves_its_frame_alone():
    film = np.full((120, 160), 50, np.uint8)
    matcher = PlaceMatcher(film, np.zeros(film.shape, np.bool_))

    for seed in range(9):
        found = matcher.find(make_hole(50, 60), np.random.default_rng(seed), besides=True)
        assert found is not None
        assert abs(found.top - 50) >= 26 or abs(found.left - 60) >= 32


@pytest.mark.parametrize("shape", [(5, 5), (10, 16), (20, 20)])
def test_place_matcher_without_room_finds_nothing(shape):
    film = np.full(shape, 50, np.uint8)
    matcher = PlaceMatcher(film, np.zeros(shape, np.bool_))

    assert matcher.find(make_hole(0, 0), np.random.default_rng(0), besides=True) is None


def test_place_matcher_on_a_closed_film_finds_nothing():
    film = np.full((60, 60), 50, np.uint8)

    matcher = PlaceMatcher(film, np.ones(film.shape, np.bool_))

    assert matcher.find(make_hole(20, 20), np.random.default_rng(0)) is None


def test_measure_patches_of_a_12_bit_copy_finds_the_texture_of_the_8_bit_film(tmp_path):
    film = make_film(0, width=96, height=80)
    grays = draw_pixels(0, 96, 80) // 2
    mask = np.zeros(grays.shape, np.bool_)
    mask[30:42, 30:50] = True
    found = []
    for name, pixels, window in (
        ("a", grays, (0, 255)),
        ("b", grays.astype(np.uint16) * 16, (0, 4080)),
    ):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), pixels)
        regions = FilmRegions(film.image_id, 96, 80, ())
        source = FilmFile(path, window=window)
        job = Job(film, source, regions, CleaningParams(), None, (), path, path.name)
        found.append(measure_patches(PatchJob(job, locate(mask), ())))

    assert len(found[0].filled) == 1
    np.testing.assert_array_equal(found[0].filled, found[1].filled)
