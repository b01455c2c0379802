"""Checkpoints: round trip, own networks, and everything that is refused."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from covid_debug.artifacts import hash_file
from covid_debug.errors import ArtifactError, CheckpointError, ConfigError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models import checkpoint
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import (
    load_checkpoint,
    load_classifier,
    save_checkpoint,
)
from covid_debug.models.classifier import Classifier
from covid_debug.models.factories import describe_factory, load_factory
from covid_debug.models.importing import ModelFacts, import_model

PARAMS = {"widths": (4, 8), "depths": (1, 1), "stem_width": 4}
VIEW = ViewSpec(image_size=16, top_crop=0.1)
NAMES = ("negative", "positive")


class RunsCode:
    """A pickle of it would call a function when loaded."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def build_own():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 2))


def build_classifier():
    network = build_backbone("covidnet", 2, 1, **PARAMS)
    return Classifier(network, class_names=NAMES, image_size=(16, 16), mean=0.4, std=0.2)


def save(folder):
    classifier = build_classifier().eval()
    save_checkpoint(
        folder,
        classifier,
        arch="covidnet",
        arch_params=PARAMS,
        view=VIEW,
        facts={"best_epoch": 3},
        texts={"history.json": "[]"},
    )
    return classifier


def import_own(weights, out, **kwargs):
    facts = ModelFacts(NAMES, 16, top_crop=0.1, channels=1, mean=(0.5,), std=(0.25,))
    return import_model(weights, out, facts, say=lambda _: None, **kwargs)


def test_round_trip_keeps_outputs_view_and_facts(tmp_path):
    classifier = save(tmp_path / "model")

    loaded = load_checkpoint(tmp_path / "model")

    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(loaded.classifier(images), classifier(images))
    assert loaded.view == VIEW
    assert loaded.classifier.class_names == NAMES
    assert loaded.manifest["facts"]["best_epoch"] == 3
    assert not any(module.training for module in loaded.classifier.modules())
    assert not load_classifier(tmp_path / "model").training


def test_same_weights_give_the_same_files(tmp_path):
    classifier = build_classifier()

    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, classifier, arch="covidnet", arch_params=PARAMS, view=VIEW)

    files = [sorted(path.read_bytes() for path in (tmp_path / name).iterdir()) for name in "ab"]
    assert files[0] == files[1]


def test_own_network_is_loaded_through_its_factory(tmp_path):
    network = build_own()
    torch.save(network.state_dict(), tmp_path / "own.pt")

    import_own(tmp_path / "own.pt", tmp_path / "model", factory=build_own)
    loaded = load_checkpoint(tmp_path / "model", factory=build_own)

    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(loaded.classifier(images), network((images - 0.5) / 0.25))


def test_own_network_without_factory_names_the_remedy(tmp_path):
    torch.save(build_own().state_dict(), tmp_path / "own.pt")
    import_own(tmp_path / "own.pt", tmp_path / "model", factory=build_own)

    with pytest.raises(CheckpointError, match="name the function that builds it"):
        load_checkpoint(tmp_path / "model")


def test_catalogue_network_is_imported_from_a_nested_data_parallel_state(tmp_path):
    network = build_backbone("resnet18_half", 2, 1).eval()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "model.pth")

    import_own(tmp_path / "model.pth", tmp_path / "model", arch="resnet18_half")

    images = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(
        load_classifier(tmp_path / "model")(images), network((images - 0.5) / 0.25)
    )


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".pth"])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_pickle_is_refused_and_not_run(tmp_path, monkeypatch, suffix, writer):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"model{suffix}"
    if writer == "torch":
        torch.save({"model": RunsCode()}, path)
    else:
        path.write_bytes(pickle.dumps(RunsCode()))

    with pytest.raises(CheckpointError, match=r"is a pickle .*safetensors.torch.save_file"):
        load_checkpoint(path)

    assert not (tmp_path / "executed").exists()


def test_whole_module_pickle_is_refused(tmp_path):
    torch.save(build_own(), tmp_path / "model.pt")

    with pytest.raises(CheckpointError, match="could run any code"):
        import_own(tmp_path / "model.pt", tmp_path / "out", factory=build_own)


def test_loose_weights_file_is_refused_with_the_remedy(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")

    with pytest.raises(CheckpointError, match="covid-debug model import"):
        load_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_file_that_is_not_weights_is_refused(tmp_path, name):
    (tmp_path / name).write_text("not weights")

    with pytest.raises(CheckpointError, match="is not a readable"):
        load_checkpoint(tmp_path / name)


def test_archive_of_numbers_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "model.pt")

    with pytest.raises(CheckpointError, match="more than named tensors"):
        load_checkpoint(tmp_path / "model.pt")


def test_damaged_checkpoint_is_refused(tmp_path):
    save(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"x")

    with pytest.raises(CheckpointError, match=r"model\.safetensors differ from the manifest"):
        load_checkpoint(tmp_path / "model")


