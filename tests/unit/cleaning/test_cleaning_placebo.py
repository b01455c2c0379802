import numpy as np
import pytest

from covid_debug.cleaning.placebo import placebo_regions
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Film, FilmRegions, TextRegion
from tests.films import UNREAD

FILM = Film("a" * 16, "train/a.png", "made:p", "normal", "made", "PA", "train", 200, 150, *UNREAD)


def make_box(x: float, y: float, wide: float, high: float) -> TextRegion:
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, "L", "made")


@pytest.mark.parametrize("seed", range(20))
def test_placebo_regions_have_the_same_sizes_at_places_without_text(seed):
    text = (make_box(5.5, 5, 20, 10), make_box(100, 100, 12, 14), make_box(0, 130, 50, 20))
    found = {FILM.image_id: FilmRegions(FILM.image_id, 200, 150, text)}

    moved = placebo_regions(FILM, found, seed)[FILM.image_id]

    assert moved.rejected == ()
    old, new = (regions_to_mask(part, 200, 150) for part in (text, moved.regions))
    assert not (old & new).any()
    for before, after in zip(text, moved.regions, strict=True):
        areas = [regions_to_mask([region], 200, 150).sum() for region in (before, after)]
        assert areas[0] == areas[1]
    assert new.sum() == old.sum()


def test_placebo_regions_depend_on_seed_and_film_only():
    other = Film(
        "b" * 16, "train/b.png", "made:p", "normal", "made", "PA", "train", 200, 150, *UNREAD
    )
    found = {
        film.image_id: FilmRegions(film.image_id, 200, 150, (make_box(5, 5, 20, 10),))
        for film in (FILM, other)
    }

    alone = placebo_regions(FILM, found, 1)
    both = placebo_regions([other, FILM], found, 1)

    assert alone[FILM.image_id] == both[FILM.image_id]
    assert both[FILM.image_id].regions != both[other.image_id].regions
    assert alone != placebo_regions(FILM, found, 2)


def test_placebo_regions_without_room_are_rejected_with_the_reason():
    found = {FILM.image_id: FilmRegions(FILM.image_id, 200, 150, (make_box(0, 0, 190, 140),))}

    moved = placebo_regions(FILM, found, 0)[FILM.image_id]

    assert moved.regions == ()
    assert "no place without text" in moved.rejected[0][1]


def test_placebo_regions_leave_out_films_without_a_usable_line():
    failed = {FILM.image_id: FilmRegions(FILM.image_id, 0, 0, (), error="broken")}

    assert placebo_regions(FILM, failed, 0) == {}
    assert placebo_regions(FILM, {}, 0) == {}


def test_placebo_regions_cover_the_film_evenly():
    found = {FILM.image_id: FilmRegions(FILM.image_id, 200, 150, (make_box(90, 70, 10, 10),))}

    places = np.array(
        [
            placebo_regions(FILM, found, seed)[FILM.image_id].regions[0].box[:2]
            for seed in range(400)
        ]
    )

    # Mean of 400 uniform draws over [0, 190]: standard error 2.7; false alarm below 1e-3.
    assert abs(places[:, 0].mean() - 95) < 10
    assert abs(places[:, 1].mean() - 70) < 8
