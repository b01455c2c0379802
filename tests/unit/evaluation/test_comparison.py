"""Arms, test sets and seeds become one table with paired verdicts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from covid_debug.artifacts import write_artifact
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.comparison import Contrast, load_comparison, write_comparison
from covid_debug.evaluation.predictions import FilmPredictions, write_predictions

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

    rows = compare_arms(answers, NAMES, seed=0, n_resamples=50).rows

    accuracy = [row for row in rows if row.metric == "accuracy"]
    assert [row.seed for row in accuracy] == [0, 1, "pooled"]
    assert [row.value for row in accuracy] == [0.75, 0.75, 0.75]
    assert accuracy[2].n == 40


def make_contrast(right: dict[int, tuple[list[bool], list[bool]]]) -> Contrast:
    answers = []
    for seed, (first, second) in right.items():
        answers.append(make_answer("original", "cleaned", first, seed=seed))
        answers.append(make_answer("cleaned", "cleaned", second, seed=seed))
    (contrast,) = compare_arms(answers, NAMES, seed=0, n_resamples=200).contrasts
    return contrast


def test_compare_arms_two_seeds_right_on_many_more_films_has_improved() -> None:
    pair = ([i >= 20 for i in range(60)], [True] * 60)

    contrast = make_contrast({0: pair, 1: pair})

    assert (contrast.train_data, contrast.test_data) == ("cleaned", "cleaned")
    assert contrast.per_seed[0].n_only_b == 20
    accuracy = contrast.pooled[0]
    assert accuracy.metric == "accuracy"
    assert accuracy.mean == pytest.approx(1 / 3)
    assert np.isnan(accuracy.mcnemar_p)  # two pairs of models have no common test
    assert accuracy.n == 60
    assert 0.2 < accuracy.low < 1 / 3 < accuracy.high < 0.5


def test_compare_arms_one_seed_gives_an_interval() -> None:
    better = ([i >= 20 for i in range(60)], [True] * 60)

    accuracy = make_contrast({0: better}).pooled[0]

    assert accuracy.low > 0
    assert accuracy.mcnemar_p < 0.001


def test_written_comparison_of_one_seed_claims_no_improvement(tmp_path: Path) -> None:
    answers = [
        make_answer("original", "cleaned", [i >= 20 for i in range(60)]),
        make_answer("cleaned", "cleaned", [True] * 60),
    ]
    write_comparison(tmp_path, compare_arms(answers, NAMES, seed=0, n_resamples=50))

    assert "improved" not in (tmp_path / "comparison.json").read_text()


def test_compare_arms_one_discordant_film_leaves_zero_in() -> None:
    pair = ([True] * 39 + [False], [True] * 40)

    accuracy = make_contrast({0: pair, 1: pair}).pooled[0]

    assert accuracy.low <= 0 < accuracy.mean


def test_compare_arms_metric_without_a_value_is_undefined() -> None:
    right = ([i % 2 == 0 for i in range(20)], [i % 2 == 0 for i in range(20)])  # never COVID-19

    contrast = make_contrast({0: right, 1: right})
    pooled = {(one.class_name, one.metric): one for one in contrast.pooled}

    assert np.isnan(pooled["COVID-19", "precision"].mean)


def test_contrast_pairs_only_films_that_both_versions_have() -> None:
    answers = [
        make_answer("original", "original", [True] * 6),
        make_answer("cleaned", "original", [True, False, True], ids=[5, 1, 2]),
    ]

    comparison = compare_arms(answers, NAMES, seed=0, n_resamples=50)

    assert comparison.contrasts[0].per_seed[0].n == 3
    assert comparison.contrasts[0].per_seed[0].n_only_a == 1


def test_contrast_also_pairs_where_the_original_arm_lacks_films() -> None:
    answers = [
        make_answer("original", "original", [True, False], ids=[4, 1]),
        make_answer("cleaned", "original", [True] * 6),
    ]

    (contrast,) = compare_arms(answers, NAMES, seed=0, n_resamples=50).contrasts

    assert (contrast.per_seed[0].n, contrast.per_seed[0].n_only_b) == (2, 1)


def test_written_tables_can_be_read_back(tmp_path: Path) -> None:
    answers = [make_answer("original", "original", [True, False, True, True])]
    answers.append(make_answer("cleaned", "original", [True, False, True, False]))
    comparison = compare_arms(answers, NAMES, seed=0, n_resamples=50)

    with write_artifact(tmp_path / "compared", kind="comparison") as draft:
        write_comparison(draft.path, comparison)
        write_predictions(draft.path / "predictions.csv", answers, NAMES)

    tmp_path = tmp_path / "compared"
    assert repr(load_comparison(tmp_path)) == repr(comparison)  # NaN is not equal to itself

    with (tmp_path / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["metric"] == "accuracy"
    assert float(rows[0]["value"]) == 0.75
    assert json.loads((tmp_path / "comparison.json").read_text())["cells"][0]["n_ok"] == 4
    with (tmp_path / "predictions.csv").open() as stream:
        answers_back = list(csv.DictReader(stream))
    assert answers_back[1]["label"] == "COVID-19"
    assert answers_back[1]["predicted"] == "normal"