def test_weights_that_do_not_fit_are_listed(tmp_path):
    torch.save(build_own().state_dict(), tmp_path / "own.pt")

    with pytest.raises(CheckpointError, match=r"another shape .*1.bias \(2,\) instead of \(5,\)"):
        import_own(
            tmp_path / "own.pt",
            tmp_path / "out",
            factory=lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 5)),
        )


def test_factory_must_return_a_module(tmp_path):
    torch.save(build_own().state_dict(), tmp_path / "own.pt")

    with pytest.raises(CheckpointError, match="factory returned a int"):
        import_own(tmp_path / "own.pt", tmp_path / "out", factory=lambda: 3)


def test_factory_whose_network_returns_probabilities_is_refused_with_the_file(tmp_path):
    class Squashed(nn.Sequential):
        def forward(self, planes):
            return torch.sigmoid(super().forward(planes))

    torch.save(build_own().state_dict(), tmp_path / "own.pt")
    import_own(tmp_path / "own.pt", tmp_path / "model", factory=build_own)

    with pytest.raises(CheckpointError, match=r"model: .* ends in a sigmoid"):
        load_checkpoint(tmp_path / "model", factory=lambda: Squashed(*build_own()))


def test_factory_that_raises_is_one_line_with_its_name_and_reason(tmp_path):
    def build_broken():
        raise RuntimeError("no license\nfor this")

    torch.save(build_own().state_dict(), tmp_path / "own.pt")

    with pytest.raises(CheckpointError) as caught:
        import_own(tmp_path / "own.pt", tmp_path / "out", factory=build_broken)

    assert "build_broken raised RuntimeError: no license for this" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_factory_whose_module_raises_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=r"broken_module cannot be imported .*division by zero"):
        load_factory("broken_module:build")


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        load_checkpoint(tmp_path / "model")


def test_unknown_architecture_in_the_file_is_refused(tmp_path):
    save_checkpoint(
        tmp_path / "model", build_classifier(), arch="covidnett", arch_params={}, view=VIEW
    )

    with pytest.raises(CheckpointError, match="did you mean 'covidnet'"):
        load_checkpoint(tmp_path / "model")


def test_spec_is_readable_by_people(tmp_path):
    save(tmp_path / "model")

    spec = json.loads((tmp_path / "model" / "checkpoint.json").read_text())

    assert spec["view"] == {"image_size": 16, "top_crop": 0.1}
    assert spec["mean"] == [0.4]


def test_factory_is_found_by_name():
    assert load_factory("torch.nn:Identity") is nn.Identity


def test_code_of_a_factory_is_all_that_it_imports_from_beside_itself(tmp_path, monkeypatch):
    inner = tmp_path / "own_package" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("")
    (inner.parent / "models.py").write_text("from .inner import layers\ndef build(): ...\n")
    (inner / "layers.py").write_text("def late():\n    import beside_package\n")
    (tmp_path / "beside_package.py").write_text("import torch\n")
    (tmp_path / "stranger.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)

    def ask() -> str:
        return describe_factory("own_package.models:build")["code"]

    before = ask()
    found = [before]
    for changed in (inner / "layers.py", tmp_path / "beside_package.py", inner / "__init__.py"):
        changed.write_text(changed.read_text() + "# edited\n")
        found.append(ask())
    (tmp_path / "stranger.py").write_text("2 / 0\n")

    assert len(set(found)) == 4
    assert ask() == found[-1]
    (inner / "layers.py").write_text("def late(:\n")  # load_factory says what is wrong
    assert ask() not in found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torch.nn", "expected 'package.module:function'"),
        ("no_such_module:build", "cannot be imported .*PYTHONPATH"),
        ("torch.nn:Identify", "did you mean 'Identity'"),
    ],
)
def test_bad_factory_name_is_explained(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_factory(spec)


def test_full_disk_while_the_weights_are_written_is_a_clear_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", refuse)

    with pytest.raises(ArtifactError, match=r"model: cannot be written .*No space left"):
        save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_manifest_names_the_device(tmp_path):
    save(tmp_path / "model")

    assert load_checkpoint(tmp_path / "model").manifest["device"].startswith("cpu (")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "hologram"}, "kind 'hologram'; this covid_debug knows weights, .*; update it"),
        ({"kind": "onnx", "file": "../secret.onnx"}, "is not usable .*secret.onnx"),
    ],
)
def test_checkpoint_of_an_unknown_kind_or_without_its_file_is_refused(tmp_path, change, message):
    save(tmp_path / "model")
    spec = json.loads((tmp_path / "model" / "checkpoint.json").read_text())
    (tmp_path / "model" / "checkpoint.json").write_text(json.dumps({**spec, **change}))
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    manifest["files"]["checkpoint.json"] = hash_file(tmp_path / "model" / "checkpoint.json")
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "model")
