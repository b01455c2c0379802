"""Classification metrics against hand calculation and scikit-learn."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from covid_debug.errors import InputContractError
from covid_debug.evaluation.classification import (
    PairedComparison,
    compare_scores,
    compute_classification,
)
from covid_debug.evaluation.metrics import compute_scores
from covid_debug.records_json import to_plain

CLASSES = ("normal", "pneumonia", "COVID-19")


def compare_predictions(labels, first, second, names, patients, *, seed) -> PairedComparison:
    a, b = (compute_scores(labels, p, names, patients, seed=seed) for p in (first, second))
    return compare_scores(a, b)


def _one_hot(predicted, K=3):
    return np.eye(K)[np.asarray(predicted)]


def test_metrics_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 90), rng.integers(0, 3, 90)

    result = compute_classification(
        labels, _one_hot(predicted), CLASSES, [f"p{i // 2}" for i in range(90)], seed=1
    )

    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted)
    for k, name in enumerate(CLASSES):
        found = [result.estimates[name, metric] for metric in ("precision", "recall", "f1")]
        assert [one.value for one in found] == pytest.approx([precision[k], recall[k], f1[k]])
        assert found[1].low < recall[k] < found[1].high
    assert result.macro_f1.value == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert result.accuracy.value == pytest.approx(np.mean(labels == predicted))
    assert result.n_patients == 45


def test_confusion_has_true_classes_in_rows():
    result = compute_classification(
        [0, 0, 2], _one_hot([0, 1, 2]), CLASSES, ["a", "b", "c"], seed=0
    )

    np.testing.assert_array_equal(result.confusion, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])


def test_class_without_films_is_undefined_with_a_reason_and_left_out_of_macro_f1():
    result = compute_classification(
        [0, 0, 2, 2], _one_hot([0, 0, 2, 0]), CLASSES, ["a", "b", "c", "d"], seed=0
    )

    assert math.isnan(result.estimates["pneumonia", "recall"].value)
    assert result.estimates["pneumonia", "recall"].reason == "no film of class 'pneumonia'"
    assert (
        result.estimates["pneumonia", "precision"].reason == "class 'pneumonia' is never predicted"
    )
    assert result.macro_f1.value == pytest.approx((0.8 + 2 / 3) / 2)


def test_perfect_recall_does_not_claim_certainty():
    result = compute_classification(
        [0, 0, 1, 1], _one_hot([0, 0, 1, 1], 2), CLASSES[:2], ["a", "b", "c", "d"], seed=0
    )

    assert result.estimates["normal", "recall"].value == 1.0
    assert result.estimates["normal", "recall"].low == pytest.approx(2 / (2 + 1.959963984540054**2))


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_have_films():
    labels = [0, 0, 0, 1]

    result = compute_classification(
        labels, _one_hot([0, 0, 0, 0], 3), CLASSES, ["a", "b", "c", "d"], seed=0
    )

    assert result.accuracy.value == 0.75
    assert result.balanced_accuracy.value == 0.5


def test_rows_name_every_metric_once():
    result = compute_classification([0, 1], _one_hot([0, 1], 2), CLASSES[:2], ["a", "b"], seed=0)

    keys = [(name, metric) for name, metric, _ in result.rows()]

    assert [metric for name, metric in keys if name == "all"] == [
        *("accuracy", "macro_f1", "balanced_accuracy", "precision", "specificity", "auroc"),
        *("average_precision", "calibration_error", "worst_group_recall"),
    ]
    assert len(set(keys)) == len(keys) == 9 + 2 * 7


def test_compare_predictions_a_clearly_better_model_is_beyond_zero():
    labels = np.tile([0, 1], 50)
    worse = np.where(np.arange(100) % 4 < 2, labels, 1 - labels)
    patients = [f"p{i}" for i in range(100)]

    result = compare_predictions(
        labels, _one_hot(worse, 2), _one_hot(labels, 2), CLASSES[:2], patients, seed=0
    )

    assert (result.n_only_a, result.n_only_b, result.n) == (0, 50, 100)
    assert result.mcnemar_p == pytest.approx(2 / 2**50)
    assert result.differences[0].difference.value == pytest.approx(0.5)
    for entry in result.differences:
        better = -1 if entry.metric == "calibration_error" else 1
        assert better * entry.difference.value > 0
        assert entry.difference.low * entry.difference.high > 0
    reversed_ = compare_predictions(
        labels, _one_hot(labels, 2), _one_hot(worse, 2), CLASSES[:2], patients, seed=0
    )
    assert reversed_.differences[0].difference.high < 0
    json.dumps(to_plain(result), allow_nan=False)


def test_compare_predictions_equal_ones_have_an_interval_around_zero():
    labels = np.tile([0, 1], 20)

    result = compare_predictions(
        labels,
        _one_hot(labels, 2),
        _one_hot(labels, 2),
        CLASSES[:2],
        [f"p{i}" for i in range(40)],
        seed=0,
    )

    assert result.mcnemar_p == 1.0
    assert result.differences[0].difference.low < 0 < result.differences[0].difference.high


def test_comparison_on_few_patients_is_not_fooled_by_many_films():
    labels = np.zeros(60, dtype=int)
    worse = np.repeat([1, 0, 0], 20)

    result = compare_predictions(
        labels,
        _one_hot(worse, 2),
        _one_hot(labels, 2),
        CLASSES[:2],
        ["a"] * 20 + ["b"] * 40,
        seed=0,
    )

    assert result.mcnemar_p < 1e-4
    assert result.differences[0].difference.low <= 0


@pytest.mark.parametrize(
    ("labels", "probabilities", "names", "patients", "message"),
    [
        ([], np.zeros((0, 2)), CLASSES[:2], [], "at least 1 film"),
        ([0], [[1.0, 0.0]], CLASSES[:2], ["a", "b"], "2 patients"),
        ([2], [[1.0, 0.0]], CLASSES[:2], ["a"], r"integers in \[0, 2\)"),
        ([0], [[1.0, 0.0, 0.0]], CLASSES[:2], ["a"], r"expected \(1, 2\)"),
        ([0], [[3.0, -1.0]], CLASSES[:2], ["a"], "add up to 1"),
        ([0], [[np.nan, 1.0]], CLASSES[:2], ["a"], "film 0"),
        ([0], [[1.0, 0.0]], ("all", "b"), ["a"], "reserved word 'all'"),
    ],
)
def test_bad_tables_are_refused(labels, probabilities, names, patients, message):
    with pytest.raises(InputContractError, match=message):
        compute_classification(labels, probabilities, names, patients, seed=0)


def test_precision_rests_on_the_predicted_films_and_recall_on_the_true_ones():
    result = compute_classification(
        [0, 0, 0, 1], _one_hot([0, 1, 1, 1], 2), CLASSES[:2], ["a", "b", "c", "d"], seed=0
    )

    name = CLASSES[1]
    assert (
        result.estimates[name, "precision"].n,
        result.estimates[name, "recall"].n,
        result.estimates[name, "f1"].n,
    ) == (3, 1, 1)
    assert result.estimates[name, "precision"].value == pytest.approx(1 / 3)
    assert result.estimates[name, "recall"].value == 1.0
    assert result.estimates[name, "f1"].value == 0.5
