"""The cache of views."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from covid_debug.artifacts import hash_file, try_to_lock
from covid_debug.data import views as views_module
from covid_debug.data.views import load_views, render_film
from covid_debug.errors import (
    ArtifactError,
    DataIntegrityError,
    FilmChangedError,
    InputContractError,
)
from covid_debug.imaging.geometry import ViewSpec
from tests.films import build_filmset, draw_film, make_film

SPEC = ViewSpec(image_size=32)


def test_load_views_follows_the_order_of_films(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(7)])
    films = filmset.films[::-1]

    views = load_views(filmset, films, SPEC, tmp_path / "cache")

    assert views.shape == (7, 32, 32)
    assert views.dtype == np.uint8
    for view, film in zip(views, films, strict=True):
        np.testing.assert_array_equal(view, render_film(filmset.file_of(film), SPEC))


def test_load_views_clears_what_a_killed_decoding_left_and_spares_a_living_one(
    tmp_path: Path,
) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0)])
    killed, living = (tmp_path / f".views-{i}.npy.partial-0000000{i}" for i in (1, 2))
    killed.write_bytes(b"half")
    living.write_bytes(b"half")

    with living.open("rb+") as stream:
        assert try_to_lock(stream.fileno())
        load_views(filmset, filmset.films, SPEC, tmp_path)

    assert not killed.exists()
    assert living.exists()


def test_load_views_decodes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(3)])
    first = load_views(filmset, filmset.films, SPEC, tmp_path / "cache").copy()

    def fail(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(views_module, "read_film", fail)
    again = load_views(filmset, filmset.films, SPEC, tmp_path / "cache")

    np.testing.assert_array_equal(again, first)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_load_views_tells_order_and_spec_apart(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(3)])
    cache = tmp_path / "cache"

    load_views(filmset, filmset.films, SPEC, cache)
    load_views(filmset, filmset.films[::-1], SPEC, cache)
    load_views(filmset, filmset.films, ViewSpec(32, top_crop=0.0), cache)

    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("is_cached", [False, True])
def test_load_views_of_a_film_that_changed_since_ingest_raises(
    tmp_path: Path, is_cached: bool
) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(3)])
    if is_cached:
        load_views(filmset, filmset.films, SPEC, tmp_path / "cache")
    shutil.copyfile(tmp_path / "set" / "0.png", tmp_path / "set" / "1.png")

    with pytest.raises(FilmChangedError, match=r"1\.png: film changed since ingest"):
        load_views(filmset, filmset.films, SPEC, tmp_path / "cache")


def test_load_views_never_gives_the_view_of_another_film_of_equal_size_and_time(
    tmp_path: Path,
) -> None:
    place = tmp_path / "film.png"
    draw_film(place, seed=1)
    first = build_filmset(tmp_path / "a", [make_film(0)], seeds=[1])
    second = build_filmset(tmp_path / "b", [make_film(0)], seeds=[2])
    views = []
    for filmset in (first, second):
        film = filmset.films[0]
        place.write_bytes(filmset.path_of(film).read_bytes().ljust(20_000, b"\0"))
        os.utime(place, (0, 0))
        film = replace(film, path=str(place), sha256=hash_file(place))
        views.append(load_views(filmset, [film], SPEC, tmp_path / "cache").copy())

    assert not np.array_equal(*views)


def test_load_views_reports_progress(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(3)])
    seen: list[tuple[int, int]] = []

    load_views(filmset, filmset.films, SPEC, tmp_path / "cache", progress=lambda *n: seen.append(n))

    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_load_views_of_broken_film_raises_and_leaves_nothing(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(3)])
    (tmp_path / "set" / "1.png").write_bytes(b"no film")
    films = [replace(f, sha256=hash_file(filmset.path_of(f))) for f in filmset.films]

    with pytest.raises(DataIntegrityError, match=r"1\.png: is not an image"):
        load_views(filmset, films, SPEC, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_load_views_of_missing_film_raises(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0)])
    (tmp_path / "set" / "0.png").unlink()

    with pytest.raises(DataIntegrityError, match=r"0\.png: cannot be read .*restore it or ingest"):
        load_views(filmset, filmset.films, SPEC, tmp_path / "cache")


def test_load_views_without_films_raises(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0)])

    with pytest.raises(InputContractError, match="films is empty"):
        load_views(filmset, [], SPEC, tmp_path / "cache")


def test_load_views_without_space_raises_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0)])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))

    with pytest.raises(ArtifactError, match="are free; choose a cache folder with more space"):
        load_views(filmset, filmset.films, SPEC, tmp_path / "cache")


def test_load_views_into_a_file_raises(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0)])
    (tmp_path / "cache").write_text("")

    with pytest.raises(ArtifactError, match="cannot be written"):
        load_views(filmset, filmset.films, SPEC, tmp_path / "cache")
