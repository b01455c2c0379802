"""`--shard i/N` on the command line: the same bytes, and words that say what to do next."""

import json
from pathlib import Path

import pytest

from covid_debug.data.phantom import generate_phantom
from tests.cli import call, refusal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms, as a data set and as a COVIDx folder, and a cleaned copy."""
    folder = tmp_path_factory.mktemp("shards")
    generate_phantom(folder / "data", n_train=24, n_test=6, seed=0)
    lines = [(folder / "data" / f"{name}.txt").read_text() for name in ("train", "val")]
    (folder / "train.txt").write_text("".join(lines))
    regions = folder / "data/truth_regions.jsonl"
    assert (
        call(
            "clean",
            "--data",
            folder / "data",
            "--regions",
            regions,
            "--out",
            folder / "cleaned",
            "--workers",
            1,
        ).code
        == 0
    )
    return folder


def arguments(command: str, folder: Path) -> list[object]:
    data = folder / "data"
    lists = ["--train-list", folder / "train.txt", "--test-list", data / "test.txt"]
    return {
        "ingest": ["ingest", "--covidx", data, *lists],
        "clean": ["clean", "--data", data, "--regions", data / "truth_regions.jsonl"],
        "prove": [
            "prove",
            "--data",
            data,
            "--cleaned",
            folder / "cleaned",
            "--detector",
            "strokes",
        ],
    }[command]


def hashes(out: Path) -> dict[str, str]:
    files: dict[str, str] = json.loads((out / "manifest.json").read_text())["files"]
    return files


@pytest.mark.parametrize(("command", "n_parts"), [("ingest", 1), ("clean", 1), ("prove", 2)])
def test_shards_merge_to_the_bytes_of_one_command(command, n_parts, folder, tmp_path):
    line = [*arguments(command, folder), "--workers", 1, "--out"]
    assert call(*line, tmp_path / "whole").code == 0

    for _ in range(n_parts):
        for shard in ("2/2", "1/2"):
            done = call(*line, tmp_path / "out", "--shard", shard)
            assert done.code == 0, done
            assert not (tmp_path / "out").exists()
    merged = call(*line, tmp_path / "out")

    assert merged.code == 0, merged
    assert "then the same command without --shard merges them" in done.out[-1]
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_a_shard_says_what_remains(folder, tmp_path):
    line = [*arguments("clean", folder), "--workers", 1, "--out", tmp_path / "out"]

    first = call(*line, "--shard", "1/3")

    assert first.out[-1] == (
        "shard 1/3 is done: 10 of 30 films of all shards are finished; start it for the others,"
        " then the same command without --shard merges them"
    )


def test_a_merge_with_other_options_names_the_work_that_it_does_not_use(folder, tmp_path):
    line = [*arguments("clean", folder), "--workers", 1, "--out", tmp_path / "out"]
    call(*line, "--shard", "1/1")

    merged = call(*line, "--dilation", 5)

    told = " ".join([*merged.out, *merged.err])
    assert "holds films of an earlier start with other arguments" in told


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["clean", "--verify", "--data", "d", "--out", "out", "--shard", "1/2"], "of --verify"),
        (["prove", "a", "b", "--out", "out", "--shard", "1/2"], "which --shard goes with"),
    ],
)
def test_a_shard_of_what_has_none_is_refused(line, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = call(*line)

    assert done.code == 2
    assert message in " ".join(" ".join(done.err).replace("│", " ").split())


@pytest.mark.parametrize("command", ["ingest", "clean", "prove"])
def test_a_shard_that_does_not_exist_is_refused(command, folder, tmp_path):
    line = [*arguments(command, folder), "--out", tmp_path / "out", "--shard", "3/2"]

    assert "shard 3/2 does not exist; expected 1/N to N/N" in refusal(*line)
