"""`--shard i/N` of commands that ask a model: the same bytes, and words that say what is next."""

from pathlib import Path

import pytest

from covid_debug import explaining
from covid_debug.explaining import ExplainRequest
from covid_debug.stages import Means
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


@pytest.mark.parametrize("parts", [("1/1",), ("3/3", "1/3", "2/3"), ("1/2", "2/2"), ()])
def test_shards_of_explanations_merge_to_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr("covid_debug.explaining.CPU_IMAGES", 16)  # two films a group
    line = ["explain", "--checkpoint", folder / "model", "--data", folder / "films"]
    line += ["--method", "gradient", "--out"]
    assert call(*line, tmp_path / "one" / "maps").code == 0
    explained = []
    real = explaining._explain_group
    monkeypatch.setattr(
        explaining, "_explain_group", lambda *a, **o: explained.append(a[3]) or real(*a, **o)
    )

    said = [call(*line, tmp_path / "maps", "--shard", part).out[-1] for part in parts]
    assert call(*line, tmp_path / "maps").code == 0

    assert sorted(explained, key=list) == [range(0, 2), range(2, 4), range(4, 6)]
    assert all("groups of films of all shards are finished" in line for line in said)
    assert read(tmp_path / "maps") == read(tmp_path / "one" / "maps")
    assert list(tmp_path.glob(".*")) == []


def test_a_killed_explanation_goes_on_and_makes_a_torn_map_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covid_debug.explaining.CPU_IMAGES", 16)
    request = ExplainRequest(folder / "model", data=folder / "films", method="gradient")
    request.make(tmp_path / "one" / "maps", Means())
    real, groups = explaining._explain_group, []

    def die(*args: object, **options: object) -> object:
        if len(groups) == 2:
            raise KeyboardInterrupt
        groups.append(args[3])
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(explaining, "_explain_group", die)
        with pytest.raises(KeyboardInterrupt):
            request.make(tmp_path / "maps", Means())
    next(tmp_path.glob(".maps.*.films/00000-*.npy")).write_bytes(b"torn")
    monkeypatch.setattr(
        explaining, "_explain_group", lambda *a, **o: groups.append(a[3]) or real(*a, **o)
    )
    request.make(tmp_path / "maps", Means())

    assert groups == [range(0, 2), range(2, 4), range(0, 2), range(4, 6)]
    assert read(tmp_path / "maps") == read(tmp_path / "one" / "maps")


def test_a_film_that_cannot_be_read_is_said_and_the_others_are_explained(
    folder: Path, tmp_path: Path
) -> None:
    films = sorted((folder / "films" / "test").glob("*.png"))[:2]
    (tmp_path / "torn.png").write_bytes(b"no film")
    line = ["explain", films[0], tmp_path / "torn.png", films[1], "--checkpoint", folder / "model"]

    done = call(*line, "--method", "gradient", "--out", tmp_path / "maps")

    assert any("not explained" in said and "torn.png" in said for said in done.out)
    names = sorted(path.name[:5] for path in (tmp_path / "maps" / "maps").iterdir())
    assert names == ["00000", "00002"]
