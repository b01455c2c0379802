"""A stage is made once, found again, and made again where it is damaged."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from covid_debug.artifacts import read_manifest, write_artifact
from covid_debug.data.stage import PhantomData
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.stages import Means, Request, find_or_make, name_input


@dataclass(frozen=True)
class Number(Request):
    """Write a number."""

    value: int
    leaves_nothing: bool = field(default=False, compare=False)

    stage: ClassVar[str] = "number"
    makes: ClassVar[str] = "number"
    code_version: ClassVar[int] = 1

    def parameters(self) -> object:
        return {"value": self.value}

    def inputs(self) -> dict[str, str]:
        return {}

    def make(self, out: Path, means: Means) -> None:
        if self.leaves_nothing:
            return
        with write_artifact(out, kind=self.makes) as draft:
            (draft.path / "number").write_text(str(self.value))

    def check(self, out: Path, means: Means) -> None:
        if self.value < 0:
            raise DataIntegrityError(f"{out}: negative")


def test_a_finished_artifact_is_found_and_another_request_is_another_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_or_make(Number(1), tmp_path, Means())
    other = find_or_make(Number(2), tmp_path, Means())
    monkeypatch.setattr(Number, "make", None)

    assert find_or_make(Number(1), tmp_path, Means()) == first != other
    assert first.name.startswith("number-")


def test_a_damaged_artifact_is_made_again_and_foreign_files_are_kept(tmp_path: Path) -> None:
    place = find_or_make(Number(1), tmp_path, Means())
    (place / "number").write_text("7")
    find_or_make(Number(1), tmp_path, Means())
    assert ((place / "number").read_text(), len(list(tmp_path.iterdir()))) == ("1", 1)

    (place / "number").unlink()
    (place / "note").write_text("work of hours")
    find_or_make(Number(1), tmp_path, Means())

    (kept,) = tmp_path.glob("*.damaged-*/note")
    assert ((place / "number").read_text(), kept.read_text()) == ("1", "work of hours")


def test_what_a_stage_must_not_leave_is_refused_when_it_is_found_too(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataIntegrityError, match="negative"):
            find_or_make(Number(-1), tmp_path, Means())
    with pytest.raises(ArtifactError, match="ended without its artifact"):
        find_or_make(Number(3, leaves_nothing=True), tmp_path, Means())


def test_an_input_is_named_after_its_folder_or_its_content(tmp_path: Path) -> None:
    file = tmp_path / "regions.jsonl"
    file.write_text("a")
    before = name_input(file)
    file.write_text("b")

    assert name_input(tmp_path) == tmp_path.name
    assert len(before) == 16
    assert before != name_input(file)


def test_films_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    request = PhantomData("phantom", n_train=9, n_test=6)
    for n in (1, 3):
        request.make(tmp_path / str(n), Means(n_workers=n))

    one, three = (read_manifest(tmp_path / n, kind="filmset")["files"] for n in ("1", "3"))
    assert one == three
