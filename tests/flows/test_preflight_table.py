"""What a run on films of one's own will work on is known, or refused, before its first stage."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from covid_debug.config.schema import RunConfig
from covid_debug.errors import CovidDebugError
from covid_debug.preflight.checks import check_run
from covid_debug.preflight.sample import list_films, take_sample
from flows.runners import _find_places
from tests.films import draw_film
from tests.flows.test_preflight import make_config
from tests.own_films import write_rows

CLASSES = ("A b", "C,D", "Größe")


def make_own(folder: Path, n: int = 36, *, splits: tuple[str, ...] = (), **data: Any) -> RunConfig:
    """Write a table of films, two a patient, and configure a run on it."""
    head = ["path", "label", "patient", "site", *(["split"] if splits else [])]
    rows: list[list[object]] = [head]
    for index in range(n):
        draw_film(folder / "films" / f"{index}.png", index)
        pair = index // 2
        said = [splits[pair % len(splits)]] if splits else []
        label = CLASSES[pair // max(len(splits), 1) % 3]
        rows.append([f"films/{index}.png", label, f"p{pair}", f"site{pair % 2}", *said])
    table = write_rows(folder / "films.csv", rows)
    return make_config(folder, data={"kind": "table", "table": str(table), **data})


def test_a_table_without_splits_is_counted_by_its_shares(tmp_path: Path) -> None:
    config = make_own(tmp_path, val_share=0.25, test_share=0.25)

    facts = check_run(config)

    assert facts.class_names == CLASSES
    assert (facts.n_films, facts.n_test, facts.n_test_patients) == (36, 9, 4)
    assert facts.folds == ("site0", "site1")
    assert Counter(film.split for film in list_films(config)) == {"train": 18, "val": 9, "test": 9}


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "val", "test"), {"train": 12, "val": 12, "test": 12}),
        (("train", "train", "test"), {"train": 20, "val": 4, "test": 12}),
        (("training", "training", "dev"), {"train": 20, "val": 4, "test": 12}),
    ],
)
def test_the_splits_of_a_table_are_those_of_the_plan(
    tmp_path: Path, splits: tuple[str, ...], expected: dict[str, int]
) -> None:
    config = make_own(tmp_path, splits=splits, val_share=0.15)

    facts = check_run(config)

    assert (facts.n_test, facts.n_test_patients) == (12, 6)
    assert Counter(film.split for film in list_films(config)) == expected


def test_films_of_the_sample_are_those_of_the_table(tmp_path: Path) -> None:
    config = make_own(tmp_path)

    sample = take_sample(config, list_films(config), tmp_path / "sample", 6)

    assert len(sample.filmset.films) == 6
    assert set(sample.filmset.class_names) == set(CLASSES)


@pytest.mark.parametrize(
    ("n", "changes", "message"),
    [
        (36, {"split": "test"}, "all films are test films (data.split is test); a run needs films"),
        (36, {"columns": {"label": "lable"}}, "did you mean 'label'?"),
        (36, {"class_names": ["A b", "C,D"]}, "which is none of the classes 'A b', 'C,D'"),
        (36, {"layout": "tabel"}, "did you mean 'table'?"),
        (36, {"finding": "Pneumonia"}, "finding 'Pneumonia' is no column"),
        (6, {}, "class 'A b' has 1 patients; training, validation and test need at least 3"),
    ],
)
def test_a_table_on_which_no_run_can_train_is_refused(
    tmp_path: Path, n: int, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CovidDebugError) as caught:
        check_run(make_own(tmp_path, n, **changes))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_films_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    config = make_own(tmp_path)
    for index in range(4):
        (tmp_path / "films" / f"{index}.png").unlink()
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(CovidDebugError, match=r"4 of 36 listed films are absent \(first: .*0\.png"):
        check_run(config)

    assert sorted(tmp_path.rglob("*")) == before


def test_a_target_that_is_no_class_is_refused_with_those_that_are(tmp_path: Path) -> None:
    config = make_own(tmp_path)
    tree = {"kind": "table", "table": str(config.data.table)}  # type: ignore[union-attr]
    asked = make_config(tmp_path, data=tree, audit={"target_class": "COVID-19"})

    with pytest.raises(CovidDebugError, match=r"'COVID-19' is not a class .*Größe"):
        check_run(asked)


def test_workers_are_asked_for_the_table_and_the_folder_of_films(tmp_path: Path) -> None:
    config = make_own(tmp_path, images=str(tmp_path))

    assert {tmp_path / "films.csv", tmp_path} <= set(_find_places(config))
