"""The metric for ``mlflow.models.evaluate``: closed-form answers, and MLflow's own evaluation."""

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_debug.errors import InputContractError
from covid_debug.tracking.text_reliance import ask_about_text, make_text_reliance
from tests.films import build_filmset, make_film

pytestmark = pytest.mark.filterwarnings("default")  # other packages' deprecations


class Brightness:
    """Answers with the mean gray value of a film, which decides the class."""

    def predict(self, films: pd.DataFrame) -> pd.DataFrame:
        p = [cv2.imdecode(np.frombuffer(f, np.uint8), 0).mean() / 255 for f in films["film"]]
        return pd.DataFrame({"normal": 1 - np.array(p), "COVID-19": p})


def test_reliance_is_what_goes_with_the_text_and_not_with_the_placebo(tmp_path):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("Default")  # not the one that another test has set, in another store
    answers = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d"],
            "label": ["x"] * 4,
            "prediction": ["x", "x", "y", "x"],
            "p_cleaned": [0.2, 0.9, 0.4, 0.3],
            "p_placebo": [0.8, 0.9, 0.5, 0.4],
            "class_cleaned": ["y", "x", "x", "y"],
            "class_placebo": ["x", "x", "y", "y"],
        }
    )
    result = mlflow.models.evaluate(
        data=answers,
        predictions="prediction",
        targets="label",
        extra_metrics=[make_text_reliance()],
    )
    table = result.tables["eval_results_table"]

    # Drops .6, 0, .1, .1; a and c change their class, d does with the placebo, too.
    assert result.metrics == {
        "text_reliance/mean": pytest.approx(0.2),
        "text_reliance/share_changed": 0.5,
    }
    assert list(table["text_reliance/score"]) == pytest.approx([0.6, 0.0, 0.1, 0.1])


def test_asking_pairs_each_film_with_its_copies(tmp_path):
    films = [make_film(i, split="test") for i in range(3)]
    original = build_filmset(tmp_path / "original", films)
    cleaned = build_filmset(tmp_path / "cleaned", films[::-1], seeds=[7, 8, 9])
    placebo = build_filmset(tmp_path / "placebo", films[:2])

    answers = ask_about_text(Brightness(), original.root, cleaned.root, placebo.root)

    assert list(answers["image_id"]) == [film.image_id for film in films[:2]]
    assert list(answers["label"]) == [film.label for film in films[:2]]
    # The placebo is the film itself here, the cleaned copy another one.
    np.testing.assert_array_equal(answers["p_placebo"], answers["p_original"])
    assert list(answers["class_placebo"]) == list(answers["prediction"])
    assert (answers["p_cleaned"] != answers["p_original"]).all()


def test_films_of_different_sets_are_refused(tmp_path):
    first = build_filmset(tmp_path / "a", [make_film(0, split="test")])
    other = build_filmset(tmp_path / "b", [make_film(1, split="test")])

    with pytest.raises(InputContractError, match="share no test film"):
        ask_about_text(Brightness(), first.root, other.root, first.root)
