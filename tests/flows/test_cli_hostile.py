"""Hostile films through the commands: refused by name or accepted; nothing hangs or breaks."""

import csv
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hostile.films import KINDS, make_hostile_films
from benchmarks.hostile.measure import ACTING, Trial, tabulate_commands, try_commands
from benchmarks.hostile.places import PLACES, iter_names
from covid_debug.artifacts import hash_file, hash_listing, list_files
from covid_debug.data.filmset import load_filmset, load_unusable
from covid_debug.data.folder import find_new_films
from covid_debug.stages import Means
from tests.cli import call
from tests.films import draw_film

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def emptied(tmp_path: Path) -> Iterator[None]:
    """Remove what Python's own removal, which calls itself at each level, cannot."""
    yield
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


NAMES_AND_PLACES = len(PLACES) + len(list(iter_names()))
MAX_PEAK_MB = 2000


def check(trial: Trial) -> None:
    for step in trial.steps:
        assert step.problems == (), (step.words, step.problems)
        assert not step.is_hung
        assert step.peak_mb < MAX_PEAK_MB, tabulate_commands(trial)
        assert all(reason.isprintable() for reason in step.outcomes.values())
    assert trial.listed.keys() <= trial.steps[0].outcomes.keys()


@pytest.mark.slow
def test_500_hostile_films_break_no_command(tmp_path: Path) -> None:
    trial = try_commands(tmp_path / "work", 500, seed=0, detector="default")

    check(trial)
    assert [bool(step.outcomes) for step in trial.steps] == [True] * 5


def test_hostile_names_and_lists_go_through_ingest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    films = make_hostile_films(tmp_path / "nih" / "images", NAMES_AND_PLACES, seed=0)
    kinds = {film.kind for film in films}
    listed = [film.name for film in films if not re.search("[\udc80-\udcff]", film.name)]
    listed += ["../../etc/passwd", "/dev/zero", "x" * 5000, "a\0.png", ""]
    rows = [(f"p{at}", name, "Normal") for at, name in enumerate(listed)]
    rows += [("", "a.png", "Normal"), ("p\x1b[2J", "b.png", "Normal"), ("p\nq", "c.png", "Normal")]
    for at, finding in enumerate(("Normal", "Pneumonia", "COVID-19") * 4):
        draw_film(tmp_path / "nih" / "images" / f"good-{at}.png", at)
        rows.append((f"good{at}", f"good-{at}.png", finding))
    with Path("nih/labels.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("patientid", "filename", "finding"), *rows])

    outcome = call("ingest", "--source", "nih=nih", "--max-failed-share", 1, "--out", "set")

    assert (outcome.code, outcome.err) == (0, [])
    assert not ACTING.search("\n".join(outcome.out))
    assert not any("<script>" in line for line in outcome.out)
    good, bad = load_filmset(Path("set")), load_unusable(Path("set"))
    assert len(good.films) + len(bad) == len(rows)
    assert {"place: pipe", "name: markup"} <= kinds
    assert all(one.path.isprintable() and one.reason.isprintable() for one in bad)
    reasons = {Path(one.path).name: one.reason for one in bad}
    assert "leads out of" in reasons["passwd"]
    assert "leads out of" in reasons["zero"]
    assert "no patient" in reasons["a.png"]
    assert r"p\x1b[2J" in reasons["b.png"]
    assert reasons["x" * 5000].startswith("missing file")
    assert not list(tmp_path.glob("*owned*"))
    names = {Path(film.path).name for film in good.films}
    assert {"<script>alert(1)<!--.png", "-rf.png", "a'b\"c`d;$(touch owned).png"} <= names


def test_folders_with_pipes_rings_and_a_thousand_levels_are_listed(tmp_path: Path) -> None:
    make_hostile_films(tmp_path / "films", NAMES_AND_PLACES, seed=0)

    first = hash_listing(tmp_path / "films")
    found = find_new_films(tmp_path / "films", (), {}, Means())

    assert first == hash_listing(tmp_path / "films")
    assert len(found.films) + len(found.unusable) + found.n_known == len(
        list_files(tmp_path / "films")
    )
    assert all(one.path.isprintable() for one in found.unusable)
    assert "not a regular file" in " ".join(one.reason for one in found.unusable)


def test_names_too_long_for_more_letters_are_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = []
    for at, finding in enumerate(("Normal", "Pneumonia", "COVID-19") * 3):
        name = f"{at}{'x' * 250}.png" if at else f"{'y' * 251}.jpg"
        draw_film(tmp_path / "nih" / "images" / name, at)
        rows.append((f"p{at}", name, finding))
    with Path("nih/labels.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("patientid", "filename", "finding"), *rows])
    assert call("ingest", "--source", "nih=nih", "--out", "set").code == 0
    found = ("--detector", "strokes", "--no-read", "--workers", 1)
    assert call("detect-text", "--data", "set", *found, "--out", "regions.jsonl").code == 0

    cleaned = ("--regions", "regions.jsonl", "--workers", 1, "--out", "cleaned")
    outcome = call("clean", "--data", "set", *cleaned)

    assert outcome.code == 0, outcome
    assert len(load_filmset(Path("cleaned")).films) == 9


def test_a_folder_called_like_a_file_of_the_output_is_named(tmp_path: Path) -> None:
    draw_film(tmp_path / "films" / "manifest.jsonl" / "a.png", 0)

    outcome = call("clean", tmp_path / "films", "--out", tmp_path / "out")

    assert outcome.code == 1
    assert "rename the film" in outcome.err[0]


def test_the_films_are_the_same_for_a_seed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    made = [make_hostile_films(folder, NAMES_AND_PLACES + len(KINDS), seed=3) for folder in folders]

    assert made[0] == made[1]
    assert len({film.name for film in made[0]}) == len(made[0])
    hashes = [
        {path.name: hash_file(path) for path in list_files(folder) if is_plain(path)}
        for folder in folders
    ]
    assert hashes[0] == hashes[1]


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
