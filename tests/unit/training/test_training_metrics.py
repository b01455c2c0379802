"""Validation metrics in closed form."""

import math

import numpy as np
import pytest

from covid_debug.training.metrics import compute_validation_metrics


def test_metrics_of_four_films():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.5, 0.5], [0.8, 0.2], [0.2, 0.8], [0.25, 0.75]], np.float32)

    metrics = compute_validation_metrics(labels, probabilities)

    loss_0 = -(math.log(0.5) + math.log(0.8) + math.log(0.2)) / 3
    assert metrics.loss == pytest.approx((loss_0 - math.log(0.75)) / 2, rel=1e-6)
    assert metrics.accuracy == 3 / 4
    # Class 0: 2 hits, 3 films, 2 predicted; class 1: 1 hit, 1 film, 2 predicted.
    assert metrics.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_certain_and_wrong_has_a_finite_loss():
    metrics = compute_validation_metrics(np.array([0]), np.array([[0.0, 1.0]], np.float32))

    assert metrics.loss == pytest.approx(-math.log(1e-7))
    assert metrics.macro_f1 == 0
