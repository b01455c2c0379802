"""Checkpoints as MLflow models: they answer as the comparison does, and are registered once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_debug.data.views import render_film
from covid_debug.evaluation.predictions import predict_test_films
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import load_checkpoint, save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities
from covid_debug.tracking.models import make_example, registered_name, save_film_model
from tests.films import CLASS_NAMES, build_filmset, draw_pixels, make_film, write_dicom

pytestmark = pytest.mark.filterwarnings("default")  # other packages' deprecations
VIEW = ViewSpec(image_size=64)
DEEP = draw_pixels(3).astype(np.uint16) * 13 + 500


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build_backbone("resnet18_half", len(CLASS_NAMES), channels=1)
    classifier = Classifier(network, class_names=CLASS_NAMES, image_size=(64, 64)).eval()
    folder = tmp_path_factory.mktemp("models") / "checkpoint-0"
    return save_checkpoint(folder, classifier, arch="resnet18_half", arch_params={}, view=VIEW)


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory):
    from mlflow.pyfunc import load_model

    folder = tmp_path_factory.mktemp("saved") / "model"
    save_film_model(checkpoint, folder)
    assert not list(folder.rglob("*.pkl"))
    return load_model(str(folder))


def write_film(path: Path, encoding: str) -> Path:
    if encoding == "dicom":
        return write_dicom(path, DEEP)
    pixels = DEEP if encoding == "png16" else draw_pixels(5)
    path.write_bytes(cv2.imencode(".jpg" if encoding == "jpeg" else ".png", pixels)[1].tobytes())
    return path


@pytest.mark.parametrize("encoding", ["png", "jpeg", "png16", "dicom"])
def test_model_answers_a_raw_film_as_everything_else_does(model, checkpoint, tmp_path, encoding):
    path = write_film(tmp_path / "film", encoding)
    loaded = load_checkpoint(checkpoint)
    expected = predict_probabilities(loaded.classifier, render_film(path, VIEW)[None])

    answer = model.predict({"film": path.read_bytes()})

    assert list(answer.columns) == list(CLASS_NAMES)
    np.testing.assert_array_equal(answer.to_numpy(), expected)


def test_model_answers_a_table_of_films_as_the_comparison_does(model, checkpoint, tmp_path):
    films = [make_film(i, split="test") for i in range(3)]
    filmset = build_filmset(tmp_path / "films", films)
    compared = predict_test_films(
        load_checkpoint(checkpoint),
        filmset,
        arm="original",
        seed=0,
        test_data="original",
        cache_dir=tmp_path,
    )
    raw = [filmset.path_of(film).read_bytes() for film in filmset.films]

    answers = model.predict(pd.DataFrame({"film": raw}, index=["a", "b", "c"]))

    np.testing.assert_array_equal(answers.to_numpy(), compared.probabilities)
    assert list(answers.index) == ["a", "b", "c"]


def test_model_that_gets_no_film_says_which_one(model):
    from mlflow.exceptions import MlflowException

    good = make_example()["film"][0]

    with pytest.raises(MlflowException, match=r"film 2 of 2: is not an image") as caught:
        model.predict(pd.DataFrame({"film": [good, b"nonsense"]}))
    with pytest.raises(MlflowException, match=r"film 1 of 1: is empty"):
        model.predict({"film": b""})

    assert caught.value.get_http_status_code() == 400


def test_model_says_what_it_takes_and_answers_and_what_it_was_made_with(model):
    described = model.metadata

    assert [column.name for column in described.signature.inputs] == ["film"]
    assert [column.name for column in described.signature.outputs] == list(CLASS_NAMES)
    assert described.metadata["covid_debug.checkpoint"] == "checkpoint-0"
    assert all(0 < value < 1 for value in model.predict(make_example()).iloc[0])


def test_model_answers_over_http(model, checkpoint, tmp_path):
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    save_film_model(checkpoint, tmp_path / "model")
    request = (tmp_path / "model" / "serving_input_example.json").read_text()
    asked = {"content": request, "headers": {"Content-Type": "application/json"}}
    with TestClient(init(model)) as client:
        answer = client.post("/invocations", **asked)
        refused = client.post("/invocations", json={"dataframe_records": [{"film": "AAAA"}]})

    assert list(json.loads(request)["dataframe_split"]["columns"]) == ["film"]
    assert sum(answer.json()["predictions"][0].values()) == pytest.approx(1.0)
    assert refused.status_code == 400
    assert "film 1 of 1: is not an image" in refused.json()["message"]


def test_second_start_logs_and_registers_no_second_model(tracker, checkpoint):
    for _ in range(2):
        with tracker.run("flow-1", "demo", {}, {}) as run:
            model_id = run.log_model(checkpoint, "a", {"train_data": "cleaned"})
            run.log_metrics({"recall": 0.5}, model_id)
            run.register(model_id, "demo", "cleaned", {"seed": "0"})
    client = tracker._client
    (version,) = client.search_model_versions("name = 'demo'")
    logged = client.search_logged_models([tracker._experiment_id])

    assert [one.model_id for one in logged] == [model_id]
    assert client.get_model_version_by_alias("demo", "cleaned").version == version.version
    assert client.get_model_version("demo", version.version).tags["seed"] == "0"
    assert client.get_run(run.run_id).outputs.model_outputs[0].model_id == model_id
    assert [(m.key, m.value) for m in client.get_logged_model(model_id).metrics] == [
        ("recall", 0.5)
    ]


def test_alias_stays_with_the_later_run_when_an_earlier_one_is_resumed(tracker, checkpoint):
    for key in ("flow-1", "flow-2", "flow-1"):
        with tracker.run(key, "demo", {}, {}) as run:
            run.register(run.log_model(checkpoint, "a", {}), "demo", "cleaned", {})
        if key == "flow-2":
            later = run.run_id

    assert tracker._client.get_model_version_by_alias("demo", "cleaned").run_id == later
    assert len(tracker._client.search_model_versions("name = 'demo'")) == 2


def test_model_half_written_by_a_killed_run_is_made_anew(tracker, checkpoint, monkeypatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with tracker.run("flow-1", "demo", {}, {}) as run:
        with monkeypatch.context() as patch:
            patch.setattr(tracker._client, "log_model_artifacts", die)
            with pytest.raises(KeyboardInterrupt):
                run.log_model(checkpoint, "a", {})
        made = run.log_model(checkpoint, "a", {})
    (left,) = tracker._client.search_logged_models([tracker._experiment_id])

    assert left.model_id == made
    assert left.status == "READY"


def test_registered_model_loads_by_alias(tracker, store, checkpoint):
    import mlflow

    with tracker.run("flow-1", "a/b: c", {}, {}) as run:
        run.register(run.log_model(checkpoint, "a", {}), registered_name("a/b: c"), "cleaned", {})
    mlflow.set_tracking_uri(f"sqlite:///{store}")

    model = mlflow.pyfunc.load_model("models:/a_b_ c@cleaned")

    assert list(model.predict(make_example()).columns) == list(CLASS_NAMES)
