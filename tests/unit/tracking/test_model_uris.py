"""`model import` of what MLflow holds: our own models come back, others are refused unread."""

from pathlib import Path

import pytest

from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import load_checkpoint, save_checkpoint
from covid_debug.models.classifier import Classifier
from tests.cli import call, refusal

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("default")


def test_checkpoint_comes_back_from_a_store_and_from_a_folder(tmp_path, monkeypatch) -> None:
    import mlflow

    from covid_debug.tracking.models import save_film_model

    network = build_backbone("resnet18_half", 2, channels=1)
    classifier = Classifier(network, class_names=("a", "b"), image_size=(32, 32)).eval()
    made = save_checkpoint(
        tmp_path / "made", classifier, arch="resnet18_half", arch_params={}, view=ViewSpec(32)
    )
    save_film_model(made, tmp_path / "model")
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    client = mlflow.MlflowClient(store)
    experiment = client.create_experiment("e", (tmp_path / "store").as_uri())
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(tmp_path / "model"), "kept")

    for source in (str(tmp_path / "model"), f"runs:/{run.info.run_id}/kept"):
        out = tmp_path / f"out {Path(source).name}"
        outcome = call("model", "import", source, "--out", out)

        assert outcome.code == 0, outcome  # MLflow tells of its tables on stderr
        assert load_checkpoint(out).classifier.class_names == ("a", "b")


def test_other_models_are_refused_unread(tmp_path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {pytorch: {}}")

    error = refusal("model", "import", tmp_path, "--out", tmp_path / "out")

    assert "is an MLflow model that covid_debug did not log" in error
    assert not (tmp_path / "out").exists()
