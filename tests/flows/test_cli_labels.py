"""A network of several labels, asked about one finding by every command that takes a model."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.data.views import load_views
from covid_debug.imaging.geometry import ViewSpec
from tests.cli import call, refusal

pytestmark = pytest.mark.filterwarnings("default")
LABELS = "Edema,Pneumonia,Mass"


class Network(torch.nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            torch.nn.Conv2d(1, 4, 3, stride=2),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 3),
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``films`` asked about Pneumonia, and the checkpoint ``model`` of three labels."""
    folder = tmp_path_factory.mktemp("labels")
    drawn = generate_phantom(folder / "drawn", n_train=3, n_test=6, seed=0)
    with (folder / "films.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "patient", "Pneumonia", "Edema"])
        for film in drawn.select("test"):
            path = load_filmset(folder / "drawn").root / film.path
            rows.writerow([path, film.patient_id, int(film.label == "pneumonia"), 1])
    torch.jit.trace(Network().eval(), torch.zeros(1, 1, 32, 32)).save(str(folder / "net.pt"))
    table = ("--table", folder / "films.csv", "--finding", "Pneumonia", "--all-test")
    facts = ("--image-size", 32, "--channels", 1)
    for step in (
        ("ingest", *table, "--out", folder / "films"),
        *(
            ("model", "import", folder / "net.pt", "--classes", LABELS, *facts, *more)
            for more in (
                ("--multi-label", "--out", folder / "model"),
                ("--out", folder / "softmaxed"),
            )
        ),
    ):
        outcome = call(*step)
        assert (outcome.code, outcome.err) == (0, []), outcome
    return folder


def test_compare_answers_with_the_findings_sigmoid(world, tmp_path) -> None:
    arms = ("--arm", f"original={world}/model", "--data", f"original={world}/films")

    outcome = call("compare", *arms, "--out", tmp_path / "out")

    assert (outcome.code, outcome.err) == (0, []), outcome
    with (tmp_path / "out" / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    films = load_filmset(world / "films")
    by_id = {film.image_id: film for film in films.films}
    asked = [by_id[row["image_id"]] for row in rows]
    views = load_views(films, asked, ViewSpec(32, top_crop=0.0), tmp_path / "views", n_workers=1)
    with torch.no_grad():
        logits = Network().eval()(torch.from_numpy(np.array(views))[:, None] / 255)
    expected = logits[:, 1].sigmoid().numpy()
    found = np.array([[float(row["p_no Pneumonia"]), float(row["p_Pneumonia"])] for row in rows])
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_audit_and_explain_of_a_finding(world, tmp_path) -> None:
    model = ("--checkpoint", world / "model", "--data", world / "films")

    audit = call("audit", *model, "--target", "Pneumonia", "--out", tmp_path / "audit")
    maps = ("--method", "gradient", "--target", "Pneumonia", "--limit", 2)
    explain = call("explain", *model, *maps, "--out", tmp_path / "maps")

    assert (audit.code, audit.err) == (0, []), audit
    assert (explain.code, explain.err) == (0, []), explain
    with (tmp_path / "maps" / "explanations.csv").open() as stream:
        assert {row["target"] for row in csv.DictReader(stream)} == {"Pneumonia"}
    assert len(list((tmp_path / "maps" / "overlays").iterdir())) == 2


def test_debug_asks_about_the_tables_finding(world, tmp_path) -> None:
    outcome = call(
        *("debug", "--model", world / "model", "--films", world / "films.csv"),
        *("--finding", "Pneumonia", "--workers", 1, "--out", tmp_path / "out"),
    )

    assert (outcome.code, outcome.err) == (0, []), outcome
    (page,) = tmp_path.glob("out/report/*/report.html")
    assert "no Pneumonia" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["check", "debug"])
def test_labels_imported_as_classes_are_suspected(world, tmp_path, command) -> None:
    asked = {
        "check": ("model", "check", world / "softmaxed", "--films", world / "films"),
        "debug": (
            *("debug", "--model", world / "softmaxed", "--films", world / "films"),
            *("--out", tmp_path / "out"),
        ),
    }

    error = refusal(*asked[command])

    assert "several of the 3, import the model again with --multi-label" in error
