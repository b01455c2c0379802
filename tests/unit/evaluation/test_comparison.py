"""Arms, test sets and seeds become one table with paired verdicts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from covid_debug.evaluation.comparison import (
    FilmPredictions,
    compare_arms,
    write_comparison,
    write_predictions,
)

NAMES = ("normal", "COVID-19")


def make_answer(
    arm: str, test_data: str, right: list[bool], *, seed: int = 0, ids: list[int] | None = None
) -> FilmPredictions:
    ids = list(range(len(right))) if ids is None else ids
    labels = np.array([i % 2 for i in ids], dtype=np.int64)
    predicted = np.where(right, labels, 1 - labels)
    probabilities = np.full((len(ids), 2), 0.1, dtype=np.float32)
    probabilities[np.arange(len(ids)), predicted] = 0.9
    return FilmPredictions(
        arm=arm,
        seed=seed,
        test_data=test_data,
        image_ids=tuple(f"film{i}" for i in ids),
        patients=tuple(f"p{i}" for i in ids),
        sources=("s",) * len(ids),
        labels=labels,
        probabilities=probabilities,
        n_total=len(ids),
    )


def test_rows_hold_every_cell_and_a_pooled_row() -> None:
    answers = [
        make_answer("original", "original", [True] * 30 + [False] * 10, seed=seed)
        for seed in (0, 1)
    ]

    rows = compare_arms(answers, NAMES, seed=0, n_resamples=50).rows()

    accuracy = [row for row in rows if row["metric"] == "accuracy"]
    assert [row["seed"] for row in accuracy] == [0, 1, "pooled"]
    assert [row["value"] for row in accuracy] == [0.75, 0.75, 0.75]
    assert accuracy[2]["n"] == 40


def test_arm_that_is_right_on_many_more_films_has_improved() -> None:
    answers = [
        make_answer("original", "cleaned", [i >= 20 for i in range(60)]),
        make_answer("cleaned", "cleaned", [True] * 60),
    ]

    (contrast,) = compare_arms(answers, NAMES, seed=0, n_resamples=200).contrasts

    assert (contrast.arm, contrast.test_data) == ("cleaned", "cleaned")
    assert contrast.per_seed[0].n_only_b == 20
    accuracy = contrast.pooled[0]
    assert accuracy.metric == "accuracy"
    assert accuracy.summary.mean == pytest.approx(1 / 3)
    assert accuracy.verdict == "improved"


def test_one_discordant_film_is_no_evidence() -> None:
    answers = [
        make_answer("original", "original", [True] * 39 + [False]),
        make_answer("placebo", "original", [True] * 40),
    ]

    (contrast,) = compare_arms(answers, NAMES, seed=0, n_resamples=200).contrasts

    assert contrast.pooled[0].verdict == "no evidence"


def test_contrast_pairs_only_films_that_both_versions_have() -> None:
    answers = [
        make_answer("original", "original", [True] * 6),
        make_answer("cleaned", "original", [True, False, True], ids=[5, 1, 2]),
    ]

    comparison = compare_arms(answers, NAMES, seed=0, n_resamples=50)

    assert comparison.contrasts[0].per_seed[0].n == 3
    assert comparison.contrasts[0].per_seed[0].n_only_a == 1


def test_written_tables_can_be_read_back(tmp_path: Path) -> None:
    answers = [make_answer("original", "original", [True, False, True, True])]
    comparison = compare_arms(answers, NAMES, seed=0, n_resamples=50)

    write_comparison(tmp_path, comparison)
    write_predictions(tmp_path / "predictions.csv", answers, NAMES)

    with (tmp_path / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["metric"] == "accuracy"
    assert float(rows[0]["value"]) == 0.75
    assert json.loads((tmp_path / "comparison.json").read_text())["cells"][0]["n_ok"] == 4
    with (tmp_path / "predictions.csv").open() as stream:
        answers_back = list(csv.DictReader(stream))
    assert answers_back[1]["label"] == "COVID-19"
    assert answers_back[1]["predicted"] == "normal"
