"""Utility and detectability of attributes whose answer is known."""

import numpy as np
import pytest

from covid_debug.audit.utility import measure_auc, sort_into_kinds


def people(n: int) -> list[str]:
    return [f"p{i}" for i in range(n)]


def test_features_that_are_the_label_tell_it_and_noise_does_not():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3

    told = measure_auc(np.eye(3)[labels], labels, people(120), seed=0)
    noise = [
        measure_auc(rng.normal(size=(120, 3)), labels, people(120), seed=k).value for k in range(8)
    ]

    assert told.value == 1.0
    assert told.low > 0.9
    assert np.mean(noise) == pytest.approx(0.5, abs=0.08)  # four standard errors


def test_a_feature_that_names_the_patient_tells_nothing_about_other_patients():
    labels = np.repeat(np.random.default_rng(0).integers(0, 2, 30), 4)
    patients = [f"p{i // 4}" for i in range(120)]
    names = np.eye(30)[np.arange(120) // 4]

    found = measure_auc(names, labels, patients, seed=0)

    assert found.value == pytest.approx(0.5, abs=0.25)
    assert found.low < 0.5 < found.high


def test_labels_of_few_patients_take_no_part_and_one_label_is_undefined():
    labels = np.array([0] * 10 + [1] * 10 + [2] * 2)
    features = np.eye(3)[labels]

    found = measure_auc(features, labels, people(22), seed=0)
    lone = measure_auc(features[:10], labels[:10], people(10), seed=0)

    assert (found.value, found.n) == (1.0, 20)
    assert not lone.is_defined
    assert "needs two kinds" in lone.reason


def test_few_values_are_their_own_kinds_and_many_become_three_clusters():
    few = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    many = np.concatenate([np.arange(10), 100 + np.arange(10), 200 + np.arange(10)])[:, None] * 1.0

    assert sort_into_kinds(few, seed=0).tolist() == [0, 1, 0]
    clusters = sort_into_kinds(many, seed=0).reshape(3, 10)
    assert [len(set(row)) for row in clusters.tolist()] == [1, 1, 1]
    assert len(set(clusters[:, 0].tolist())) == 3
