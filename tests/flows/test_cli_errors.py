"""Each mistake of a user is one clear line, exit code 1 or 2, and loses nothing."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli import main

pytestmark = pytest.mark.filterwarnings("default")

CONFIG = """\
name: t
data: {{kind: phantom, n_train: 12, n_test: 6}}
data_dir: {folder}/data
reports_dir: {folder}/reports
tracking: {{uri: "sqlite:///{folder}/mlflow.db"}}
"""


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Return the exit code and what was printed to standard error."""
    before = sys.argv
    sys.argv = ["covid-debug", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return code, capsys.readouterr().err


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


def test_missing_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = run_cli(
        capsys, "ingest", "--source", f"nih={tmp_path}/nowhere", "--out", tmp_path / "o"
    )

    assert code == 1
    assert error.count("\n") == 1
    assert "nowhere" in error


def test_empty_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_source(tmp_path / "nih")

    code, error = run_cli(capsys, "ingest", "--source", f"nih={source}", "--out", tmp_path / "o")

    assert code == 1
    assert error.count("\n") == 1
    assert "pneumonia" in error
    assert not (tmp_path / "o").exists()


def test_split_file_naming_absent_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "covidx" / "train").mkdir(parents=True)
    (tmp_path / "covidx" / "test").mkdir()
    (tmp_path / "train.txt").write_text("1 a.png normal rsna\n2 b.png COVID-19 cohen\n")
    (tmp_path / "test.txt").write_text("3 c.png normal rsna\n")

    code, error = run_cli(
        capsys,
        *("ingest", "--covidx", tmp_path / "covidx", "--train-list", tmp_path / "train.txt"),
        *("--test-list", tmp_path / "test.txt", "--out", tmp_path / "o"),
    )

    assert code == 1
    assert error.count("\n") == 1
    assert "c.png" in error


def test_truncated_and_disguised_files_are_named_and_the_others_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_source(tmp_path / "nih", n=1) / "images" / "00000000_000.jpg"
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:300])
    text = tmp_path / "notes.png"
    text.write_text("this is not a picture")
    out = tmp_path / "regions.jsonl"

    code, _ = run_cli(
        capsys,
        *("detect-text", good, cut, text, "--detector", "rapidocr"),
        *("--out", out, "--workers", 1),
    )

    lines = out.read_text().splitlines()
    assert code == 0
    assert ["error" in line for line in lines] == [False, True, True]
    assert "cut.jpg" in lines[1]
    assert "notes.png" in lines[2]


def test_misspelt_configuration_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(folder=tmp_path) + "trainning: {n_epochs: 1}\n")

    code, error = run_cli(capsys, "run", path)

    assert code == 1
    assert error.count("\n") == 1
    assert "did you mean 'training'?" in error


def test_unknown_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = make_source(tmp_path / "nih", n=1) / "images" / "00000000_000.jpg"

    code, error = run_cli(capsys, "detect-text", good, "--detector", "rapidocrr")

    assert code == 1
    assert error.count("\n") == 1
    assert "did you mean 'rapidocr'?" in error


def test_unwritable_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")

    code, error = run_cli(
        capsys, "phantom", "--out", tmp_path / "file" / "o", "--n-train", 3, "--n-test", 3
    )

    assert code == 1
    assert error.count("\n") == 1
    assert "file" in error


def test_checkpoint_that_is_a_pickle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    good = make_source(tmp_path / "nih", n=1) / "images" / "00000000_000.jpg"

    code, error = run_cli(capsys, "explain", good, "--checkpoint", path, "--out", tmp_path / "o")

    assert code == 1
    assert error.count("\n") == 1
    assert "pickle" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "--out", "o"],
        ["ingest", "--out", "o", "--source", "nih"],
    ],
)
def test_incomplete_commands_are_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = run_cli(capsys, *arguments)

    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("error: ")


def test_detect_text_takes_folders_and_names_an_empty_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_source(tmp_path / "nih", n=2)
    (tmp_path / "empty").mkdir()
    arguments = ("--detector", "rapidocr", "--workers", 1, "--out", tmp_path / "r.jsonl")

    code, _ = run_cli(capsys, "detect-text", "--data", source, *arguments)
    code_empty, error = run_cli(capsys, "detect-text", "--data", tmp_path / "empty", *arguments)

    assert code == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2
    assert code_empty == 1
    assert "empty: holds no image" in error


def test_external_test_set_needs_no_training_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "external" / "test"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    (tmp_path / "test.txt").write_text("1 a.png COVID-19 hospital\n")

    code, error = run_cli(
        capsys,
        *("ingest", "--covidx", tmp_path / "external", "--test-list", tmp_path / "test.txt"),
        *("--out", tmp_path / "o"),
    )

    assert (code, error) == (0, "")
    assert (tmp_path / "o" / "test.txt").read_text() == "1 a.png COVID-19 hospital\n"


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "--checkpoint", "no", "--data", "no"),
        ("audit", "--checkpoint", "no", "--data", "no"),
        ("compare", "--arm", "original=no", "--data", "a=no"),
        ("train", "--data", "no"),
        ("bench", "saliency"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_there_is_refused_first(
    command: tuple[str, ...], device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = run_cli(capsys, *command, "--device", device, "--out", tmp_path / "o")

    assert code == 1
    assert error.count("\n") == 1
    assert f"device is '{device}'" in error
    assert not list(tmp_path.iterdir())


def test_audit_refuses_an_unknown_target_before_it_looks_for_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from covid_debug.data.phantom import generate_phantom
    from covid_debug.imaging.geometry import ViewSpec
    from covid_debug.models.catalog import build_backbone
    from covid_debug.models.checkpoint import save_checkpoint
    from covid_debug.models.classifier import Classifier
    from flows import auditing

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("films were scanned")

    monkeypatch.setattr(auditing, "scan_films", refuse)
    generate_phantom(tmp_path / "data", n_train=3, n_test=3, seed=0)
    params = {"widths": (4, 8), "depths": (1, 1), "stem_width": 4}
    network = build_backbone("covidnet", 2, 1, **params)
    classifier = Classifier(network, class_names=("negative", "positive"), image_size=(16, 16))
    save_checkpoint(
        tmp_path / "m", classifier, arch="covidnet", arch_params=params, view=ViewSpec(16)
    )

    code, error = run_cli(
        capsys,
        *("audit", "--checkpoint", tmp_path / "m", "--data", tmp_path / "data"),
        *("--target", "positiv", "--out", tmp_path / "o"),
    )

    assert code == 1
    assert error.count("\n") == 1
    assert "did you mean 'positive'?" in error


def test_interrupted_command_says_that_finished_work_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import cleaning

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cleaning, "diff_data_sets", interrupt)

    code, error = run_cli(capsys, "diff", "a", "b")

    assert code == 130
    assert error == "interrupted; finished stages are kept, start again to go on\n"
