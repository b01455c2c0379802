"""Artifacts are complete or absent."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from covid_debug import artifacts
from covid_debug.artifacts import (
    artifact_key,
    canonical_json,
    find_damage,
    hash_file,
    hash_listing,
    is_complete,
    read_manifest,
    remove_partials,
    write_artifact,
    write_text_atomic,
)
from covid_debug.errors import ArtifactError


@dataclass(frozen=True)
class _Params:
    rate: float
    name: str = "a"


def test_write_artifact_publishes_files_facts_and_hashes(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "a", kind="thing", parameters=_Params(0.5)) as draft:
        (draft.path / "x.txt").write_text("hello")
        draft.facts["n"] = 3

    manifest = read_manifest(tmp_path / "a", kind="thing")
    assert manifest["facts"] == {"n": 3}
    assert manifest["parameters"] == {"name": "a", "rate": 0.5}
    assert manifest["files"] == {
        "x.txt": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    }
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_write_artifact_leaves_nothing_when_the_body_fails(tmp_path: Path) -> None:
    def write_half() -> None:
        with write_artifact(tmp_path / "a", kind="thing") as draft:
            (draft.path / "x.txt").write_text("half")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        write_half()

    assert list(tmp_path.iterdir()) == []


def test_write_artifact_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with (
        pytest.raises(ArtifactError, match="already exists"),
        write_artifact(tmp_path / "a", kind="thing"),
    ):
        pass


def test_write_artifact_names_an_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with (
        pytest.raises(ArtifactError, match="file/a: cannot be written"),
        write_artifact(tmp_path / "file" / "a", kind="thing"),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "has no manifest.json"), ("{", "not a readable manifest"), ("{}", "not a readable")],
)
def test_read_manifest_refuses_broken_artifacts(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path, kind="thing")


def test_read_manifest_refuses_what_a_newer_covid_debug_wrote(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "audit-1", kind="audit"):
        pass
    path = tmp_path / "audit-1" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"schema_version": manifest["schema_version"] + 1}))

    with pytest.raises(ArtifactError, match=r"audit-1: this audit was written by a newer") as error:
        read_manifest(path.parent, kind="audit")

    assert str(error.value).endswith("update it")
    assert "\n" not in str(error.value)


def test_read_manifest_refuses_another_kind(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "filmset"}))

    with pytest.raises(ArtifactError, match="is of kind filmset, expected checkpoint"):
        read_manifest(tmp_path, kind="checkpoint")


def test_find_damage_names_changed_and_missing_files(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "a", kind="thing") as draft:
        for name in ("kept", "changed", "gone"):
            (draft.path / name).write_text(name)
    (tmp_path / "a" / "changed").write_text("!")
    (tmp_path / "a" / "gone").unlink()

    assert find_damage(tmp_path / "a", kind="thing") == ["changed", "gone"]


def test_remove_partials_clears_only_what_killed_writers_left(tmp_path: Path) -> None:
    (tmp_path / "a.partial-12345678").mkdir()
    (tmp_path / "b").mkdir()

    assert remove_partials(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert not is_complete(tmp_path / "b")


def test_artifact_key_depends_on_every_part_and_on_nothing_else() -> None:
    base = artifact_key("s", 1, {"a": 1, "b": 2}, {"x": "k"})

    assert base == artifact_key("s", 1, {"b": 2, "a": 1}, {"x": "k"})
    others = [
        artifact_key("t", 1, {"a": 1, "b": 2}, {"x": "k"}),
        artifact_key("s", 2, {"a": 1, "b": 2}, {"x": "k"}),
        artifact_key("s", 1, {"a": 1, "b": 3}, {"x": "k"}),
        artifact_key("s", 1, {"a": 1, "b": 2}, {"x": "l"}),
    ]
    assert len({base, *others}) == 5


def test_canonical_json_refuses_nan_and_strangers() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
    with pytest.raises(TypeError, match="object"):
        canonical_json(object())


def test_hash_listing_sees_a_changed_file_and_names_a_missing_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = hash_listing(tmp_path)
    (tmp_path / "a").write_text("22")

    assert hash_listing(tmp_path) != before
    with pytest.raises(ArtifactError, match="nowhere: no such file or folder"):
        hash_listing(tmp_path / "nowhere")


def test_hash_listing_accepts_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    before = hash_listing(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(b"")

    assert hash_listing(tmp_path) != before


def test_hash_file_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        hash_file(tmp_path / "nothing")


def test_write_text_atomic_keeps_the_old_text_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.Path, "write_text", refuse)

    with pytest.raises(ArtifactError, match="No space left on device"):
        write_text_atomic(place, "new")
    assert place.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_manifest_names_the_code_and_the_device(tmp_path: Path) -> None:
    for name, device in (("a", None), ("b", "cuda (NVIDIA H200)")):
        with write_artifact(tmp_path / name, kind="thing", device=device):
            pass

    processor, gpu = (read_manifest(tmp_path / name, kind="thing") for name in "ab")
    assert processor["device"].startswith("cpu (")
    assert gpu["device"] == "cuda (NVIDIA H200)"
    assert processor["code"] == artifacts.describe_code()


def test_describe_code_names_the_commit_and_uncommitted_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    module = tmp_path / "artifacts.py"
    module.write_text("1")
    monkeypatch.setattr(artifacts, "__file__", str(module))
    describe = artifacts.describe_code.__wrapped__

    git("init", "--quiet")
    assert describe().startswith("covid_debug ")  # lies in a checkout that does not track it
    git("add", ".")
    git("commit", "--quiet", "--message=t")
    assert describe() == git("rev-parse", "HEAD")
    module.write_text("2")
    assert describe() == git("rev-parse", "HEAD") + "-dirty"


def test_remove_partials_spares_living_writers_and_folders_of_others(tmp_path: Path) -> None:
    (tmp_path / "my.partial-results").mkdir()

    with write_artifact(tmp_path / "a", kind="thing") as draft:
        assert remove_partials(tmp_path) == 0
        (draft.path / "x.txt").write_text("hello")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "my.partial-results"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["manifest.json", "x.txt"]
