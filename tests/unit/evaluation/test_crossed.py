"""Closed-form cases of the two-way bootstrap."""

import math

import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.evaluation.crossed import UNBOUNDED, add_seeds, two_way_bootstrap
from covid_debug.evaluation.statistics import Estimate


def _mean(sums):
    return sums[:, 0] / sums[:, 1]


def test_two_way_bootstrap_draws_rows_and_columns_whole():
    rows = np.repeat(["a", "b"], 2)
    columns = np.tile(["x", "y"], 2)
    values = np.array([0.0, 1.0, 10.0, 11.0])  # 10 for the row b, 1 for the column y
    table = np.stack([values, np.ones(4)], axis=1)

    replicates = two_way_bootstrap(table, rows, columns, _mean, seed=0, n_resamples=4000)

    # Each side draws its two clusters as (2, 0), (1, 1) or (0, 2) with chances 1/4, 1/2, 1/4.
    found, counts = np.unique(np.round(replicates, 6), return_counts=True)
    np.testing.assert_allclose(found, [0, 0.5, 1, 5, 5.5, 6, 10, 10.5, 11])
    expected = np.outer([1, 2, 1], [1, 2, 1]).ravel() / 16
    np.testing.assert_allclose(counts / 4000, expected, atol=0.03)


def test_two_way_bootstrap_has_the_variance_of_both_sides():
    generator = np.random.default_rng(0)
    n = 30
    of_row, of_column = generator.normal(size=n), 2 * generator.normal(size=n)
    values = (of_row[:, None] + of_column).ravel()
    rows, columns = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    table = np.stack([values, np.ones(n * n)], axis=1)

    replicates = two_way_bootstrap(table, rows, columns, _mean, seed=1, n_resamples=4000)

    assert np.var(replicates) == pytest.approx((of_row.var() + of_column.var()) / n, rel=0.1)


@pytest.mark.parametrize(
    ("table", "rows", "n_resamples", "message"),
    [
        (np.ones((2, 1)), ["a"], 10, "for 1 rows and 1 columns"),
        (np.ones((0, 1)), [], 10, "N >= 1"),
        (np.ones((1, 1)), ["a"], 0, "n_resamples = 0"),
    ],
)
def test_two_way_bootstrap_refuses_what_does_not_fit(table, rows, n_resamples, message):
    with pytest.raises(InputContractError, match=message):
        two_way_bootstrap(table, rows, rows, _mean, seed=0, n_resamples=n_resamples)


def test_seeds_widen_the_interval_over_patients():
    over_patients = Estimate(2.0, 1.5, 2.25, 40, "said")
    wide = {"n_clusters": 10**6, "bounds": UNBOUNDED}

    found = add_seeds([1.0, 2.0, 3.0], over_patients, **wide)

    # Howe: Student's t with two degrees of freedom, sd 1, beside the films' mean half-width.
    half = math.hypot(0.375, 4.302653 / 3**0.5)
    assert (found.value, found.n, found.reason) == (2.0, 40, "said")
    assert found.low == pytest.approx(2 - half * 0.5 / 0.375, rel=1e-5)
    assert found.high == pytest.approx(2 + half * 0.25 / 0.375, rel=1e-5)
    one = add_seeds([2.0], over_patients, **wide)
    assert (one.low, one.high) == pytest.approx((1.5, 2.25), rel=1e-5)
    nothing = Estimate.undefined(3, "no film")
    assert add_seeds([math.nan], nothing, **wide) == nothing
