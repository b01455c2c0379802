"""Cleaned films against boxes: ink left, places changed, copies found, and the command."""

import csv
import json

import cv2
import numpy as np
import pytest

from benchmarks.clean.annotated import BOXES_NAME, parse_kinds
from benchmarks.clean.copies import find_copies
from benchmarks.clean.ink import measure_ink
from benchmarks.clean.masks import TABLE_NAME
from benchmarks.clean.redaction import count_cleaned, score_cleaned
from benchmarks.text.annotated import AnnotatedBox, AnnotatedFilm
from benchmarks.text.counting import by_key
from covid_debug.errors import DataIntegrityError, InputContractError
from tests.cli import call, refusal

LETTER = (20, 20, 38, 44)


def box(*, content="R", corners=LETTER, polarity="bright", kind="single_letter"):
    return AnnotatedBox(corners, kind, legible=True, polarity=polarity, content=content, marks=())


def film(*boxes, path="cohen/a.png"):
    return AnnotatedFilm(path, 120, 100, boxes)


def textured(level=90):
    return np.random.default_rng(0).normal(level, 4, (100, 120)).clip(0, 255).astype(np.uint8)


def with_letter(pixels, gray=220):
    """Draw an L into :data:`LETTER`."""
    drawn = pixels.copy()
    drawn[20:44, 20:24] = gray
    drawn[40:44, 20:38] = gray
    return drawn


def test_untouched_letter_is_left():
    before = with_letter(textured())

    left = measure_ink(before, before, box())

    assert left.share == 1.0
    assert left.is_kept
    assert left.has_piece
    assert not left.is_gone


@pytest.mark.parametrize(("gray", "polarity"), [(220, "bright"), (110, "bright"), (20, "dark")])
def test_filled_letter_is_gone(gray, polarity):
    clean = textured()

    left = measure_ink(with_letter(clean, gray), clean, box(polarity=polarity))

    assert left.is_gone
    assert not left.has_piece


@pytest.mark.parametrize(("gray", "polarity"), [(220, "bright"), (0, "dark")])
def test_letter_under_a_black_bar_is_gone(gray, polarity):
    before = with_letter(textured(), gray)
    after = before.copy()
    after[15:50, 15:45] = 0

    assert measure_ink(before, after, box(polarity=polarity)).is_gone


def test_half_a_letter_is_neither_gone_nor_kept():
    before = with_letter(textured())
    after = before.copy()
    after[20:38] = textured()[20:38]

    left = measure_ink(before, after, box())

    assert not left.is_gone
    assert not left.is_kept
    assert left.has_piece


def test_precision_counts_places_and_recall_boxes():
    clean = textured()
    before = with_letter(clean)
    before[70:90, 20:26] = 230  # a stroke that is not removed
    after = before.copy()
    after[15:50, 15:45] = clean[15:50, 15:45]
    after[10:20, 90:100] = 0  # a place with nothing to remove
    annotated = film(box(), box(content="I", corners=(20, 70, 26, 90)))

    result = score_cleaned(annotated, before, after)
    counts = by_key(count_cleaned([result]))

    assert (counts["redacted", "recall"].n_found, counts["redacted", "recall"].n_total) == (1, 2)
    assert counts["redacted", "precision"].share == 0.5
    assert counts["films with text", "none left"].n_found == 0
    assert result.excess_share == pytest.approx(100 / 12_000)


def test_kept_markers_are_counted_apart():
    before = with_letter(textured())
    before[60:80, 60:66] = 230
    after = before.copy()
    after[55:85, 55:70] = textured()[55:85, 55:70]
    annotated = film(box(), box(content="AP", corners=(60, 60, 66, 80), kind="word"))

    counts = by_key(count_cleaned([score_cleaned(annotated, before, after)], ["side_marker"]))

    assert counts["kept", "side_marker"].share == 1.0
    assert counts["redacted", "recall"].n_total == 1
    assert counts["content", "position"].share == 1.0
    assert ("content", "side_marker") not in counts


def test_film_of_another_size_is_refused():
    with pytest.raises(DataIntegrityError, match="the cleaned film is 50x100 px"):
        score_cleaned(film(), textured(), textured()[:, :50])


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def test_copies_are_found_by_the_longest_common_path(tmp_path):
    for place in ("x/cohen/a.png", "x/other/a.png", "x/b.tif"):
        write(tmp_path / place, textured())
    films = [film(path="cohen/a.jpg"), film(path="cohen/b.jpg"), film(path="cohen/c.jpg")]

    found = find_copies(films, tmp_path, tmp_path / "x")

    assert {path: copy.path.relative_to(tmp_path).as_posix() for path, copy in found.items()} == {
        "cohen/a.jpg": "x/cohen/a.png",
        "cohen/b.jpg": "x/b.tif",
    }


