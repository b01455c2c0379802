"""Closed-form cases of the statistics."""

import json
import time

import numpy as np
import pytest
from scipy import stats

from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import (
    benjamini_hochberg,
    bound_share_above,
    cluster_bootstrap,
    mcnemar_exact,
    paired_bootstrap_difference,
    summarise_replicates,
    wilson_interval,
)
from covid_debug.records_json import to_plain


def _mean(sums):
    return sums[:, 0] / sums[:, 1]


def test_wilson_interval_of_eight_of_ten_matches_published_value():
    estimate = wilson_interval(8, 10)

    assert estimate.value == 0.8
    assert estimate.low == pytest.approx(0.49016, abs=1e-5)
    assert estimate.high == pytest.approx(0.94332, abs=1e-5)
    assert estimate.n == 10


def test_wilson_interval_at_the_ends_reaches_exactly_zero_and_one():
    z2 = 1.959963984540054**2

    assert wilson_interval(0, 5).low == 0.0
    assert wilson_interval(0, 5).high == pytest.approx(z2 / (5 + z2))
    assert wilson_interval(5, 5).high == 1.0
    assert wilson_interval(5, 5).low == pytest.approx(5 / (5 + z2))


def test_wilson_interval_without_observations_is_undefined_and_json_null():
    estimate = wilson_interval(0, 0)

    assert not estimate.is_defined
    assert json.loads(json.dumps(to_plain(estimate), allow_nan=False)) == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "reason": "no observations",
    }


def test_wilson_interval_rejects_impossible_input():
    with pytest.raises(InputContractError, match="k = 3 of n = 2"):
        wilson_interval(3, 2)
    with pytest.raises(InputContractError, match=r"confidence = 1\.0"):
        wilson_interval(1, 2, confidence=1.0)


@pytest.mark.parametrize(
    ("b", "c", "expected"),
    [(0, 0, 1.0), (5, 0, 2 / 2**5), (1, 9, 2 * 11 / 2**10), (3, 3, 1.0)],
)
def test_mcnemar_exact_matches_the_binomial(b, c, expected):
    assert mcnemar_exact(b, c) == pytest.approx(expected)
    assert mcnemar_exact(c, b) == pytest.approx(expected)


def test_mcnemar_exact_rejects_negative_counts():
    with pytest.raises(InputContractError, match="must not be negative"):
        mcnemar_exact(-1, 2)


def test_benjamini_hochberg_matches_hand_calculation_and_keeps_nan():
    q = benjamini_hochberg([0.04, np.nan, 0.01, 0.03, 0.5])

    # sorted: .01*4/1, .03*4/2, .04*4/3, .5*4/4 -> .04, .0533 (min with next .0533), .0533, .5
    np.testing.assert_allclose(q, [0.16 / 3, np.nan, 0.04, 0.16 / 3, 0.5])
    assert benjamini_hochberg([]).size == 0


def test_benjamini_hochberg_rejects_values_outside_the_unit_interval():
    with pytest.raises(InputContractError, match=r"p_values must be in \[0, 1\]"):
        benjamini_hochberg([0.2, 1.2])


def test_cluster_bootstrap_spread_equals_the_standard_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    table = np.stack([values, np.ones(400)], axis=1)

    replicates = cluster_bootstrap(table, np.arange(400), _mean, seed=1, n_resamples=4000)

    # sd of 4000 replicates has a relative error of 1/sqrt(8000) = 1.1 %; 5 sd allowed
    assert replicates.std() == pytest.approx(values.std() / 20, rel=0.056)


def test_cluster_bootstrap_of_copied_films_is_as_wide_as_of_the_patients():
    values = np.random.default_rng(0).normal(size=50)
    once = np.stack([values, np.ones(50)], axis=1)
    copied = np.repeat(once, 4, axis=0)

    single = cluster_bootstrap(once, np.arange(50), _mean, seed=3)
    clustered = cluster_bootstrap(copied, np.repeat(np.arange(50), 4), _mean, seed=3)

    np.testing.assert_allclose(clustered, single)


def test_cluster_bootstrap_ignores_the_order_of_films_and_repeats_with_the_seed():
    rng = np.random.default_rng(0)
    table = np.stack([rng.integers(0, 2, 60), np.ones(60)], axis=1)
    patients = np.array([f"p{i % 20}" for i in range(60)])
    order = rng.permutation(60)

    first = cluster_bootstrap(table, patients, _mean, seed=5, n_resamples=50)

    np.testing.assert_array_equal(
        first, cluster_bootstrap(table[order], patients[order], _mean, seed=5, n_resamples=50)
    )
    assert not np.array_equal(
        first, cluster_bootstrap(table, patients, _mean, seed=6, n_resamples=50)
    )


