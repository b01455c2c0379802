"""Every command with every input in turn absent, a file, or an empty folder: one line, exit 1."""

import re
from pathlib import Path

import pytest

from tests.cli import call, commands, refusal

pytestmark = pytest.mark.filterwarnings("default")

# {name} is an input that must be there; {out} is a new folder, {place} a folder that may be there.
LINES = (
    "plan {tiny.yaml}",
    "run {tiny.yaml}",
    "phantom --n-train 4 --n-test 2 --out {out}",
    "ingest --covidx {covidx} --train-list {list.txt} --test-list {list.txt} --out {out}",
    "ingest --source nih={covidx} --out {out}",
    "ingest --table {own.csv} --images {films} --out {out}",
    "ingest --table {covidx} --layout folders --out {out}",
    "ingest --table own.csv --layout dicom --images {films} --out {out}",
    "train --data {films} --epochs 1 --out {out}",
    "model import {model/model.safetensors} --arch covidnet --classes a,b --out {out}",
    "model check {model} --films films --max-films 4",
    "model check model --films {films} --max-films 4",
    "detect-text --data {films} --detector marker --workers 1 --out found.jsonl",
    "detect-text {films} --detector marker --workers 1 --out found.jsonl",
    "explain --checkpoint {model} --data {films} --limit 1 --grid 4 --out {out}",
    "explain {films} --checkpoint {model} --limit 1 --grid 4 --out {out}",
    "audit --checkpoint {model} --data {films} --regions {films/truth_regions.jsonl} --out {out}",
    "debug --model {model} --films {films} --workers 1 --out {place}",
    "transfer --checkpoint {model} --data {films} --regions {films/truth_regions.jsonl}"
    " --out {out}",
    "shortcuts --checkpoint {model} --data {films} --regions {films/truth_regions.jsonl}"
    " --cleaned {cleaned} --max-films 4 --workers 1 --out {out}",
    "clean --data {films} --regions {films/truth_regions.jsonl} --decisions {said.jsonl}"
    " --workers 1 --out {out}",
    "clean --verify --data {films} --out {cleaned} --workers 1",
    "prove --data {films} --cleaned {cleaned} --detector marker --workers 1 --out {out}",
    "push {films} file://pushed",
    "pull file://{films} pulled",
    "diff {cleaned} cleaned",
    "diff cleaned {cleaned}",
    "compare --arm original={model} --data original={films} --out {out}",
    "report --run {run} --decisions said.jsonl",
    "report --run run --decisions {said.jsonl}",
    "audit-new {covidx} --checkpoint model --detector marker --data-dir store --table flags.csv",
    "audit-new films --checkpoint {model} --detector marker --data-dir store --table flags.csv",
    "decisions agree {said.jsonl} said.jsonl --run run",
    "decisions agree said.jsonl said.jsonl --run {run}",
    "decisions export --to fiftyone --data {films} --regions {films/truth_regions.jsonl}"
    " --out {out}",
    "decisions import {export.json} --out returned.jsonl",
    "bench text --data {films} --annotations {boxes.json} --detector marker --out {out}",
    "bench agreement {boxes.json} boxes.json",
    "bench agreement boxes.json {boxes.json}",
    "bench planted --data {films} --annotations {boxes.json} --detector marker --out {out}",
    "bench films --films 1 --detector marker --validator {checker} --out {out}",
    "bench audit --out {place}",
    "bench plants --data {films} --regions {films/truth_regions.jsonl} --size 32 --out {place}",
    "bench transfer --data {films} --regions {films/truth_regions.jsonl} --out {out}",
    "bench shortcuts --data {films} --regions {films/truth_regions.jsonl} --films 6 --groups 1",
    "bench lungs --data {films} --out {out}",
    "bench comparison --predictions {answers.csv} --trials 10 --null 1 --out {place}",
    "bench clean --data {films} --regions {films/truth_regions.jsonl} --out {out}",
    "bench scars --data {films} --regions {films/truth_regions.jsonl} --fill telea=3 --no-network"
    " --out {out}",
    "bench saliency --checkpoint {model} --data {films} --films 1 --method rise --out {place}",
    "bench localisation --data {films} --regions {films/truth_regions.jsonl} --arch covidnet"
    " --method gradient --size 32 --out {place}",
    "bench growth --checkpoint {model} --data {films} --films 2 --grid 4",
)
BOXES = '{"test/a.png": {"width": 9, "height": 9, "boxes": []}}'
WITHOUT_INPUT = {
    "demo",
    "ui",
    "bench training",
    "bench mitigations",
    "bench backbones",
    "bench faults",
}  # their folders are the next two lists' matter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "a-file").write_text("not what was expected\n")
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "kept").write_text("mine")
    (folder / "said.jsonl").write_text("")
    (folder / "boxes.json").write_text(BOXES)
    (folder / "own.csv").write_text("path,label\n1.png,A\n2.png,B\n")
    (folder / "list.txt").write_text("1 a.png normal here\n")
    films, model, cleaned = (folder / name for name in ("films", "model", "cleaned"))
    regions = films / "truth_regions.jsonl"
    small = ("--arch", "resnet18_half", "--image-size", 32, "--epochs", 1)
    for line in (
        ("phantom", "--n-train", 12, "--n-test", 6, "--out", films),
        ("train", "--data", films, *small, "--out", model),
        ("clean", "--data", films, "--regions", regions, "--workers", 1, "--out", cleaned),
    ):
        assert call(*line).code == 0, line
    return folder


