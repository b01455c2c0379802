"""Film sets made of the films of another one."""

import dataclasses
import shutil

import pytest

from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.data.selection import (
    ExternalTestRequest,
    LeaveOutRequest,
    SelectTestRequest,
    TwinsRequest,
    plan_folds,
)
from covid_debug.data.stage import PhantomData
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import read_film
from covid_debug.stages import Means
from tests.films import SPLITS, build_filmset, make_film

QUIET = Means()


def make_sources(folder):
    """Three classes in each split of ``a`` and ``b``; ``c`` has one class alone."""
    films = [
        make_film(9 * s + i, source="ab"[s], split=SPLITS[i // 3]) for s in (0, 1) for i in range(9)
    ]
    films += [make_film(30 + i, source="c", label="normal", split=SPLITS[i]) for i in range(3)]
    return build_filmset(folder, films)


def test_select_test_films_stay_where_they_are(tmp_path):
    films = make_sources(tmp_path / "films")

    made = SelectTestRequest(films.root).make(tmp_path / "out", QUIET)

    assert [film.image_id for film in made.films] == [f.image_id for f in films.select("test")]
    assert made.n_total == len(made.films) == 7
    for film in made.films:
        assert read_film(made.file_of(film)).sha256 == film.sha256
    assert not list(made.root.rglob("*.png"))


def test_a_selection_moves_with_its_films(tmp_path):
    films = make_sources(tmp_path / "data/films")
    SelectTestRequest(films.root).make(tmp_path / "data/out", QUIET)

    shutil.move(tmp_path / "data", tmp_path / "moved")
    made = load_filmset(tmp_path / "moved/out")

    assert read_film(made.file_of(made.films[0])).sha256 == made.films[0].sha256


def test_films_from_elsewhere_are_known_by_what_they_are_not_by_their_folders_name(tmp_path):
    first = build_filmset(tmp_path / "a/films", [make_film(i, split="test") for i in range(6)])
    other = build_filmset(tmp_path / "b/films", [make_film(i, split="test") for i in range(9)])

    asked = ExternalTestRequest(first.root)
    key = asked.key()
    assert key != ExternalTestRequest(other.root).key()
    made = asked.make(tmp_path / "data/out", QUIET)
    shutil.move(tmp_path / "data", tmp_path / "moved")
    films = load_filmset(tmp_path / "moved/out")
    assert read_film(films.file_of(films.films[0])).sha256 == made.films[0].sha256

    shutil.rmtree(first.root)
    build_filmset(first.root, [make_film(i, split="test") for i in range(7)])
    assert asked.key() != key


def test_leave_out_trains_on_the_others_and_tests_on_all_of_the_source(tmp_path):
    films = make_sources(tmp_path / "films")

    made = LeaveOutRequest(films.root, "a").make(tmp_path / "out", QUIET)

    assert {film.source for film in made.select("test")} == {"a"}
    assert len(made.select("test")) == 9
    for split in ("train", "val"):
        ids = [film.image_id for film in films.select(split) if film.source != "a"]
        assert [film.image_id for film in made.select(split)] == ids
    assert len(made.films) == 9 + 2 * (3 + 1)


def test_plan_folds_leaves_out_what_loses_a_class_with_the_reason(tmp_path):
    films = make_sources(tmp_path / "films")
    kept, lost = plan_folds(films)
    assert (kept, lost) == (("a", "b", "c"), {})

    members = [
        film
        for film in films.films
        if film.label == "normal" or film.source == "a" or film.split == "test"
    ]
    kept, lost = plan_folds(dataclasses.replace(films, films=tuple(members)))

    assert kept == ("b", "c")
    assert lost == {
        "a": "without it there is no pneumonia in train, no COVID-19 in train, no pneumonia in"
        " val, no COVID-19 in val"
    }


def test_twins_are_the_counterfactuals_as_a_film_set(tmp_path):
    films = generate_phantom(tmp_path / "films", n_train=12, n_test=6, seed=0)

    made = TwinsRequest(films.root, "text_free").make(tmp_path / "out", QUIET)

    ids = {film.image_id: film for film in films.select("test")}
    assert {film.image_id for film in made.select("test")} == set(ids)
    assert all(film.sha256 != ids[film.image_id].sha256 for film in made.films)
    assert read_film(made.file_of(made.films[0])).pixels.any()
    with pytest.raises(DataIntegrityError, match="has no film for 'text_swoped'"):
        TwinsRequest(films.root, "text_swoped").make(tmp_path / "none", QUIET)


def test_leave_out_of_an_unknown_source_is_refused(tmp_path):
    films = PhantomData("phantom", 12, 6).make(tmp_path / "films", QUIET)

    with pytest.raises(DataIntegrityError, match="has no film of source 'nih'"):
        LeaveOutRequest(films.root, "nih").make(tmp_path / "out", QUIET)