def test_cluster_bootstrap_of_thousand_resamples_is_fast():
    table = np.ones((300, 9))
    start = time.process_time()

    cluster_bootstrap(table, np.arange(300), lambda sums: sums, seed=0, n_resamples=1000)

    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("table", "clusters", "n_resamples", "message"),
    [
        (np.ones((3, 1)), ["a"], 10, "for 1 clusters"),
        (np.ones(3), ["a", "b", "c"], 10, r"shape \(3,\)"),
        (np.ones((0, 1)), [], 10, "N >= 1"),
        (np.ones((1, 1)), ["a"], 0, "n_resamples = 0"),
    ],
)
def test_cluster_bootstrap_rejects_bad_input(table, clusters, n_resamples, message):
    with pytest.raises(InputContractError, match=message):
        cluster_bootstrap(table, clusters, _mean, seed=0, n_resamples=n_resamples)


def test_summarise_replicates_without_spread_falls_back_to_wilson_over_patients():
    estimate = summarise_replicates(1.0, np.ones(100), n=20, n_clusters=10, bounds=(0.0, 1.0))

    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(wilson_interval(10, 10).low)
    assert "every resample" in estimate.reason


def test_summarise_replicates_leaves_out_undefined_resamples():
    replicates = np.array([np.nan, 0.0, 1.0])

    estimate = summarise_replicates(0.5, replicates, n=4, n_clusters=4, bounds=(0.0, 1.0))

    assert estimate.low == pytest.approx(0.025)
    assert estimate.high == pytest.approx(0.975)
    undefined = summarise_replicates(0.5, replicates[:1], n=4, n_clusters=4, bounds=(0.0, 1.0))
    assert not undefined.is_defined


def test_paired_bootstrap_difference_has_the_sign_of_b_minus_a():
    a = np.linspace(0, 1, 50)
    noise = np.where(np.arange(50) % 2 == 0, 0.05, -0.05)

    estimate = paired_bootstrap_difference(a, a + 0.1 + noise, np.arange(50), seed=0)

    assert estimate.value == pytest.approx(0.1)
    assert 0.08 < estimate.low < 0.1 < estimate.high < 0.12


def test_paired_bootstrap_difference_handles_none_and_rejects_unequal_lengths():
    assert not paired_bootstrap_difference([], [], [], seed=0).is_defined
    with pytest.raises(InputContractError, match="differ"):
        paired_bootstrap_difference([1.0], [1.0, 2.0], ["a"], seed=0)


def test_upper_bound_of_a_share_is_clopper_and_pearsons_where_every_patient_has_one_film():
    patients = [f"p{i}" for i in range(59)]

    assert bound_share_above([False] * 59, patients) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert bound_share_above([False] * 59, patients) == pytest.approx(0.0495, abs=1e-4)
    # 3 of 10: Clopper and Pearson's table, one-sided 95 %. Hits as common in every patient.
    assert bound_share_above([True] * 3 + [False] * 7, patients[:10]) < 0.63
    assert bound_share_above([True] * 3 + [False] * 7, patients[:10]) > 0.6066
    assert bound_share_above([True] * 5, patients[:5]) == 1.0
    assert bound_share_above([], []) == 1.0
    with pytest.raises(InputContractError, match="for 2 clusters"):
        bound_share_above([True], ["a", "b"])


def test_upper_bound_counts_patients_and_not_films():
    films = bound_share_above([False] * 40, [f"p{i}" for i in range(40)])

    assert bound_share_above([False] * 40, ["p"] * 40) == pytest.approx(0.95)
    assert bound_share_above([False] * 40, [f"p{i // 2}" for i in range(40)]) > films


def test_upper_bound_grows_where_hits_gather_in_a_large_cluster():
    hits, patients = [True] * 10 + [False] * 30, ["p"] * 10 + [f"q{i}" for i in range(30)]

    # Hits of p: 10 of 2.5 expected; of each other: 0 of 0.25. Korn and Graubard's number of films:
    variance = (7.5**2 + 30 * 0.25**2) / 40**2 * 31 / 30
    n = 0.25 * 0.75 / variance

    assert n < 40**2 / (10**2 + 30)  # Kish's number
    expected = stats.beta.ppf(0.95, 0.25 * n + 1, 0.75 * n)
    assert bound_share_above(hits, patients) == pytest.approx(expected)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_upper_bound_covers_the_share_with_correlated_films_of_a_patient(correlation, share):
    generator = np.random.default_rng(1)
    n_covered, n_trials = 0, 300
    for _ in range(n_trials):
        n_films = np.minimum(generator.zipf(1.8, 80), 30)  # a few patients have very many
        chance = np.full(80, share)
        if correlation == 1.0:
            chance = (generator.random(80) < share).astype(float)
        elif correlation:
            chance = generator.beta(share, 1 - share, 80)  # correlation 1 / (1 + 1)
        patients = np.repeat(np.arange(80), n_films)
        hits = generator.random(len(patients)) < chance[patients]
        n_covered += bound_share_above(hits, patients) >= share

    assert n_covered / n_trials >= 0.925  # 0.95 less two standard errors of 300 trials
