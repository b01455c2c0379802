"""Data sets on disk."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from covid_debug.artifacts import find_damage, hash_file
from covid_debug.data.covidx import parse_split_file
from covid_debug.data.filmset import load_filmset, load_unusable, write_films, write_unusable
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.imaging.reading import FilmFile
from covid_debug.records import UnusableFilm
from tests.films import build_filmset, make_film


def test_filmset_survives_writing_and_loading(tmp_path: Path) -> None:
    films = [make_film(index, view='A"P, erect') for index in range(9)]

    filmset = build_filmset(tmp_path / "set", films)

    assert [replace(film, sha256="0" * 64) for film in filmset.films] == films
    assert filmset.file_of(filmset.films[0]) == FilmFile(
        tmp_path / "set" / "0.png", hash_file(tmp_path / "set" / "0.png"), (0, 255)
    )
    assert filmset.class_names == ("normal", "pneumonia", "COVID-19")
    assert (filmset.name, filmset.n_total) == ("tiny", 9)
    assert find_damage(tmp_path / "set", kind="filmset") == []


def test_words_that_act_in_a_spreadsheet_are_kept_from_it_and_read_as_they_were(tmp_path) -> None:
    film = make_film(0, view="=1+1", source="@a", patient_id="'=b")
    unusable = UnusableFilm("-2.png", "+s", "'kept")

    filmset = build_filmset(tmp_path / "set", [film])
    write_unusable(filmset.root, [unusable])

    assert replace(filmset.films[0], sha256="0" * 64) == film
    assert load_unusable(filmset.root) == (unusable,)
    assert (filmset.root / "unusable.csv").read_text() == "path,source,reason\n'-2.png,'+s,'kept\n"
    assert ",''=b," in (filmset.root / "films.csv").read_text()


def test_select_path_and_label_index(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(index) for index in range(9)])

    assert [film.path for film in filmset.select("val")] == ["3.png", "4.png", "5.png"]
    assert filmset.path_of(filmset.films[2]) == tmp_path / "set" / "2.png"
    assert [filmset.label_index(film) for film in filmset.films[:4]] == [0, 1, 2, 0]


def test_absolute_film_path_stays(tmp_path: Path) -> None:
    film = make_film(0, path=str(tmp_path / "elsewhere" / "a.png"))

    assert build_filmset(tmp_path / "set", [film]).path_of(film) == tmp_path / "elsewhere" / "a.png"


def test_content_key_ignores_place_but_not_labels(tmp_path: Path) -> None:
    first = build_filmset(tmp_path / "a", [make_film(0)])
    moved = build_filmset(tmp_path / "b", [make_film(0, path="sub/0.png")])
    relabelled = build_filmset(tmp_path / "c", [make_film(0, label="COVID-19")])

    assert first.content_key == moved.content_key
    assert first.content_key != relabelled.content_key


def test_split_lists_are_covidx_lines(tmp_path: Path) -> None:
    films = [
        make_film(0, patient_id="sirm:COVID 216", source="sirm"),
        make_film(1, path="with space.png"),
    ]
    build_filmset(tmp_path / "set", films)

    lines = (tmp_path / "set" / "train.txt").read_text().splitlines()

    assert lines == ["COVID 216 0.png normal sirm", "1 0000000000000001.png pneumonia cohen"]
    assert len(parse_split_file(tmp_path / "set" / "train.txt")) == 2
    assert (tmp_path / "set" / "val.txt").read_text() == ""


def test_unusable_films_survive_writing_and_loading(tmp_path: Path) -> None:
    unusable = [UnusableFilm("a, b.png", "cohen", 'unreadable: it says "no"')]

    write_unusable(tmp_path, unusable)

    assert load_unusable(tmp_path) == tuple(unusable)
    assert load_unusable(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": "healthy"}, "film '0.png' has label 'healthy'; expected one of normal"),
        ({"split": "dev"}, "film '0.png' is in split 'dev'; expected one of train, val, test"),
        ({"width": "wide"}, "row of '0.png' is malformed"),
        ({"sha256": ""}, "row of '0.png' has sha256 ''"),
    ],
)
def test_load_filmset_of_inconsistent_table_raises(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    build_filmset(tmp_path / "set", [make_film(0)])
    write_films(tmp_path / "set", [make_film(0, **changes)])

    with pytest.raises(DataIntegrityError, match=f"films.csv: {reason}"):
        load_filmset(tmp_path / "set")


def test_load_filmset_with_repeated_id_raises(tmp_path: Path) -> None:
    build_filmset(tmp_path / "set", [make_film(0)])
    write_films(tmp_path / "set", [make_film(0), dataclasses.replace(make_film(0), path="b.png")])

    with pytest.raises(DataIntegrityError, match="1 image ids appear more than once"):
        load_filmset(tmp_path / "set")


def test_load_filmset_of_an_older_version_says_ingest_again(tmp_path: Path) -> None:
    build_filmset(tmp_path / "set", [make_film(0)])
    lines = (tmp_path / "set" / "films.csv").read_text().splitlines()
    old = [line.rsplit(",", maxsplit=3)[0] for line in lines]
    (tmp_path / "set" / "films.csv").write_text("\n".join(old))

    with pytest.raises(DataIntegrityError, match=r"set: was made by an older .*; ingest again"):
        load_filmset(tmp_path / "set")


def test_load_filmset_without_films_or_columns_raises(tmp_path: Path) -> None:
    build_filmset(tmp_path / "set", [make_film(0)])
    write_films(tmp_path / "set", [])
    with pytest.raises(DataIntegrityError, match="lists no film"):
        load_filmset(tmp_path / "set")
    (tmp_path / "set" / "films.csv").write_text("path\na.png\n")
    with pytest.raises(DataIntegrityError, match="expected columns image_id, path"):
        load_filmset(tmp_path / "set")
    (tmp_path / "set" / "films.csv").unlink()
    with pytest.raises(DataIntegrityError, match=r"films\.csv: cannot be read"):
        load_filmset(tmp_path / "set")


def test_load_filmset_of_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="none: no such folder; expected a filmset"):
        load_filmset(tmp_path / "none")
