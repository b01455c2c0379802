"""`clean` and `prove` on films and folders, without a data set."""

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