def test_two_possible_copies_and_none_are_refused(tmp_path):
    for place in ("x/1/a.png", "x/2/a.png"):
        write(tmp_path / place, textured())

    with pytest.raises(DataIntegrityError, match=r"can both be cohen/a\.jpg"):
        find_copies([film(path="cohen/a.jpg")], tmp_path, tmp_path / "x")
    with pytest.raises(DataIntegrityError, match="no copy of any annotated film"):
        find_copies([film(path="cohen/b.jpg")], tmp_path, tmp_path / "x")
    with pytest.raises(DataIntegrityError, match="no such folder"):
        find_copies([film()], tmp_path, tmp_path / "absent")


def test_kinds_are_named():
    assert parse_kinds(["side_marker", "date", "date"], "--keep") == ("side_marker", "date")
    with pytest.raises(InputContractError, match="--keep: unknown kind 'side_markr'"):
        parse_kinds(["side_markr"], "--keep")


def test_command_scores_a_folder_that_another_tool_cleaned(tmp_path):
    clean = textured()
    write(tmp_path / "films" / "cohen" / "a.png", with_letter(clean))
    write(tmp_path / "films" / "cohen" / "b.png", with_letter(clean))
    write(tmp_path / "cleaned" / "a.png", clean)
    entry = {
        "box": LETTER,
        "kind": "single_letter",
        "legible": True,
        "polarity": "bright",
        "content": "L",
    }
    named = {"width": 120, "height": 100, "boxes": [entry]}
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"cohen/a.png": named, "cohen/b.png": named}), encoding="utf-8")
    words = ("--data", tmp_path / "films", "--annotations", boxes)

    outcome = call(
        *("bench", "clean", *words, "--cleaned", tmp_path / "cleaned", "--out", tmp_path / "out")
    )

    assert outcome.code == 0, outcome
    assert "1 cleaned films of 2 annotated ones" in outcome.out
    assert "| redacted: recall | 100.0% | 1/1 | 21 to 100 | 21 to 100 |" in outcome.out
    with (tmp_path / "out" / BOXES_NAME).open(encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["wanted"], row["ink_left"]) == ("remove", "0.000")
    assert "expected all three" in refusal("bench", "clean", *words, "--out", tmp_path / "out2")


def test_bench_clean_measures_masks_against_boxes(tmp_path):
    films, boxes = tmp_path / "films", tmp_path / "boxes.json"
    write(films / "a.png", with_letter(textured()))
    entry = {"box": LETTER, "kind": "single_letter", "legible": True, "polarity": "bright"}
    named = {"width": 120, "height": 100, "boxes": [{**entry, "content": "L"}]}
    boxes.write_text(json.dumps({"a.png": named}), encoding="utf-8")
    corners = [[18, 18], [40, 18], [40, 46], [18, 46]]
    region = {"polygon": corners, "confidence": 1.0, "content": None, "detector": "made"}
    line = {"image": "a.png", "width": 120, "height": 100, "regions": [region]}
    regions = tmp_path / "regions.jsonl"
    regions.write_text(json.dumps(line) + "\n", encoding="utf-8")
    words = ("--data", films, "--annotations", boxes, "--regions", regions)

    outcome = call(*("bench", "clean", *words, "--out", tmp_path / "out"))

    assert outcome.code == 0, outcome
    with (tmp_path / "out" / TABLE_NAME).open(encoding="utf-8") as stream:
        rows = {row["masks"]: row for row in csv.DictReader(stream)}
    assert {row["ink uncovered"] for row in rows.values()} == {"0.00%"}
    assert {row["piece, 10 to 20 px"] for row in rows.values()} == {"0/1"}
    letters, whole = (rows[name]["masked"].split("%")[0] for name in ("letters (default)", "boxes"))
    assert float(letters) < 0.8 * float(whole)
    keep = ("--keep", "side_marker")
    assert "goes with --cleaned" in refusal(
        "bench", "clean", *words, *keep, "--out", tmp_path / "k"
    )
    regions.write_text("", encoding="utf-8")
    assert "has no text regions" in refusal("bench", "clean", *words, "--out", tmp_path / "out2")
