"""Versions of the films that are no cleaning: swapped text, lungs alone, one marker on all."""

import csv
import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest

from covid_debug.artifacts import hash_file
from covid_debug.cleaning import lung_crop
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.lung_crop import LungCropRequest, crop_to_lungs
from covid_debug.cleaning.markers import place_in_view
from covid_debug.cleaning.provenance import read_provenance
from covid_debug.cleaning.stage import DecoysRequest, UniformMarkerRequest
from covid_debug.cleaning.swapped import SwapRequest, choose_donors, swap_text, take_text
from covid_debug.cleaning.verify import verify_cleaned
from covid_debug.data.filmset import FilmSet, load_unusable
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.imaging.reading import FilmFile, FilmImage, read_film
from covid_debug.imaging.regions import write_regions
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.stages import Means
from tests.films import CLASS_NAMES, make_film

QUIET = Means(n_workers=1)
BOX = CleaningParams(method="local_median", mask_shape="box", dilation_px=0)


def make_box(x, y, wide, high):
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, None, "made")


def make_image(pixels, window=(0, 255)):
    return FilmImage(pixels, "png", window, "0" * 64)


def as_test(films):
    return dataclasses.replace(
        films, films=tuple(dataclasses.replace(film, split="test") for film in films.films)
    )


def save_regions(path, regions):
    write_regions(path, regions.values())
    return path


# ------------------------------------------------------------------------------ swapped text


def test_take_text_is_what_the_donor_loses(tmp_path):
    pixels = np.full((60, 80), 50, np.uint8)
    pixels[10:16, 20:30] = 250
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    found = FilmRegions("a", 80, 60, (make_box(18, 8, 14, 10),))

    gains = take_text(FilmFile(tmp_path / "a.png"), found, BOX)

    expected = np.zeros((60, 80))
    expected[10:16, 20:30] = 200
    np.testing.assert_array_equal(gains, expected)


@pytest.mark.parametrize(
    ("dtype", "window", "unit"), [(np.uint8, (0, 255), 1), (np.uint16, (1000, 3550), 10)]
)
def test_swap_text_lays_the_donors_text_at_its_relative_place(tmp_path, dtype, window, unit):
    donor = np.full((60, 80), 50, np.uint8)
    donor[12:18, 20:32] = 250
    cv2.imwrite(str(tmp_path / "d.png"), donor)
    donor_found = FilmRegions("d", 80, 60, (make_box(18, 10, 16, 10),))
    black = window[0]
    film = np.full((120, 160), black + 30 * unit, dtype)
    film[90:100, 100:130] = black + 255 * unit
    found = FilmRegions("f", 160, 120, (make_box(98, 88, 34, 14),))

    swapped = swap_text(
        make_image(film, window),
        found=found,
        donor=FilmFile(tmp_path / "d.png"),
        donor_found=donor_found,
        params=BOX,
    )

    assert swapped.dtype == dtype
    np.testing.assert_array_equal(swapped[88:102, 98:132], black + 30 * unit)  # own text gone
    np.testing.assert_array_equal(swapped[26:34, 42:62], black + 230 * unit)  # twice the place
    far = swapped.copy()
    far[20:40, 36:68] = black + 30 * unit
    np.testing.assert_array_equal(far, black + 30 * unit)


def test_swap_text_is_cut_to_the_range_of_the_film(tmp_path):
    donor = np.full((60, 80), 20, np.uint8)
    donor[12:18, 20:32] = 250
    cv2.imwrite(str(tmp_path / "d.png"), donor)
    found = FilmRegions("f", 80, 60, ())

    swapped = swap_text(
        make_image(np.full((60, 80), 200, np.uint8)),
        found=found,
        donor=FilmFile(tmp_path / "d.png"),
        donor_found=FilmRegions("d", 80, 60, (make_box(18, 10, 16, 10),)),
        params=BOX,
    )

    assert set(np.unique(swapped)) == {200, 255}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "missing"),
        (FilmRegions("f", 9, 9, ()), "made for 9 x 9 pixels, the film has 80 x 60"),
    ],
)
def test_swap_text_without_fitting_regions_is_refused(found, message):
    with pytest.raises(DataIntegrityError, match=message):
        swap_text(
            make_image(np.zeros((60, 80), np.uint8)),
            found=found,
            donor=FilmFile("d.png"),  # type: ignore[arg-type]
            donor_found=FilmRegions("d", 80, 60, ()),
            params=BOX,
        )


