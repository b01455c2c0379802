"""The audit of a growing folder: what is new, what waits, and the table of flags."""

import dataclasses
import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_debug.artifacts import read_manifest
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.growing import (
    Batch,
    GrowingAudit,
    NewFlag,
    audit_new_films,
    describe_flags,
    write_flags,
)
from covid_debug.data.filmset import load_filmset
from covid_debug.data.folder import UNLABELLED, find_new_films
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import ArtifactError, DataIntegrityError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.stages import Means, find_or_make
from covid_debug.text.stage import TextParams
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

MEANS = Means(n_workers=1)


def write_film(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)
    cv2.imwrite(str(path), pixels)


def test_new_is_what_is_neither_known_nor_there_twice(tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 2), ("sub/c.png", 3), ("sub/copy.png", 3)):
        write_film(tmp_path / "in" / name, seed)
    (tmp_path / "in/half.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:200])
    cv2.imwrite(str(tmp_path / "in/blank.png"), np.full((40, 40), 7, np.uint8))
    everything = find_new_films(tmp_path / "in", (), {}, MEANS)
    first = everything.films[0]

    found = find_new_films(tmp_path / "in", {first.image_id}, {}, MEANS)

    assert [Path(film.path).name for film in everything.films] == ["a.png", "b.png", "c.png"]
    assert [Path(film.path).name for film in found.films] == ["b.png", "c.png"]
    assert found.n_known == 2
    assert [film.reason.split(":")[0] for film in found.unusable] == ["blank film", "unreadable"]
    assert {(film.label, film.split) for film in found.films} == {(UNLABELLED, "test")}
    assert len({film.patient_id for film in found.films}) == 2


def test_known_file_is_not_read_again_unless_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(tmp_path / "a.png", 1)
    write_film(tmp_path / "b.png", 2)
    (a, b) = find_new_films(tmp_path, (), {}, MEANS).films
    known, seen = {a.image_id, b.image_id}, {a.path: time.time() + 60, b.path: time.time() + 60}
    read: list[Path] = []
    from covid_debug.data import folder

    examine = folder.examine_films
    monkeypatch.setattr(
        folder, "examine_films", lambda files, *rest: read.extend(files) or examine(files, *rest)
    )

    assert find_new_films(tmp_path, known, seen, MEANS).n_known == 2
    assert read == []
    write_film(tmp_path / "b.png", 3)
    os.utime(tmp_path / "b.png", (1, 1))  # as a copy that brings its old time along
    found = find_new_films(tmp_path, known, seen | {b.path: time.time() - 60}, MEANS)

    assert read == [tmp_path / "b.png"]
    assert [film.path for film in found.films] == [str(tmp_path / "b.png")]


def test_folder_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataIntegrityError, match="no such folder"):
        find_new_films(tmp_path / "none", (), {}, MEANS)
    with pytest.raises(InputContractError, match="holds no image"):
        find_new_films(tmp_path, (), {}, MEANS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a store with films and a model, and the model."""
    folder = tmp_path_factory.mktemp("store")
    generate_phantom(folder / "films", n_train=30, n_test=12, seed=3)
    training = TrainingParams(arch="resnet18_half", n_epochs=1)
    request = TrainRequest(folder / "films", training, ViewSpec(image_size=32), 0)
    return folder, find_or_make(request, folder, Means(cache_dir=folder / "views", n_workers=1))


def test_folder_is_audited_in_batches_and_every_film_once(
    store: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, checkpoint = store
    means = Means(cache_dir=folder / "views", n_workers=1)
    films = load_filmset(folder / "films")
    for film in films.films:  # of those, the model was trained on
        shutil.copy(films.path_of(film), tmp_path)
    asked = GrowingAudit(tmp_path, checkpoint, TextParams("marker"), min_films=10)

    first = audit_new_films(asked, folder, means)
    again = audit_new_films(asked, folder, means)

    assert first.audit is not None
    assert (first.n_new, again.n_new, again.audit) == (12, 0, None)
    assert {film.label for film in load_audit(first.audit).films} == {UNLABELLED}
    generate_phantom(tmp_path / "more", n_train=10, n_test=6, seed=4)
    shutil.rmtree(tmp_path / "more/counterfactuals")
    waiting = audit_new_films(dataclasses.replace(asked, min_films=20), folder, means)
    second = audit_new_films(asked, folder, means)
    table = tmp_path / "flags.csv"
    write_flags(table, folder)
    write_flags(table, folder)

    assert (waiting.n_new, waiting.audit, second.n_new) == (16, None, 16)
    assert second.audit not in {None, first.audit}
    n_flags = len(first.flags) + len(second.flags)
    assert len(table.read_text().splitlines()) == 1 + n_flags


def test_batch_left_half_way_is_made_anew_for_a_film_that_was_renamed(
    store: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, checkpoint = store
    for i in range(4):
        write_film(tmp_path / f"{i}.png", 100 + i)
    means = Means(cache_dir=folder / "views", n_workers=1)
    asked = GrowingAudit(tmp_path, checkpoint, TextParams("marker"), min_films=1)
    monkeypatch.setattr("covid_debug.audit.growing.RegionsRequest", None)
    with pytest.raises(TypeError):
        audit_new_films(asked, folder, means)  # a kill after the list of films was written
    monkeypatch.undo()
    (tmp_path / "0.png").rename(tmp_path / "renamed.png")

    batch = audit_new_films(asked, folder, means)

    assert batch.audit is not None
    filmset = load_filmset(folder / read_manifest(batch.audit, kind="audit")["inputs"]["filmset"])
    assert {Path(film.path).name for film in filmset.films} == {
        *("1.png", "2.png", "3.png", "renamed.png")
    }


def test_audit_of_one_class_leaves_the_others_to_be_audited(
    store: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, checkpoint = store
    for i in range(4):
        write_film(tmp_path / f"{i}.png", 200 + i)
    means = Means(cache_dir=folder / "views", n_workers=1)
    one = GrowingAudit(tmp_path, checkpoint, TextParams("marker"), "normal", min_films=1)

    numbers = [
        audit_new_films(dataclasses.replace(one, target_class=target), folder, means).n_new
        for target in ("normal", "normal", "COVID-19", None, "pneumonia")
    ]

    assert numbers == [4, 0, 4, 4, 0]


def test_table_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "flags.csv").write_text("image_id,path\n")

    with pytest.raises(ArtifactError, match="is not a table of new flags"):
        write_flags(tmp_path / "flags.csv", tmp_path)
    assert (tmp_path / "flags.csv").read_text() == "image_id,path\n"


def test_flags_are_said_the_most_severe_first_and_not_all(tmp_path: Path) -> None:
    flag = NewFlag("c", "b", "x.png", "normal", 0.9, 0.1, "text_driven", 0.004, "L")
    lines = list(describe_flags(Batch(50, tmp_path, (flag,) * 30), Path("new-flags.csv")))

    assert len(lines) == 21
    assert lines[0] == "text driven: x.png: normal 0.90, without the text 0.10 (q = 0.004)"
    assert (
        lines[-1]
        == "30 of 50 new films flagged, q within this batch; all flags so far: new-flags.csv"
    )
    assert list(describe_flags(Batch(3, None, ()), Path("new-flags.csv"))) == []
