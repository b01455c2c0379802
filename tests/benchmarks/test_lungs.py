"""The bench of the lung finder: what is counted, and that annotations are what they say."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.lungs.annotations import load_annotations
from benchmarks.lungs.measure import (
    PHANTOM,
    LungScore,
    describe_repeats,
    describe_scores,
    measure_overlap,
    threshold_by_otsu,
)
from covid_debug.errors import DataIntegrityError


def test_overlap_of_half_a_square() -> None:
    true, found = np.zeros((10, 10), np.bool_), np.zeros((10, 10), np.bool_)
    true[:, :4] = True
    found[:, 2:4] = True

    assert measure_overlap(found, true) == (pytest.approx(2 * 20 / 60), 0.5)
    assert measure_overlap(true, true) == (1.0, 1.0)


def test_otsu_takes_what_is_dark() -> None:
    film = np.full((20, 20), 200, np.uint8)
    film[5:10] = 40

    np.testing.assert_array_equal(threshold_by_otsu(film), film == 40)


def test_shipped_annotations() -> None:
    drawn = load_annotations()

    uses = [entry.use for entry in drawn]
    assert uses.count("test") >= 40
    assert uses.count("choose") >= 15
    assert set(uses) == {"fit", "choose", "test"}
    assert len({entry.image_id for entry in drawn}) == len(drawn)
    assert sum(bool(entry.again) for entry in drawn) == 8
    for entry in drawn:
        assert len(entry.lungs) == 2
        assert 0.05 < entry.drawn().mean() < 0.6
        for x, y in (corner for outline in entry.lungs for corner in outline):
            assert 0 <= x <= entry.width
            assert 0 <= y <= entry.height
    assert "lowest" in describe_repeats(drawn)


@pytest.mark.parametrize("text", ["[]", "{", json.dumps({"a": {"use": "fit"}})])
def test_other_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataIntegrityError, match="is not a file of annotated lungs"):
        load_annotations(path)


def test_table_names_groups_methods_and_worst_films() -> None:
    scores = [
        LungScore(
            f"film{k}", f"p{k // 2}", source, "normal", "test", method, 0.5 + k / 20, 0.9, 0.01
        )
        for source in ("cohen", PHANTOM)
        for k in range(6)
        for method in ("find_lungs", "fixed atlas", "Otsu")
    ]

    text = describe_scores(scores)

    assert "| test: cohen | 6 | find_lungs | 0.625 [" in text
    assert "| phantoms | 6 | Otsu |" in text
    assert "| film0 | cohen | normal | 0.500 |" in text
