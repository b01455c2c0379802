"""`ingest`, `detect-text` and `clean` on awkward files: one line each, and nothing is lost."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_debug.data.listing import collect_films
from covid_debug.terminal import RunConsole
from tests.cli import call, refusal
from tests.films import build_filmset, draw_film, draw_pixels, make_film, write_dicom
from tests.flows.test_cli_errors import make_source

pytestmark = pytest.mark.filterwarnings("default")


def scan(out: Path, *films: object) -> tuple[object, ...]:
    return ("detect-text", *films, "--detector", "strokes", "--out", out, "--workers", 1)


def test_detect_text_of_an_absent_film_keeps_the_old_regions(tmp_path):
    out = tmp_path / "regions.jsonl"
    assert call(*scan(out, draw_film(tmp_path / "a.png", 1))).code == 0
    good = out.read_bytes()

    error = refusal(*scan(out, tmp_path / "nosuch.png"))

    assert "nosuch.png: no such file" in error
    assert out.read_bytes() == good


def test_detect_text_of_a_folder_with_strange_files_does_the_others(tmp_path):
    folder, out = tmp_path / "films", tmp_path / "regions.jsonl"
    draw_film(folder / "a.png", 1)
    write_dicom(folder / "1.2.840.77", draw_pixels(2))
    os.mkfifo(folder / "pipe.png")
    latin = Path(os.fsdecode(os.fsencode(folder / "caf") + b"\xe9.png"))
    latin.write_bytes((folder / "a.png").read_bytes())
    (folder / "notes.txt").write_text("no film")

    outcome = call(*scan(out, folder))

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert outcome.code == 0
    assert {Path(line["image"]).name: "error" in line for line in lines} == {
        "1.2.840.77": False,
        "a.png": False,
        "caf\\xe9.png": True,
        "pipe.png": True,
    }


def test_collect_films_names_can_be_printed(tmp_path):
    latin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    latin.write_bytes(b"")

    ((name, path),) = collect_films([tmp_path], None, RunConsole())

    assert (name, path) == (f"{tmp_path}/caf\\xe9.png", latin)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of which one film is now another film's file."""
    build_filmset(tmp_path / "set", [make_film(index) for index in range(3)])
    scanned = [
        {"image": f"{index:016x}", "width": 64, "height": 70, "regions": []} for index in range(3)
    ]
    text = "".join(json.dumps(line) + "\n" for line in scanned)
    (tmp_path / "regions.jsonl").write_text(text)
    (tmp_path / "set" / "1.png").write_bytes((tmp_path / "set" / "2.png").read_bytes())
    return tmp_path / "set"


def test_commands_on_a_data_set_with_a_changed_film_say_so_in_one_line(data, tmp_path):
    regions = tmp_path / "regions.jsonl"
    good = regions.read_bytes()
    clean = ("clean", "--data", data, "--regions", regions, "--out", tmp_path / "c", "--workers", 1)
    train = ("train", "--data", data, "--out", tmp_path / "m", "--image-size", 32, "--epochs", 1)

    for error in (refusal(*scan(regions, "--data", data)), refusal(*clean), refusal(*train)):
        assert f"{data}/1.png: film changed since ingest" in error
        assert "ingest again" in error
    assert regions.read_bytes() == good


def test_ingest_with_bad_films_names_the_list_and_an_option_allows_them(tmp_path):
    source = make_source(tmp_path / "nih", n=9)
    table = (source / "labels.csv").read_text().splitlines()
    kinds = ["Normal", "Pneumonia", "COVID-19"] * 3
    rows = [line.replace("Normal", kind) for line, kind in zip(table[1:], kinds, strict=True)]
    more = [row.replace(",", "x,", 1).replace(",0", ",bad0", 1) for row in rows[:2]]
    (source / "labels.csv").write_text("\n".join([table[0], *rows, *more]) + "\n")
    options = ("--source", f"nih={source}", "--out", tmp_path / "set", "--val-share", 0.3)

    error = refusal("ingest", *options, "--test-share", 0.3)
    allowed = call("ingest", *options, "--test-share", 0.3, "--max-failed-share", 0.2)

    assert allowed.code == 0
    assert "2 of 11 films" in error
    assert f"{tmp_path}/set-unusable.csv" in error
    assert len((tmp_path / "set-unusable.csv").read_text().splitlines()) == 3


def test_detect_text_gives_what_a_policy_needs(tmp_path):
    film = np.tile(np.linspace(20, 90, 400).astype(np.uint8), (300, 1))
    cv2.putText(film, "RIGHT", (120, 66), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 3)
    cv2.imwrite(str(tmp_path / "film.png"), film)
    out = tmp_path / "regions.jsonl"
    command = ("detect-text", tmp_path / "film.png", "--detector", "rapidocr", "--out", out)

    outcome = call(*command, "--workers", 1)

    assert outcome.code == 0
    (region,) = json.loads(out.read_text())["regions"]
    assert (region["content"], region["kind"]) == ("RIGHT", "side_marker")