def fill(line: str, slot: str, value: str) -> list[str]:
    """Return the words of a line with one slot replaced, the others as they should be."""
    line = line.replace(f"{{{slot}}}", value)
    return re.sub(r"\{([^}]+)\}", r"\1", line).split()


def slots() -> list[tuple[str, str]]:
    return [
        (line, slot)
        for line in LINES
        for slot in dict.fromkeys(re.findall(r"\{([^}]+)\}", line))
        if slot not in {"out", "place"}
    ]


@pytest.mark.parametrize("value", ["nowhere", "a-file", "empty"])
@pytest.mark.parametrize(("line", "slot"), slots())
def test_bad_input_is_one_line_and_leaves_nothing(
    line: str, slot: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    error = refusal(*fill(line, slot, value))

    if value == "nowhere":
        assert value in error
    assert not (folder / "out").exists()
    assert not (folder / "place").exists()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (line, value)
        for line in LINES
        for slot, values in {
            "{out}": ("full", "a-file", "a-file/out"),
            "{place}": ("a-file", "a-file/out"),
        }.items()
        for value in values
        if slot in line
    ],
)
def test_unusable_out_is_refused_before_anything_is_read(
    line: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    inputs_absent = re.sub(r"\{(?!out|place)[^}]+\}", "nowhere", line)

    error = refusal(*re.sub(r"\{(out|place)\}", value, inputs_absent).split())

    assert f"--out {value}: " in error
    assert [path.name for path in (folder / "full").iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("words", "option"), [("demo --out a-file", "--out"), ("ui --data-dir a-file/x", "--data-dir")]
)
def test_unusable_data_folder_is_one_line_with_the_option_that_names_it(
    words: str, option: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    error = refusal(*words.split())

    assert option in error


def test_bench_text_of_no_film_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "none.json").write_text("{}")

    line = "bench text --data films --annotations none.json --detector marker --out out"
    error = refusal(*line.split())

    assert "names no film" in error


def test_train_without_validation_films_names_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("phantom", "--n-train", 1, "--n-test", 1, "--out", "films").code == 0

    error = refusal("train", "--data", "films", "--epochs", 1, "--out", "model")

    assert "films: has no films in 'val'" in error


def test_every_command_has_bad_inputs() -> None:
    names = commands()

    typed = {name for line in LINES for name in names if line.startswith(f"{name} ")}
    assert typed | WITHOUT_INPUT == set(names)


def test_prove_of_a_set_that_was_not_made_from_the_data_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    line = "prove --data cleaned --cleaned cleaned --detector strokes --workers 1 --out proof-2"
    refusal(*line.split())


def test_clean_without_the_decisions_of_a_proof_says_that_there_is_no_such_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    line = (
        "clean --data films --regions films/truth_regions.jsonl"
        " --decisions proof/decisions.jsonl --out out"
    )

    error = refusal(*line.split())

    assert "no such file" in error
