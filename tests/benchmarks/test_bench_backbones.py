"""The matrix of methods and networks: its checks tell right from wrong, its page is complete."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.backbones.checks import CHECKS
from benchmarks.backbones.command import MAX_MISS, bench_backbones
from benchmarks.backbones.networks import NETWORKS
from covid_debug.errors import CatalogError
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from tests.toys import formula, unchecked

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "backbones.md"


def make_small() -> Classifier:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(6, 8, 3, stride=2),
        torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2),
    )  # fmt: skip
    return Classifier(
        network, class_names=("a", "b"), image_size=(16, 16), mean=0.4, std=0.2, channels=3
    ).eval()


@pytest.mark.parametrize("method", sorted(CHECKS))
def test_a_check_accepts_a_right_map_and_no_other(method: str) -> None:
    classifier, films = make_small(), formula((2, 1, 16, 16)).float()
    params = {
        "grad_cam": {"target_layer": "2"},
        "grad_cam_pp": {"target_layer": "2"},
        "smooth_grad": {"n_samples": 3},
        "gradient_shap": {"n_samples": 3},
    }
    explainer = build_explainer(method, **params.get(method, {}))

    with unchecked():  # the type checker cannot be traced
        result = explainer.explain(
            classifier, films, torch.tensor([1, 0]), seeds=[0, 1], scale="logit",
            baseline=torch.zeros_like(films),
        )  # fmt: skip
    check = CHECKS[method][1]
    louder = {**result.diagnostics, "signed": 1.1 * result.diagnostics["signed"]}

    assert check(result, classifier, films) < MAX_MISS["float32"]
    assert check(replace(result, diagnostics=louder), classifier, films) > MAX_MISS["float32"]


def test_matrix_of_a_refused_and_of_a_right_method(tmp_path: Path) -> None:
    with unchecked():
        text = bench_backbones(
            ["mobilenet_v3_small"], ["gradient", "deep_lift"], tmp_path, lambda _: None
        )

    with (tmp_path / "backbones.csv").open(encoding="utf-8") as stream:
        rows = {(row["method"], row["precision"]): row for row in csv.DictReader(stream)}
    assert rows["gradient", "float32"]["verdict"] == "right"
    assert rows["deep_lift", "autocast"]["verdict"] == "refused"
    assert "| `deep_lift` | refused |" in text
    assert "- mobilenet_v3_small: deep_lift: no right rule for 'features.0.2' (Hardswish)" in text


def test_unknown_names_are_suggested(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="resnet18"):
        bench_backbones(["resnet81"], [], tmp_path, lambda _: None)


def test_the_page_has_every_network_and_method_and_nothing_wrong() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert all(f" {name} |" in page for name in NETWORKS)
    assert all(f"| `{name}` |" in page for name in EXPLAINERS)
    assert "wrong (" not in page