def test_choose_donors_draws_the_other_classes_alike(tmp_path):
    labels = ["normal"] * 30 + ["COVID-19"] * 25 + ["pneumonia"] * 5
    members = tuple(make_film(i, label=label, split="test") for i, label in enumerate(labels))
    films = FilmSet(tmp_path, "made", CLASS_NAMES, members, 60)
    regions = {
        film.image_id: FilmRegions(film.image_id, 64, 70, (make_box(5, 5, 9, 9),))
        for film in members
    }

    donors = choose_donors(films, regions, 0)

    of_normal = [donors[film.image_id].label for film in films.films if film.label == "normal"]
    assert set(of_normal) == {"pneumonia", "COVID-19"}
    assert 7 <= Counter(of_normal)["pneumonia"] <= 23  # 15 of 30; outside once in 500
    assert donors == choose_donors(films, regions, 0)
    assert donors != choose_donors(films, regions, 1)
    assert all(donors[film.image_id].label != film.label for film in films.films)


def test_choose_donors_takes_test_films_with_text_only(make_set):
    films, regions = make_set([[(10, 10, 12, 10)], [(10, 10, 12, 10)], [], [(10, 10, 12, 10)]])
    films = as_test(films)
    last = dataclasses.replace(films.films[3], split="train")
    films = dataclasses.replace(films, films=(*films.films[:3], last))

    donors = choose_donors(films, regions, 0)

    first, second, third = (film.image_id for film in films.films[:3])
    assert {name: film.image_id for name, film in donors.items()} == {
        first: second,
        second: first,
        third: second,
    }


def test_choose_donors_without_text_of_another_class_is_refused(make_set):
    films, regions = make_set([[(10, 10, 12, 10)], []])

    with pytest.raises(DataIntegrityError, match="another class than 'normal' has text"):
        choose_donors(as_test(films), regions, 0)


def test_swap_request_writes_the_test_films_and_who_gave(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 12, 10)], [(60, 50, 12, 10)], []])
    root = rewrite_as_test(films)
    request = SwapRequest(root, save_regions(tmp_path / "r.jsonl", regions), seed=1)

    made = request.make(tmp_path / "out", QUIET)
    again = request.make(tmp_path / "again", dataclasses.replace(QUIET, n_workers=2))

    assert [film.image_id for film in made.films] == [film.image_id for film in films.films]
    assert [film.sha256 for film in made.films] == [film.sha256 for film in again.films]
    assert all(hash_file(made.path_of(film)) == film.sha256 for film in made.films)
    with (tmp_path / "out/swaps.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["label"] != row["donor_label"] for row in rows)
    before = read_film(films.path_of(films.films[0])).pixels
    after = read_film(made.path_of(made.films[0])).pixels
    assert (after[52:58, 62:70:3] > before[52:58, 62:70:3]).mean() > 0.8  # the other's letter
    assert after[12:18, 12:20].max() < 255  # its own is gone


def rewrite_as_test(films):
    from covid_debug.artifacts import write_artifact
    from covid_debug.data.filmset import write_films, write_split_lists, write_unusable

    root = films.root.with_name("as-test")
    with write_artifact(root, kind="filmset") as draft:
        placed = [
            dataclasses.replace(film, path=f"../{films.root.name}/{film.path}", split="test")
            for film in films.films
        ]
        write_films(draft.path, placed)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, placed)
        draft.facts.update(
            name="as-test", class_names=films.class_names, n_ok=len(placed), n_total=len(placed)
        )
    return root


# ------------------------------------------------------------------------------ lungs alone


