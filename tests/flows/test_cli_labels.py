"""A network of several labels, asked about one finding by every command that takes a model."""

import csv
from pathlib import Path

import pytest
import torch

from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
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
    shares = {
        key: [float(row[key]) for row in rows]
        for key in rows[0]
        if "Pneumonia" in key and rows[0][key].replace(".", "").replace("e-", "").isdigit()
    }
    assert shares, rows[0]
    for row in range(6):
        assert sum(each[row] for each in shares.values()) == pytest.approx(1, abs=1e-5)


def test_audit_and_explain_of_a_finding(world, tmp_path) -> None:
    model = ("--checkpoint", world / "model", "--data", world / "films")

    audit = call("audit", *model, "--target", "Pneumonia", "--out", tmp_path / "audit")
    maps = ("--method", "gradient", "--target", "Pneumonia", "--limit", 2)
    explain = call("explain", *model, *maps, "--out", tmp_path / "maps")

    assert (audit.code, audit.err) == (0, []), audit
    assert (explain.code, explain.err) == (0, []), explain
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
