"""`clean` and `prove` on films and folders, without a data set."""

import multiprocessing
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli import call


@pytest.fixture
def films(tmp_path: Path) -> Path:
    film = np.tile(np.linspace(20, 90, 400).astype(np.uint8), (300, 1))
    (tmp_path / "films").mkdir()
    cv2.imwrite(str(tmp_path / "films" / "plain.png"), film)
    cv2.putText(film, "RIGHT", (120, 66), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 3)
    cv2.imwrite(str(tmp_path / "films" / "a.png"), film)
    cv2.imwrite(str(tmp_path / "films" / "b.jpg"), film)
    (tmp_path / "films" / "bad.dcm").write_bytes(b"no film")
    return tmp_path / "films"


def test_clean_films_says_what_became_of_them_and_prove_looks_again(
    films: Path, tmp_path: Path
) -> None:
    options = ("--detector", "strokes", "--workers", 1)

    cleaned = call("clean", films, "--out", tmp_path / "out", *options)
    again = call("clean", films, "--out", tmp_path / "out", *options)
    proof = call("prove", films, tmp_path / "out", "--out", tmp_path / "proof", *options)

    assert (cleaned.code, again.code, proof.code) == (0, 0, 1)
    said = " ".join(cleaned.out + cleaned.err)
    assert "4 films: 2 cleaned, 1 copied as they are, 1 not cleaned" in said
    assert "bad.dcm: is not an image" in said
    assert "--jpeg png moves none" in said
    assert "4 films (3 of an earlier start)" in " ".join(again.out + again.err)
    assert any("| films with text after | 0.0%" in line for line in proof.out)
    assert any("is what cleaned these films" in line for line in proof.out + proof.err)
    assert any("1 of 4 films could not be compared" in line for line in proof.err)


@pytest.mark.parametrize(
    ("parts", "n_before"), [(("1/1",), 3), (("3/3", "1/3", "2/3"), 3), (("2/2", "1/3"), 2)]
)
def test_shards_of_films_merge_to_the_same_bytes(
    films: Path, tmp_path: Path, parts: tuple[str, ...], n_before: int
) -> None:
    options = ("--detector", "strokes", "--workers", 1)
    assert call("clean", films, "--out", tmp_path / "one", *options).code == 0

    said = [
        call("clean", films, "--out", tmp_path / "out", *options, "--shard", part) for part in parts
    ]
    merged = call("clean", films, "--out", tmp_path / "out", *options)

    assert all(one.code == 0 for one in said)
    assert f"shard {parts[-1]} is done: " in said[-1].out[-1]
    assert merged.code == 0
    assert f"({n_before} of an earlier start)" in " ".join(merged.out)  # a refused one is not
    assert read(tmp_path / "out") == read(tmp_path / "one")


def test_a_film_that_changed_after_its_shard_is_cleaned_again(films: Path, tmp_path: Path) -> None:
    options = ("--detector", "strokes", "--workers", 1)
    call("clean", films, "--out", tmp_path / "out", *options, "--shard", "1/1")
    (films / "plain.png").write_bytes((films / "a.png").read_bytes())

    assert call("clean", films, "--out", tmp_path / "out", *options).code == 0

    assert call("clean", films, "--out", tmp_path / "one", *options).code == 0
    assert read(tmp_path / "out") == read(tmp_path / "one")


def test_two_processes_on_the_same_shard_at_once_do_no_harm(films: Path, tmp_path: Path) -> None:
    options = ("--detector", "strokes", "--workers", 1)
    shard = ("clean", films, "--out", tmp_path / "out", *options, "--shard", "1/1")
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=call, args=shard) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    (tmp_path / "out" / f".{'0' * 32}.partial").write_bytes(b"of a killed one")

    assert [process.exitcode for process in both] == [0, 0]
    assert call("clean", films, "--out", tmp_path / "out", *options).code == 0
    assert call("clean", films, "--out", tmp_path / "one", *options).code == 0
    assert read(tmp_path / "out") == read(tmp_path / "one")


def read(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".run.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_kept_kind_is_warned_of_and_counted(films: Path, tmp_path: Path) -> None:
    options = ("--detector", "strokes", "--workers", 1, "--policy", "unknown=keep")
    options += ("--policy", "side_marker=keep")

    kept = call("clean", films / "a.png", "--out", tmp_path / "out", *options)

    assert kept.code == 0
    assert any("policy unknown=keep leaves" in line for line in kept.out + kept.err)
    assert "1 copied as they are (1 with text that stays)" in " ".join(kept.out)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("clean", "FILMS"), "--out is needed"),
        (("clean", "--out", "OUT"), "name films or folders to clean"),
        (("clean", "FILMS", "--data", "FILMS", "--out", "OUT"), "either films or --data"),
        (("clean", "FILMS", "--out", "FILMS"), "lies inside the input"),
        (("clean", "GONE", "--out", "OUT"), "no such file or folder"),
        (("clean", "FILMS", "--out", "OUT", "--jpeg", "gif"), "jpeg is 'gif'"),
        (("prove", "FILMS", "--out", "OUT"), "give two folders"),
        (("prove", "--data", "FILMS", "--out", "OUT"), "give --data with --cleaned"),
    ],
)
def test_mistakes_are_one_line(
    films: Path, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    places = {"FILMS": films, "OUT": tmp_path / "out", "GONE": tmp_path / "gone"}

    outcome = call(*(places.get(part, part) for part in arguments))

    assert outcome.code != 0
    assert reason in " ".join(outcome.err)
    assert not (tmp_path / "out").exists()
