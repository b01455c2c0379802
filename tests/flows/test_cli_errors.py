"""Each mistake of a user is one clear line, exit code 1 or 2, and loses nothing."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli import call, refusal

pytestmark = pytest.mark.filterwarnings("default")

CONFIG = """\
name: t
data: {{kind: phantom, n_train: 12, n_test: 6}}
data_dir: {folder}/data
reports_dir: {folder}/reports
tracking: {{uri: "sqlite:///{folder}/mlflow.db"}}
"""


def make_source(folder: Path, finding: str = "Normal", n: int = 6) -> Path:
    """Write a tiny folder in the layout of the NIH subset."""
    (folder / "images").mkdir(parents=True)
    lines = ["patientid,filename,finding"]
    generator = np.random.default_rng(0)
    for i in range(n):
        pixels = generator.integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i:08d}_000.jpg")
        lines.append(f"{i:08d},{i:08d}_000.jpg,{finding}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_empty_class(tmp_path: Path) -> None:
    source = make_source(tmp_path / "nih")

    error = refusal("ingest", "--source", f"nih={source}", "--out", tmp_path / "o")

    assert "pneumonia" in error
    assert not (tmp_path / "o").exists()


def test_split_file_naming_absent_images(tmp_path: Path) -> None:
    (tmp_path / "covidx" / "train").mkdir(parents=True)
    (tmp_path / "covidx" / "test").mkdir()
    (tmp_path / "train.txt").write_text("1 a.png normal rsna\n2 b.png COVID-19 cohen\n")
    (tmp_path / "test.txt").write_text("3 c.png normal rsna\n")

    error = refusal(
        *("ingest", "--covidx", tmp_path / "covidx", "--train-list", tmp_path / "train.txt"),
        *("--test-list", tmp_path / "test.txt", "--out", tmp_path / "o"),
    )

    assert "c.png" in error


def test_truncated_and_disguised_files_are_named_and_the_others_are_done(tmp_path: Path) -> None:
    good = make_source(tmp_path / "nih", n=1) / "images" / "00000000_000.jpg"
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:300])
    text = tmp_path / "notes.png"
    text.write_text("this is not a picture")
    out = tmp_path / "regions.jsonl"

    outcome = call(
        *("detect-text", good, cut, text, "--detector", "rapidocr"),
        *("--out", out, "--workers", 1),
    )

    lines = out.read_text().splitlines()
    assert outcome.code == 0
    assert ["error" in line for line in lines] == [False, True, True]
    assert "cut.jpg" in lines[1]
    assert "notes.png" in lines[2]


def test_misspelt_configuration_key(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(folder=tmp_path) + "trainning: {n_epochs: 1}\n")

    error = refusal("run", path)

    assert "did you mean 'training'?" in error


def test_unknown_detector(tmp_path: Path) -> None:
    good = make_source(tmp_path / "nih", n=1) / "images" / "00000000_000.jpg"

    error = refusal("detect-text", good, "--detector", "rapidocrr")

    assert "did you mean 'rapidocr'?" in error


def test_checkpoint_that_is_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    good = make_source(tmp_path / "nih", n=1) / "images" / "00000000_000.jpg"

    error = refusal("explain", good, "--checkpoint", path, "--out", tmp_path / "o")

    assert "pickle" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "--out", "o"],
        ["ingest", "--out", "o", "--source", "nih"],
        ["ingest", "--out", "o", "--table", "t.csv", "--source", "nih=nih"],
        ["ingest", "--out", "o", "--table", "t.csv", "--covidx", "c"],
        ["ingest", "--out", "o", "--source", "nih=nih", "--finding", "Edema"],
        ["ingest", "--out", "o", "--table", "t.csv", "--column", "label"],
        ["ingest", "--out", "o", "--table", "t.csv", "--class-names", "A"],
    ],
)
def test_incomplete_commands_are_usage_errors(arguments: list[str]) -> None:
    outcome = call(*arguments)

    assert (outcome.code, len(outcome.err)) == (2, 1)
    assert outcome.err[0].startswith("error: ")


def test_detect_text_takes_folders_and_names_an_empty_one(tmp_path: Path) -> None:
    source = make_source(tmp_path / "nih", n=2)
    (tmp_path / "empty").mkdir()
    arguments = ("--detector", "rapidocr", "--workers", 1, "--out", tmp_path / "r.jsonl")

    outcome = call("detect-text", "--data", source, *arguments)
    error = refusal("detect-text", "--data", tmp_path / "empty", *arguments)

    assert outcome.code == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2
    assert "empty: holds no image" in error


def test_external_test_set_needs_no_training_list(tmp_path: Path) -> None:
    folder = tmp_path / "external" / "test"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    (tmp_path / "test.txt").write_text("1 a.png COVID-19 hospital\n")

    outcome = call(
        *("ingest", "--covidx", tmp_path / "external", "--test-list", tmp_path / "test.txt"),
        *("--out", tmp_path / "o"),
    )

    assert (outcome.code, outcome.err) == (0, [])
    assert (tmp_path / "o" / "test.txt").read_text() == "1 a.png COVID-19 hospital\n"


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "--checkpoint", "no", "--data", "no"),
        ("audit", "--checkpoint", "no", "--data", "no"),
        ("compare", "--arm", "original=no", "--data", "a=no"),
        ("shortcuts", "--checkpoint", "no", "--data", "no", "--regions", "no"),
        ("train", "--data", "no"),
        ("bench", "saliency"),
    ],
    ids=lambda command: command[0],
)
def test_device_that_is_not_there_is_refused_first(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    error = refusal(*command, "--device", "cuda:99", "--out", tmp_path / "o")

    assert "device is 'cuda:99'" in error
    assert not list(tmp_path.iterdir())
