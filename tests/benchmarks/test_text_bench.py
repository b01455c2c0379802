"""The table of detectors, on two made films."""

import csv
import json

import cv2
import numpy as np
import pytest

from benchmarks.text.measure import MISSED_NAME, SUMMARY_NAME, TABLE_NAME, bench_text
from covid_debug.errors import CatalogError, DataIntegrityError


@pytest.fixture
def annotated(tmp_path, word_film):
    """Folder of films and a file of boxes: a word, and a letter that is not there."""
    films = tmp_path / "films"
    (films / "made").mkdir(parents=True)
    cv2.imwrite(str(films / "made" / "word.png"), word_film)
    cv2.imwrite(str(films / "made" / "blank.png"), np.zeros((60, 80), np.uint8))
    rows, columns = np.nonzero(word_film == 255)
    word = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    boxes = {
        "made/word.png": {
            "width": 400,
            "height": 300,
            "boxes": [
                {
                    "box": [int(value) for value in word],
                    "kind": "word",
                    "legible": True,
                    "polarity": "bright",
                    "content": "PORTABLE",
                },
                {
                    "box": [10, 200, 30, 220],
                    "kind": "single_letter",
                    "legible": True,
                    "polarity": "dark",
                    "content": "L",
                    "marks": ["cut"],
                },
            ],
        },
        "made/blank.png": {"width": 80, "height": 60, "boxes": []},
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes), encoding="utf-8")
    return path, films


def test_bench_counts_found_and_missed_boxes(annotated, tmp_path):
    (result,) = bench_text(
        [annotated[0]], annotated[1], tmp_path / "out", detectors={"rapidocr": {}}
    )

    assert [score.is_found for score in result.scores[0].boxes] == [True, False]
    assert result.seconds_per_film > 0
    with (tmp_path / "out" / TABLE_NAME).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    recall = [r for r in rows if r["group"] == "all"]
    assert [(r["detector"], r["n_found"], r["n_total"]) for r in recall] == [("rapidocr", "1", "2")]
    with (tmp_path / "out" / MISSED_NAME).open(encoding="utf-8") as stream:
        missed = list(csv.DictReader(stream))
    assert [(m["content"], m["marks"]) for m in missed] == [("L", "cut")]
    assert cv2.imread(str(tmp_path / "out" / "missed-rapidocr.png")) is not None
    assert cv2.imread(str(tmp_path / "out" / "reliability.png")) is not None
    assert not (tmp_path / "out" / "needless-rapidocr.png").exists()
    summary = (tmp_path / "out" / SUMMARY_NAME).read_text(encoding="utf-8")
    assert "| all, legible | 50.0% (1/2; 9 to 91) |" in summary
    assert "| text-free films, touched | 0/1 |" in summary


def test_bench_names_missing_sources(annotated, tmp_path):
    with pytest.raises(DataIntegrityError, match="absent: no such folder"):
        bench_text(
            [annotated[0]], tmp_path / "absent", tmp_path / "out", detectors={"rapidocr": {}}
        )


def test_bench_refuses_unknown_detectors(annotated, tmp_path):
    with pytest.raises(CatalogError, match="unknown name 'ocr'"):
        bench_text([annotated[0]], annotated[1], tmp_path / "out", detectors={"ocr": {}})
