"""Recall by source, and what a model knows beyond chance and its source."""

import math

import numpy as np
import pytest

from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.predictions import FilmPredictions

NAMES = ("normal", "COVID-19")
N = 80


def compare(right_by_seed: list[np.ndarray], from_source=None, n_first: int = 40):
    labels, ids = np.arange(N) % 2, tuple(f"f{i}" for i in range(N))
    sources = tuple("ab"[i >= n_first] for i in range(N))
    answers = [
        FilmPredictions(
            *("original", seed, "original", ids, ids, sources, labels),
            np.eye(2)[np.where(right, labels, 1 - labels)].astype(np.float32),
            N,
        )
        for seed, right in enumerate(right_by_seed)
    ]
    return compare_arms(answers, NAMES, seed=0, from_source=from_source, n_resamples=200)


def test_groups_have_their_recall_and_the_worst_is_marked() -> None:
    right = np.ones(N, bool)
    right[:20] = False  # half of both classes of source a
    right[20:30:2] = False  # and five more normal films

    groups = compare([right, right]).groups

    assert [(g.source, g.class_name, g.value, g.n) for g in groups] == [
        ("a", "normal", 5 / 20, 20),
        ("a", "COVID-19", 10 / 20, 20),
        ("b", "normal", 1.0, 20),
        ("b", "COVID-19", 1.0, 20),
    ]
    assert [g.is_worst for g in groups] == [True, False, False, False]
    assert groups[0].low < 0.25 < groups[0].high < 0.6
    assert groups[2].high == 1.0
    assert groups[2].low < 0.9


def test_a_model_of_the_source_alone_is_above_chance_and_not_above_the_source() -> None:
    labels = np.arange(N) % 2
    said = {f"f{i}": int(i >= 40) for i in range(N)}
    said |= {f"f{i}": int(labels[i]) for i in range(20)}  # the source says somewhat more
    right = np.array([said[f"f{i}"] == labels[i] for i in range(N)])

    (footing,) = compare([right] * 3, {"original": said}).footing

    assert footing.chance == 0.5
    assert footing.from_source == pytest.approx(footing.balanced_accuracy.value)
    assert footing.over_source.value == 0.0
    assert footing.is_above_source is False


def test_a_model_that_knows_more_and_one_that_knows_nothing() -> None:
    (good,) = compare(
        [np.arange(N) % 10 > 0] * 3, {"original": dict.fromkeys(map("f{}".format, range(N)), 1)}
    ).footing
    (none,) = compare([np.arange(N) % 4 < 2] * 3).footing

    assert (good.is_above_chance, good.is_above_source) == (True, True)
    assert good.from_source == 0.5
    assert none.is_above_chance is False
    assert none.is_above_source is None
    assert math.isnan(none.from_source)


def test_a_little_above_chance_is_not_measurably_above_it() -> None:
    (footing,) = compare([np.arange(N) < 42] * 3).footing

    assert footing.balanced_accuracy.value == pytest.approx(0.525)
    assert footing.is_above_chance is False


def test_a_group_of_few_films_is_not_called_the_worst() -> None:
    right = np.ones(N, bool)
    right[:8] = False  # all eight films of source a
    right[8::2] = False  # and all normal films of source b

    groups = compare([right] * 2, n_first=8).groups

    assert [(g.source, g.n, g.is_worst) for g in groups] == [
        *(("a", 4, False), ("a", 4, False)),
        *(("b", 36, True), ("b", 36, False)),
    ]


def answer(arm: str, seed: int, test: str, right: np.ndarray) -> FilmPredictions:
    labels, ids = np.arange(N) % 2, tuple(f"f{i}" for i in range(N))
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)].astype(np.float32)
    return FilmPredictions(arm, seed, test, ids, ids, ("a",) * N, labels, probabilities, N)


def test_text_loss_is_what_exchanged_text_costs_and_what_the_original_arm_loses_more() -> None:
    own, half, most = np.ones(N, bool), np.arange(N) >= N // 2, np.arange(N) >= N // 8
    answers = [
        answer(arm, seed, test, right)
        for seed in range(3)
        for arm, test, right in (
            ("original", "original", own),
            ("original", "swapped", half),
            ("cleaned", "original", own),
            ("cleaned", "swapped", most),
            ("placebo", "original", own),
        )
    ]

    original, cleaned = compare_arms(answers, NAMES, seed=0, n_resamples=200).text_losses

    assert (original.train_data, original.test_data) == ("original", "swapped")
    assert original.loss.value == pytest.approx(1 / 2)
    assert not original.less_original.is_defined
    assert cleaned.loss.value == pytest.approx(1 / 8)
    assert cleaned.less_original.value == pytest.approx(1 / 8 - 1 / 2)
    assert cleaned.less_original.high < 0
    assert compare([own]).text_losses == ()
