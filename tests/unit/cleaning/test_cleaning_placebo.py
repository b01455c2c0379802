import dataclasses

import cv2
import numpy as np
import pytest

from covid_debug.cleaning.placebo import find_places, placebo_regions
from covid_debug.errors import FilmChangedError
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import FilmRegions, TextRegion

GAP_PX = 16  # between text and a place: 4 around each and the frame of 8


def make_box(x: float, y: float, wide: float, high: float) -> TextRegion:
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, "L", "made")


def make_found(*text: TextRegion, width: int = 200, height: int = 150, **more) -> FilmRegions:
    return FilmRegions("a" * 16, width, height, text, **more)


def make_halves() -> np.ndarray:
    """A dark left and a bright right half, with the same noise."""
    film = np.random.default_rng(0).normal(60, 4, (150, 200))
    film[:, 100:] += 100
    return film.astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_find_places_have_the_same_sizes_away_from_the_text(seed):
    text = (make_box(5.5, 5, 20, 10), make_box(150, 100, 12, 14))

    moved = find_places(make_halves(), make_found(*text), seed)

    assert moved.rejected == ()
    old, new = (regions_to_mask(part, 200, 150) for part in (text, moved.regions))
    near = cv2.dilate(old.astype(np.uint8), np.ones((2 * GAP_PX - 1,) * 2, np.uint8)) > 0
    assert not (near & new).any()
    assert new.sum() == old.sum()


@pytest.mark.parametrize(("x", "is_bright"), [(70, False), (115, True)])
def test_find_places_stay_near_and_on_the_same_ground(x, is_bright):
    text = make_box(x, 60, 12, 10)

    for seed in range(5):
        (moved,) = find_places(make_halves(), make_found(text), seed).regions
        assert (moved.box[0] >= 100) == is_bright
        assert abs(moved.box[0] - x) + abs(moved.box[1] - 60) < 80


def test_find_places_keep_the_distance_to_the_border():
    film = np.full((150, 200), 50, np.uint8)

    moved = find_places(film, make_found(make_box(90, 3, 10, 20)), 0)

    x0, y0, x1, y1 = moved.regions[0].box
    assert abs(min(x0, y0, 200 - x1, 150 - y1) - 3) <= 8


def test_find_places_move_the_lines_of_a_block_together():
    lines = tuple(make_box(20, 20 + 12 * i, 30, 10) for i in range(3))

    moved = find_places(make_halves(), make_found(*lines), 0)

    shifts = {
        (new.box[0] - old.box[0], new.box[1] - old.box[1])
        for new, old in zip(moved.regions, lines, strict=True)
    }
    assert len(shifts) == 1


def test_find_places_move_lines_one_by_one_where_the_block_has_no_room():
    lines = (make_box(0, 2, 200, 10), make_box(90, 20, 20, 110))

    moved = find_places(make_halves(), make_found(*lines), 0)

    assert len(moved.regions) + len(moved.rejected) == 2
    assert moved.regions


def test_find_places_avoid_what_one_detector_saw_and_another_rejected():
    film = np.full((150, 200), 50, np.uint8)
    text = make_box(90, 3, 20, 10)
    (free,) = find_places(film, make_found(text), 0).regions

    (moved,) = find_places(film, make_found(text, rejected=((free, "uncertain"),)), 0).regions

    assert not (regions_to_mask([moved], 200, 150) & regions_to_mask([free], 200, 150)).any()


def test_find_places_without_room_are_rejected_with_the_reason():
    text = (make_box(0, 0, 190, 140), make_box(300, 0, 9, 9))

    moved = find_places(make_halves(), make_found(*text), 0)

    assert moved.regions == ()
    assert moved.rejected == (
        (text[0], "no free place for it on the film"),
        (text[1], "lies outside the film"),
    )


def test_placebo_regions_depend_on_seed_and_film_only(make_set):
    films, regions = make_set([[(10, 10, 12, 10)], [(10, 10, 12, 10)], []])
    first = dataclasses.replace(films, films=films.films[:1])

    alone, all_ = placebo_regions(first, regions, 1), placebo_regions(films, regions, 1)

    one, other, bare = (film.image_id for film in films.films)
    assert alone == {one: all_[one]}
    assert all_[one].regions
    assert all_[one].regions != all_[other].regions
    assert all_[bare] == regions[bare]
    assert all_ == placebo_regions(films, regions, 1, n_workers=2)
    assert len({placebo_regions(films, regions, seed)[one] for seed in range(6)}) > 1


def test_placebo_regions_leave_out_films_without_a_usable_line(make_set):
    films, regions = make_set([[(10, 10, 12, 10)]])
    (image_id,) = regions
    failed = {image_id: FilmRegions(image_id, 0, 0, (), error="broken")}

    assert placebo_regions(films, failed, 0) == {}
    assert placebo_regions(films, {}, 0) == {}


def test_placebo_regions_of_another_size_or_unreadable_are_left_for_the_cleaning(make_set):
    films, regions = make_set([[(10, 10, 12, 10)]])
    ((image_id, found),) = regions.items()
    wrong = {image_id: dataclasses.replace(found, width=95)}
    assert placebo_regions(films, wrong, 0) == wrong

    films.path_of(films.films[0]).unlink()
    assert placebo_regions(films, regions, 0) == regions


def test_placebo_regions_refuse_an_exchanged_film(make_set):
    films, regions = make_set([[(10, 10, 12, 10)], []])
    paths = [films.path_of(film) for film in films.films]
    paths[0].write_bytes(paths[1].read_bytes())

    with pytest.raises(FilmChangedError):
        placebo_regions(films, regions, 0)
