"""Models that MLflow holds: our own come back, networks are read, other code is refused unread."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from covid_debug.data.phantom import generate_phantom
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import load_checkpoint, save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.factories import load_factory
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


SIDE = 16


def build() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    """An empty store of MLflow, and a user who trusts nothing yet."""
    import mlflow

    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    mlflow.set_tracking_uri(address)  # an earlier test of the process may have set another
    return tmp_path


def save(network: nn.Module, folder: Path) -> None:
    import mlflow

    more = {"serialization_format": "pickle", "pip_requirements": ["torch"]}
    mlflow.pytorch.save_model(network, folder, **more)


def keep(store: Path, folder: Path) -> list[str]:
    """Put a saved model into a run and the registry; return its names, and its folder's."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{store / 'runs.db'}")
    experiment = client.create_experiment("e", (store / "artifacts").as_uri())
    run = client.create_run(experiment).info
    client.log_artifacts(run.run_id, str(folder), "kept")
    client.create_registered_model("net")
    client.create_model_version("net", f"{run.artifact_uri}/kept", run.run_id)
    client.set_registered_model_alias("net", "best", "1")
    return [f"runs:/{run.run_id}/kept", "models:/net/1", "models:/net@best", str(folder)]


def test_pytorch_model_comes_from_every_place_where_it_is_trusted(store) -> None:
    network = build()
    save(network, store / "saved")
    sources = keep(store, store / "saved")
    said = ("--classes", "a,b,c", "--image-size", SIDE, "--mean", "0.5", "--std", "0.25")

    error = call("model", "import", sources[1], *said, "--out", store / "no").err[-1]
    assert error.startswith("error: models:/net/1: is a pickle")
    assert error.endswith("covid-debug model import --trust")
    for k, source in enumerate(sources):
        trust = ("--trust",) if k == 0 else ()  # trust belongs to the content
        outcome = call("model", "import", source, *said, *trust, "--out", store / f"out {k}")
        assert outcome.code == 0, outcome
        found = load_checkpoint(store / f"out {k}").classifier
        film = torch.rand(2, 1, SIDE, SIDE)
        expected = network(((film - 0.5) / 0.25).expand(-1, 3, -1, -1))
        torch.testing.assert_close(found(film), expected)


def test_exported_model_is_read_where_it_is_trusted(store) -> None:
    import mlflow

    example = np.zeros((2, 3, SIDE, SIDE), np.float32)
    more = {"serialization_format": "pt2", "input_example": example}
    mlflow.pytorch.save_model(build(), store / "saved", pip_requirements=["torch"], **more)
    command = ("model", "import", store / "saved", "--classes", "a,b,c", "--out", store / "out")

    assert "reading a torch.export file can run code" in refusal(*command)
    assert call(*command, "--trust").code == 0
    assert load_checkpoint(store / "out").classifier.image_size == (SIDE, SIDE)
    debug = ("debug", "--model", store / "saved", "--films", store, "--out", store / "asked")
    assert "name them with --classes" in refusal(*debug)


PYFUNC = """
import mlflow
import numpy as np

class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return np.tile([0.75, 0.25], (len(model_input), 1))

mlflow.models.set_model(Constant())
"""


def test_model_of_code_alone_is_refused_and_what_is_advised_works(store, monkeypatch) -> None:
    import mlflow

    (store / "constant.py").write_text(PYFUNC)
    folder = store / "saved"
    mlflow.pyfunc.save_model(folder, python_model=str(store / "constant.py"), pip_requirements=[])

    error = refusal("model", "import", folder, "--classes", "a,b", "--out", store / "no")

    assert "neither the pytorch nor the onnx flavour" in error
    monkeypatch.syspath_prepend(str(store))
    load = error.partition("MODEL = ")[2].partition(" and def predict")[0]
    answer = error.partition(" and ")[2].partition(", and give")[0]
    assert load.startswith("mlflow.pyfunc.load_model(")
    (store / "asked_mlflow.py").write_text(f"import mlflow\nMODEL = {load}\n{answer}\n")
    said = ("--function", "asked_mlflow:predict", "--classes", "a,b", "--image-size", SIDE)
    outcome = call("model", "import", *said, "--out", store / "out")
    assert outcome.code == 0, outcome
    function = load_factory("asked_mlflow:predict")
    found = load_checkpoint(store / "out", factory=function).classifier
    shares = found(torch.zeros(1, 1, SIDE, SIDE)).softmax(dim=1)
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25]]))


def test_debug_asks_a_registered_model_and_another_version_anew(store) -> None:
    import mlflow

    save(build(), store / "saved")
    keep(store, store / "saved")
    generate_phantom(store / "films", n_train=3, n_test=3, seed=0)
    said = ("--classes", "normal,pneumonia,COVID-19", "--image-size", SIDE, "--trust")
    model = ("--model", "models:/net/1", *said)

    outcome = call("debug", *model, "--films", store / "films", "--out", store / "out")

    assert outcome.code == 0, outcome
    (page,) = store.glob("out/report/*/report.html")
    assert "models-net-1" in page.parent.name
    again = call("debug", *model, "--films", store / "films", "--out", store / "out")
    assert sum("found finished" in line for line in again.out) == 5
    client = mlflow.MlflowClient()
    (store / "second").mkdir()
    save(build()[:-1].append(nn.Linear(16, 3)), store / "second/saved")
    client.create_model_version("net", (store / "second/saved").as_uri())
    other = ("--model", "models:/net/2", *said)
    assert call("debug", *other, "--films", store / "films", "--out", store / "out").code == 0
    assert len(list((store / "out" / "audit").iterdir())) == 2


def test_version_with_the_same_graph_and_other_weights_is_another_model(store) -> None:
    import mlflow

    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    client = mlflow.MlflowClient()
    client.create_registered_model("net")
    answers = []
    for version in (1, 2):
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 3, bias=False))
        nn.init.constant_(network[1].weight, 0.01 * version)
        saved = store / f"saved {version}"
        saved.mkdir()
        file, beside = saved / "model.onnx", {"save_as_external_data": True, "location": "weights"}
        torch.onnx.export(
            network, (torch.zeros(1, 3, SIDE, SIDE),), file, dynamo=False, input_names=["x"]
        )
        onnx.save(onnx.load(file), file, size_threshold=0, **beside)
        client.create_model_version("net", saved.as_uri())
        out = store / f"out {version}"
        said = ("--classes", "a,b,c", "--image-size", SIDE, "--out", out)

        assert call("model", "import", f"models:/net/{version}", *said).code == 0
        answers.append(load_checkpoint(out).classifier(torch.full((1, 1, SIDE, SIDE), 0.5))[0])

    assert len({(store / f"saved {k}" / "model.onnx").read_bytes() for k in (1, 2)}) == 1
    torch.testing.assert_close(answers[1], answers[0] * 2)
    assert answers[0].abs().min() > 0
