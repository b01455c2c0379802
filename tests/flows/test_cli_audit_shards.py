"""`--shard i/N` of commands that ask a model: the same bytes, and words that say what is next."""

from pathlib import Path

import pytest

from tests.cli import call, refusal

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit-shards")
    small = ("--arch", "resnet18_half", "--image-size", 32, "--epochs", 1)
    for line in (
        ("phantom", "--n-train", 12, "--n-test", 6, "--out", folder / "films"),
        ("train", "--data", folder / "films", *small, "--out", folder / "model"),
    ):
        assert call(*line).code == 0, line
    return folder


def read(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def audit(folder: Path) -> list[str | Path]:
    films = folder / "films"
    line = ["audit", "--checkpoint", folder / "model", "--data", films, "--workers", 1]
    return [*line, "--regions", films / "truth_regions.jsonl"]


def test_shards_of_an_audit_say_what_to_start_next_and_merge_to_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    assert call(*audit(folder), "--out", tmp_path / "one" / "audit").code == 0
    line = [*audit(folder), "--out", tmp_path / "audit"]

    said = [call(*line, "--shard", f"{i}/2").out[-1] for _ in range(3) for i in (2, 1)]

    assert said[0] == (
        "shard 2/2 is done: 3 of 6 predictions of all shards are finished; start it for the"
        " others, start all shards again for the next part, which needs all of this one, then the"
        " same command without --shard merges them"
    )
    assert "groups of maps of all shards are finished; then the same command" in said[-1]
    assert call(*line).code == 0
    assert read(tmp_path / "audit") == read(tmp_path / "one" / "audit")


def test_a_shard_of_an_audit_needs_the_text(folder: Path, tmp_path: Path) -> None:
    line = ["audit", "--checkpoint", folder / "model", "--data", folder / "films"]

    error = refusal(*line, "--out", tmp_path / "audit", "--shard", "1/2")

    assert "audit: shard 1/2 needs the text of all films; find it with detect-text" in error
    assert "shard 3/2 does not exist" in refusal(
        *line, "--out", tmp_path / "audit", "--shard", "3/2"
    )
