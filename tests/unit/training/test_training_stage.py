"""The stage that trains: films, sources and text-free twins find each other."""

from pathlib import Path

import numpy as np
import pytest

from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.stages import Means
from covid_debug.training import stage
from covid_debug.training.mitigation import MitigationParams
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest
from tests.films import build_filmset, make_film

RANDOM_TEXT = TrainingParams(n_epochs=1, mitigation=MitigationParams(random_text=1.0))
VIEW = ViewSpec(image_size=32)


def build(folder: Path, numbers: list[int], source: str = "cohen") -> Path:
    films = [make_film(n, source=source) for n in numbers]
    return build_filmset(folder, films, seeds=numbers).root


def test_text_free_views_and_sources_come_in_the_order_of_the_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = build(tmp_path / "films", list(range(18)), source="x")
    cleaned = build(tmp_path / "cleaned", list(range(17, -1, -1)))
    given = {}
    monkeypatch.setattr(
        stage, "train_classifier", lambda *films, **rest: given.update(rest, v=films)
    )

    request = TrainRequest(films, RANDOM_TEXT, VIEW, 0, text_free=cleaned)
    request.make(tmp_path / "out", Means(cache_dir=tmp_path / "views", n_workers=1))

    assert (given["train_text_free"] == given["v"][0]).all()  # equal seeds look alike
    assert len(np.unique(given["v"][0], axis=0)) == len(load_filmset(films).select("train")) == 6
    assert given["train_sources"] == ["x"] * 6
    assert len(given["val_sources"]) == 6


def test_cleaned_films_of_another_set_are_refused(tmp_path: Path) -> None:
    films = build(tmp_path / "films", list(range(18)))
    cleaned = build(tmp_path / "cleaned", [0, 1, 2])

    request = TrainRequest(films, RANDOM_TEXT, VIEW, 0, text_free=cleaned)
    with pytest.raises(DataIntegrityError, match="cleaned: lacks 3 of 6 training films of"):
        request.make(tmp_path / "out", Means(cache_dir=tmp_path / "views", n_workers=1))


def test_a_recipe_that_needs_text_free_films_says_so_before_training(tmp_path: Path) -> None:
    films = build(tmp_path / "films", list(range(18)))

    with pytest.raises(InputContractError, match=r"text-free views; pass .*text_free: the folder"):
        TrainRequest(films, RANDOM_TEXT, VIEW, 0).make(
            tmp_path / "out", Means(cache_dir=tmp_path / "views", n_workers=1)
        )
