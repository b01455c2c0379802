"""Metrics against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from covid_debug.evaluation.metrics import N_BINS, compute_scores, list_keys

CLASSES = ("normal", "pneumonia", "COVID-19")


def make_films(N: int = 120, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, N)
    chances = rng.dirichlet(np.ones(3), N) + 0.3 * np.eye(3)[labels]
    chances = np.round(chances / chances.sum(axis=1, keepdims=True), 2)  # ties
    chances[:, 2] = 1 - chances[:, :2].sum(axis=1)
    return labels, chances, [f"p{i // 2}" for i in range(N)]


def score(labels, chances, patients, sources=None, **more):
    found = compute_scores(labels, chances, CLASSES, patients, sources, seed=0, **more)
    return dict(zip(found.keys, found.values, strict=True)), found


def test_metrics_of_each_class_equal_those_of_scikit_learn() -> None:
    labels, chances, patients = make_films()

    values, _ = score(labels, chances, patients)

    counts = confusion_matrix(labels, chances.argmax(axis=1))
    for k, name in enumerate(CLASSES):
        is_class = labels == k
        others = counts.sum() - counts[k].sum()
        assert values[name, "auroc"] == pytest.approx(roc_auc_score(is_class, chances[:, k]))
        area = average_precision_score(is_class, chances[:, k])
        assert values[name, "average_precision"] == pytest.approx(area)
        wrong = counts[:, k].sum() - counts[k, k]
        assert values[name, "specificity"] == pytest.approx(1 - wrong / others)
    for metric in ("auroc", "average_precision", "specificity", "precision"):
        mean = np.mean([values[name, metric] for name in CLASSES])
        assert values["all", metric] == pytest.approx(mean)


def test_replicates_are_the_metrics_of_the_drawn_films() -> None:
    labels, chances, patients = make_films(40)
    _, found = score(labels, chances, patients, n_resamples=3)
    counts = np.random.default_rng(0).integers(20, size=(3, 20))

    for row, drawn in zip(found.replicates, counts, strict=True):
        order = np.unique(patients)  # draws count patients in this order
        films = np.concatenate([np.flatnonzero(np.array(patients) == order[i]) for i in drawn])
        again, _ = score(labels[films], chances[films], [str(i) for i in range(len(films))])
        for key, value in zip(found.keys, row, strict=True):
            if key[1] not in {"calibration_error", "worst_group_recall"}:  # bins and groups differ
                assert value == pytest.approx(again[key], nan_ok=True), key


def test_calibration_error_of_known_bins() -> None:
    labels = np.tile([0, 2], 50)
    chances = np.tile([0.7, 0.0, 0.3], (100, 1))  # one bin's worth of equal probabilities

    values, _ = score(labels, chances, [str(i) for i in range(100)])

    assert N_BINS == 10
    assert values["normal", "calibration_error"] == pytest.approx(0.2)
    assert values["COVID-19", "calibration_error"] == pytest.approx(0.2)
    assert math.isnan(values["pneumonia", "calibration_error"])
    assert values["all", "calibration_error"] == pytest.approx(0.2)  # 0.7 sure, half right


def test_calibration_error_of_equal_probabilities_does_not_depend_on_the_order_of_films() -> None:
    labels = np.repeat([0, 2], 50)  # one class after the other, as film lists often are
    chances = np.tile([0.5, 0.0, 0.5], (100, 1))

    values, _ = score(labels, chances, [str(i) for i in range(100)])

    assert values["normal", "calibration_error"] == pytest.approx(0.0)
    assert values["all", "calibration_error"] == pytest.approx(0.0)


def test_the_worst_group_is_a_class_of_a_source_with_enough_films() -> None:
    labels = np.repeat([0, 0, 2, 2], [10, 10, 20, 5])
    sources = np.repeat(["a", "b", "a", "b"], [10, 10, 20, 5])
    said = labels.copy()
    said[:3] = 2  # 3 of 10 lost
    said[10:15] = 2  # 5 of 10 lost
    said[-5:] = 0  # all 5 lost: too few films

    values, _ = score(labels, np.eye(3)[said], [str(i) for i in range(45)], list(sources))

    assert values["all", "worst_group_recall"] == 0.5
    few, found = score([0, 2], np.eye(3)[[0, 2]], ["a", "b"])
    assert math.isnan(few["all", "worst_group_recall"])
    assert found.reasons[found.keys.index(("all", "worst_group_recall"))] == (
        "no class of a source has 10 films"
    )


def test_metrics_without_meaning_say_why() -> None:
    _, found = score([0, 0], np.eye(3)[[0, 0]], ["a", "b"])
    reasons = dict(zip(found.keys, found.reasons, strict=True))

    assert reasons["normal", "auroc"] == "all films or none are of class 'normal'"
    assert reasons["normal", "specificity"] == "no film of another class than 'normal'"
    assert reasons["COVID-19", "average_precision"] == "no film of class 'COVID-19'"
    assert reasons["normal", "precision"] == ""
    assert found.keys == list_keys(CLASSES)


def test_macro_precision_is_undefined_where_a_class_with_films_is_never_predicted() -> None:
    values, found = score([0, 1], np.eye(3)[[0, 0]], ["a", "b"])

    assert math.isnan(values["all", "precision"])
    reason = found.reasons[found.keys.index(("all", "precision"))]
    assert reason == "not defined for every class with films"
