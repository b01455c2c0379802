"""Areas under the ROC curve of known orders."""

import numpy as np
import pytest

from covid_debug.evaluation.auc import estimate_macro_auc, weighted_auc


def test_weighted_auc_of_known_orders():
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    positive = np.array([False, False, True, True])

    # Pairs: (0.4, 0.1) 1, (0.4, 0.4) one half, (0.8, 0.1) 1, (0.8, 0.4) 1.
    weights = np.array([[1.0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0]])

    area = weighted_auc(scores, positive, weights)

    np.testing.assert_allclose(area, [3.5 / 4, 1.0, np.nan])


def test_scores_that_order_two_of_three_labels_right_average_their_areas():
    labels = np.repeat([0, 1, 2], 4)
    scores = np.zeros((12, 3))
    scores[:4, 0] = 1.0  # label 0 is always found: area 1
    scores[4:, 1] = 1.0  # labels 1 and 2 are not told apart: area (4 + 4 / 2) / 8
    # nothing is said of label 2: area 1 / 2

    found = estimate_macro_auc(scores, labels, [f"p{i}" for i in range(12)], seed=0)

    assert found.value == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert found.low <= found.value <= found.high
    assert found.n == 12


def test_films_of_one_patient_count_as_one():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 20), 10)
    scores = np.repeat(rng.random(20), 10)[:, None] * [1, -1]
    alone = estimate_macro_auc(scores, labels, [f"p{i}" for i in range(200)], seed=0)
    shared = estimate_macro_auc(scores, labels, [f"p{i // 10}" for i in range(200)], seed=0)

    assert shared.value == alone.value
    assert shared.reason == alone.reason == ""  # of drawn patients, not Wilson's
    assert shared.high - shared.low > 2 * (alone.high - alone.low)
