"""`explain`, `audit` and `compare` with a network of one's own."""

import csv
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from covid_debug.data.phantom import generate_phantom
from covid_debug.models.factories import load_factory
from covid_debug.models.importing import ModelFacts, import_model
from tests.cli import call, refusal

pytestmark = pytest.mark.filterwarnings("default")

NETWORKS = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )

class Squashed(nn.Sequential):
    def forward(self, planes):
        return torch.sigmoid(super().forward(planes))

def build_squashed():
    return Squashed(*build())

def build_broken():
    raise ValueError("no such licence")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom data set in ``data``, a checkpoint of an own network in ``model``."""
    folder = tmp_path_factory.mktemp("own")
    generate_phantom(folder / "data", n_train=9, n_test=6, seed=0)
    (folder / "own_networks.py").write_text(NETWORKS)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    build = load_factory("own_networks:build")
    torch.save(build().state_dict(), folder / "own.pt")
    names = json.loads((folder / "data" / "manifest.json").read_text())["facts"]["class_names"]
    facts = ModelFacts(tuple(names), 32, channels=1, mean=(0.449,), std=(0.226,))
    import_model(folder / "own.pt", folder / "model", facts, factory=build, say=lambda _: None)
    return folder


def explain(world: Path, out: Path, *more: object, factory: str = "build") -> list[object]:
    films = ("--data", world / "data", "--checkpoint", world / "model", "--limit", 2)
    return ["explain", *films, "--factory", f"own_networks:{factory}", "--out", out, *more]


def test_grad_cam_finds_its_layer_and_says_which(world, tmp_path) -> None:
    outcome = call(*explain(world, tmp_path / "maps", "--method", "grad_cam"))

    assert (outcome.code, outcome.err) == (0, [])
    assert "target layer: '2'" in "\n".join(outcome.out)
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text())
    assert manifest["parameters"]["params"]["target_layer"] == "2"


def test_grad_cam_takes_the_layer_that_is_named(world, tmp_path) -> None:
    layer = ("--method", "grad_cam", "--target-layer", "0")

    assert call(*explain(world, tmp_path / "maps", *layer)).code == 0
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text())
    assert manifest["parameters"]["params"]["target_layer"] == "0"


def test_target_layer_of_a_method_without_one_is_one_line(world, tmp_path) -> None:
    layer = ("--method", "gradient", "--target-layer", "0")

    error = refusal(*explain(world, tmp_path / "maps", *layer))

    assert "--target-layer" in error
    assert "gradient" in error


def test_network_that_ends_in_a_sigmoid_is_one_line(world, tmp_path) -> None:
    error = refusal(*explain(world, tmp_path / "maps", factory="build_squashed"))

    assert "ends in a sigmoid" in error
    assert not (tmp_path / "maps").exists()


def test_factory_that_raises_is_one_line(world, tmp_path) -> None:
    error = refusal(*explain(world, tmp_path / "maps", factory="build_broken"))

    assert "own_networks:build_broken raised ValueError: no such licence" in error


def test_film_that_cannot_be_read_is_named_once(world, tmp_path) -> None:
    bad = tmp_path / "notes.png"
    bad.write_text("this is not a picture")
    good = next((world / "data" / "test").iterdir())
    own = ("--checkpoint", world / "model", "--factory", "own_networks:build")

    outcome = call("explain", bad, good, *own, "--method", "gradient", "--out", tmp_path / "maps")

    (line,) = [line for line in outcome.out if line.startswith("not explained")]
    assert outcome.code == 0
    assert line.count("notes.png") == 1


def test_compare_takes_a_factory(world, tmp_path) -> None:
    outcome = call(
        *("compare", "--arm", f"original={world}/model", "--data", f"films={world}/data"),
        *("--factory", "own_networks:build", "--out", tmp_path / "out"),
    )

    assert (outcome.code, outcome.err) == (0, [])
    with (tmp_path / "out" / "predictions.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 6


def test_audit_of_an_unknown_class_stops_before_any_text_is_looked_for(
    world, tmp_path, monkeypatch
) -> None:
    scan = "covid_debug.audit.stage.scan_films"
    monkeypatch.setattr(scan, lambda *_, **__: pytest.fail("text first"))

    error = refusal(
        *("audit", "--checkpoint", world / "model", "--data", world / "data"),
        *("--factory", "own_networks:build", "--target", "nosuch", "--out", tmp_path / "audit"),
    )

    assert "'nosuch'" in error
    assert "known: " in error