def test_crop_to_lungs_keeps_the_box_and_a_margin(monkeypatch):
    lungs = np.zeros((100, 200), np.bool_)
    lungs[30:70, 60:90] = True
    lungs[40:60, 120:140] = True
    monkeypatch.setattr(lung_crop, "find_lungs", lambda _: lungs)

    for dtype, window in ((np.uint8, (0, 255)), (np.uint16, (300, 4000))):
        film = np.full((100, 200), 1000 if dtype == np.uint16 else 100, dtype)
        cropped = crop_to_lungs(make_image(film, window))
        expected = np.full_like(film, 300 if dtype == np.uint16 else 0)
        expected[25:75, 50:150] = film[25:75, 50:150]
        np.testing.assert_array_equal(cropped, expected)
        assert cropped.dtype == dtype


def test_lung_crop_request_names_films_that_cannot_be_read(make_set, tmp_path):
    films, _ = make_set([[], []])
    films.path_of(films.films[0]).unlink()

    made = LungCropRequest(films.root).make(tmp_path / "out", QUIET)

    assert [film.image_id for film in made.films] == [films.films[1].image_id]
    assert made.n_total == 2
    assert [row.path for row in load_unusable(made.root)] == [films.films[0].path]
    with pytest.raises(DataIntegrityError, match="1 of 2 films cannot be used"):
        LungCropRequest(films.root).check(tmp_path / "out", QUIET)


def test_a_version_without_a_film_is_refused(make_set, tmp_path):
    films, _ = make_set([[]])
    films.path_of(films.films[0]).unlink()

    with pytest.raises(DataIntegrityError, match="no film of the version 'lung-crop'"):
        LungCropRequest(films.root).make(tmp_path / "out", QUIET)


# ------------------------------------------------------------------------------ markers, decoys


@pytest.mark.parametrize(("width", "height"), [(400, 400), (640, 420), (300, 500)])
def test_uniform_marker_is_the_same_inside_every_view(width, height):
    params = CleaningParams(uniform_marker=True)
    drawn = [clean_film(np.full((height, width), gray, np.uint8), [], params) for gray in (40, 200)]

    place = place_in_view(width, height)
    view = compute_geometry(width, height, ViewSpec())
    x0, y0, x1, y1 = place.box
    assert view.x0 < x0 < x1 < view.x0 + view.side
    assert view.y0 < y0 < y1 < view.y0 + view.side
    assert (x0 - view.x0) / view.side == pytest.approx(0.04, abs=0.01)
    np.testing.assert_array_equal(drawn[0].mask, drawn[1].mask)
    both = drawn[0].mask
    np.testing.assert_array_equal(drawn[0].pixels[both], drawn[1].pixels[both])


def test_uniform_marker_request_removes_side_markers_and_can_be_verified(make_set, tmp_path):
    films, regions = make_set([[(40, 50, 12, 10)], []], content="R")
    request = UniformMarkerRequest(films.root, save_regions(tmp_path / "r.jsonl", regions))

    made = request.make(tmp_path / "out", QUIET)

    pixels = [read_film(made.path_of(film)).pixels for film in made.films]
    assert pixels[0][52:58, 42:50].max() < 255
    x0, y0, x1, y1 = place_in_view(96, 80).box
    assert all((film[y0:y1, x0:x1] == 255).any() for film in pixels)
    assert verify_cleaned(made.root, films).is_clean


def test_decoys_request_fills_as_much_on_films_without_text(make_set, tmp_path):
    films, regions = make_set([[(40, 50, 12, 10)], [(10, 10, 12, 10)], [(60, 20, 9, 9)], []])
    request = DecoysRequest(films.root, save_regions(tmp_path / "r.jsonl", regions))

    made = request.make(tmp_path / "out", QUIET)

    assert (request.params.mask_shape, request.params.decoy_sets) == ("box", 3)
    rows = read_provenance(made.root).values()
    # Three sets in all, of one region each here, whether a film has text or not.
    assert [int(row["n_regions"]) + int(row["n_decoys"]) for row in rows] == [3, 3, 3, 3]
