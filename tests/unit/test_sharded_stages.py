"""Every stage that goes film by film: shards of any number, in any order, merge to the same."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from covid_debug import stages
from covid_debug.artifacts import find_damage, read_manifest
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.lung_crop import LungCropRequest
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.cleaning.stage import (
    CleanRequest,
    DecoysRequest,
    PlaceboRequest,
    ProofRequest,
    UniformMarkerRequest,
)
from covid_debug.cleaning.swapped import SwapRequest
from covid_debug.data import facts
from covid_debug.data.facts import examine
from covid_debug.data.filmset import load_filmset, load_unusable
from covid_debug.data.stage import CovidxData
from covid_debug.errors import ArtifactError
from covid_debug.imaging.regions import write_regions
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.shards import Shard
from covid_debug.stages import Means, Request, make_shard
from covid_debug.text.stage import RegionsRequest, TextParams
from tests.films import draw_pixels
from tests.listeners import Told

N_FILMS = 14
QUIET = Means(n_workers=1, max_failed_share=0.5)
LABELS = ("normal", "pneumonia", "COVID-19")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A COVIDx folder with a broken film; the data set, its text, a cleaned copy."""
    folder = tmp_path_factory.mktemp("sharded")
    for split, numbers in (("train", range(9)), ("test", range(9, N_FILMS))):
        lines = []
        (folder / "covidx" / split).mkdir(parents=True)
        for i in numbers:
            pixels = cv2.resize(draw_pixels(i), (120, 110)) // 2
            pixels[12:20, 10:34:6] = 255
            path = folder / "covidx" / split / f"film{i}.png"
            cv2.imwrite(str(path), pixels)
            lines.append(f"p{i} {path.name} {LABELS[i % 3]} sirm\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    (folder / "covidx/train/film8.png").write_bytes(b"\x89PNG\r\n\x1a\nno film")
    data = covidx(folder).make(folder / "data", QUIET)
    box = ((8.0, 10.0), (38.0, 10.0), (38.0, 22.0), (8.0, 22.0))
    text = (TextRegion(box, 0.9, "L", "made"),)
    found = [FilmRegions(film.image_id, 120, 110, text) for film in data.films]
    found[2] = dataclasses.replace(found[2], regions=())
    found[3] = dataclasses.replace(found[3], width=7)  # refused by the worker
    write_regions(folder / "regions.jsonl", found)
    CleanRequest(folder / "data", folder / "regions.jsonl").make(folder / "cleaned", QUIET)
    return folder


def covidx(folder: Path) -> Request:
    lists = folder / "train.txt", folder / "test.txt"
    return CovidxData("covidx", folder / "covidx", *lists, val_share=0.3)


def on_text(kind: type[Request]) -> Callable[[Path], Request]:
    return lambda folder: kind(folder / "data", folder / "regions.jsonl")


def proof(folder: Path, **options: object) -> Request:
    params = ProbeParams(max_films=4, n_trees=5, n_resamples=20)
    return ProofRequest(folder / "data", folder / "cleaned", params, "strokes", **options)


STAGES = {
    "ingest": covidx,
    "regions": lambda folder: RegionsRequest(folder / "data", TextParams("strokes")),
    "cleaned": on_text(CleanRequest),
    "decoys": on_text(DecoysRequest),
    "uniform-marker": on_text(UniformMarkerRequest),
    "placebo": on_text(PlaceboRequest),
    "placebo with decoys": lambda folder: PlaceboRequest(
        folder / "data", folder / "regions.jsonl", CleaningParams(mask_shape="box", decoy_sets=2)
    ),
    "swapped": on_text(SwapRequest),
    "lung-crop": lambda folder: LungCropRequest(folder / "data"),
    "proof": proof,
    "proof of a sample": lambda folder: proof(folder, is_sample=True),
}


@pytest.fixture(scope="module")
def whole(place) -> Callable[[str], Path]:
    """Make a stage in one process, once."""

    def make(stage: str) -> Path:
        out = place / "whole" / stage
        if not out.exists():
            STAGES[stage](place).make(out, QUIET)
        return out

    return make


def content(out: Path) -> dict[str, object]:
    manifest = read_manifest(out, kind=read_kind(out))
    assert find_damage(out, kind=read_kind(out)) == []
    return {name: manifest[name] for name in ("kind", "parameters", "inputs", "files", "facts")}


def read_kind(out: Path) -> str:
    return {
        "regions": "regions",
        "proof": "cleaning-proof",
        "proof of a sample": "cleaning-proof",
    }.get(out.name, "filmset")


def do_shards(request: Request, out: Path, shards: list[Shard]) -> None:
    """Do shards until no part of the stage is left; a placebo and a proof have two."""
    for _ in range(2):
        for shard in shards:
            make_shard(request, out, QUIET, shard)


@contextmanager
def counted(monkeypatch) -> Iterator[list[str]]:
    """Keep the names of the films that are worked on."""
    done: list[str] = []
    real = stages._keep

    def keep(record, refuse, listener):
        done.append(record["name"])
        return real(record, refuse, listener)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_keep", keep)
        yield done


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("n", [1, 3, N_FILMS + 5])
def test_shards_in_reverse_merge_to_the_bytes_of_one_process(
    stage, n, place, whole, tmp_path, monkeypatch
):
    request, out = STAGES[stage](place), tmp_path / stage

    do_shards(request, out, [Shard(index, n) for index in range(n, 0, -1)])
    assert not out.exists()
    with counted(monkeypatch) as done:
        request.make(out, QUIET)

    assert done == []
    assert content(out) == content(whole(stage))
    assert [path.name for path in tmp_path.iterdir()] == [stage]


@pytest.mark.parametrize("stage", STAGES)
def test_shards_of_different_numbers_and_none_at_all_merge_to_the_same(
    stage, place, whole, tmp_path
):
    request, out = STAGES[stage](place), tmp_path / stage

    do_shards(request, out, [Shard(2, 3), Shard(1, 2), Shard(4, 7)])
    request.make(out, QUIET)

    assert content(out) == content(whole(stage))
    assert make_shard(request, out, QUIET, Shard(1, 2)) is None
    assert [path.name for path in tmp_path.iterdir()] == [stage]


@pytest.mark.parametrize("stage", STAGES)
def test_shards_that_follow_each_other_begin_a_part_once_and_end_with_it(
    stage, place, whole, tmp_path, monkeypatch
):
    request, out = STAGES[stage](place), tmp_path / stage
    n_parts = 2 if stage in {"placebo", "placebo with decoys", "proof"} else 1

    finished = []
    for _ in range(n_parts):
        more = iter([Shard(2, 3), Shard(3, 3)])
        finished.append(
            make_shard(request, out, dataclasses.replace(QUIET, more=more), Shard(1, 3))
        )
        assert next(more, None) is None
    with counted(monkeypatch) as done:
        request.make(out, QUIET)

    assert [part.is_last for part in finished] == [False] * (n_parts - 1) + [True]
    assert all(part.n_done == part.n_total for part in finished)
    assert done == []
    assert content(out) == content(whole(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_a_shard_killed_in_the_middle_goes_on_and_merges_to_the_same(
    stage, place, whole, tmp_path, monkeypatch
):
    request, out = STAGES[stage](place), tmp_path / stage
    real, n_kept = stages._keep, 0

    def stop_at_second(record, refuse, listener):
        nonlocal n_kept
        n_kept += 1
        if n_kept == 2:
            raise KeyboardInterrupt
        return real(record, refuse, listener)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_keep", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            make_shard(request, out, QUIET, Shard(1, 2))
    (journal,) = tmp_path.glob(".*.films/*.jsonl")
    journal.write_bytes(journal.read_bytes() + b'{"name": "to')  # torn by the kill
    (journal.parent / "train").mkdir(exist_ok=True)
    (journal.parent / "train" / ".a.png.0.part").write_bytes(b"half a film")
    with counted(monkeypatch) as done:
        make_shard(request, out, QUIET, Shard(1, 2))
    kept = {record.split('"')[3] for record in journal.read_text().splitlines()[:1]}
    do_shards(request, out, [Shard(1, 2), Shard(2, 2)])
    request.make(out, QUIET)

    assert not kept & set(done)
    assert content(out) == content(whole(stage))


def _make(request: Request, out: Path, shard: Shard) -> None:
    for _ in range(2):
        make_shard(request, out, QUIET, shard)


@pytest.mark.parametrize("stage", ["cleaned", "placebo", "ingest"])
def test_two_processes_on_the_same_shard_at_once_do_no_harm(stage, place, whole, tmp_path):
    request, out = STAGES[stage](place), tmp_path / stage
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_make, args=(request, out, Shard(1, 1))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]

    request.make(out, QUIET)

    assert content(out) == content(whole(stage))
    assert [path.name for path in tmp_path.iterdir()] == [stage]


def _merge(request: Request, out: Path) -> None:
    with contextlib.suppress(ArtifactError):
        request.make(out, QUIET)


@pytest.mark.parametrize("stage", ["cleaned", "regions"])
def test_two_merges_at_once_leave_one_right_result(stage, place, whole, tmp_path):
    request, out = STAGES[stage](place), tmp_path / stage
    do_shards(request, out, [Shard(1, 2)])
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_merge, args=(request, out)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()

    assert [process.exitcode for process in both] == [0, 0]
    assert content(out) == content(whole(stage))


def test_a_process_killed_in_a_shard_loses_at_most_its_film(place, whole, tmp_path, monkeypatch):
    request, out = STAGES["decoys"](place), tmp_path / "decoys"
    process = multiprocessing.get_context("spawn").Process(
        target=_make, args=(request, out, Shard(1, 1))
    )
    process.start()
    while not list(tmp_path.glob(".*.films/*.jsonl")):
        assert process.is_alive()
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lines = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob(".*.films/*.jsonl"))
    with counted(monkeypatch) as done:
        request.make(out, QUIET)

    assert len(done) == len(load_filmset(place / "data").films) - lines
    assert content(out) == content(whole("decoys"))


@pytest.mark.parametrize("stage", ["cleaned", "placebo", "swapped", "lung-crop"])
def test_a_film_whose_file_was_damaged_after_its_shard_is_made_again(stage, place, whole, tmp_path):
    request, out = STAGES[stage](place), tmp_path / stage
    do_shards(request, out, [Shard(1, 2), Shard(2, 2)])
    first, second, *_ = sorted(tmp_path.glob(".*.films/test/*.png"))
    first.write_bytes(b"damaged")
    second.unlink()

    request.make(out, QUIET)

    assert content(out) == content(whole(stage))


def _die_on_film_6(file):
    if file.name == "film6.png":
        os._exit(1)
    return examine(file)


def test_ingest_records_a_film_that_no_worker_survives_as_unusable(place, tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "examine", _die_on_film_6)
    told = Told(lambda *_: None)

    data = covidx(place).make(
        tmp_path / "out", dataclasses.replace(QUIET, listener=told, n_workers=2)
    )

    lost = {Path(film.path).name: film.reason for film in load_unusable(data.root)}
    assert "a worker process died twice" in lost["film6.png"]
    assert len(data.films) == N_FILMS - 2
    (warning,) = told.warnings
    assert "film6.png" in warning
