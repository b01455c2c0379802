"""The interval over patients and seeds against the analysis of variance done by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from covid_debug.errors import InputContractError
from covid_debug.evaluation.crossed import UNBOUNDED, UNIT, crossed_estimate
from covid_debug.evaluation.statistics import draw_clusters

P, S = 60, 4


def make_table(seed: int = 0, *, patients: float = 1.0, seeds: float = 0.3) -> np.ndarray:
    """Return ``(P, S)`` values: a patient's, a seed's and noise."""
    rng = np.random.default_rng(seed)
    of_patients = patients * rng.normal(size=(P, 1))
    return 2.0 + of_patients + seeds * rng.normal(size=(1, S)) + rng.normal(size=(P, S))


def estimate(table: np.ndarray, *, bounds=UNBOUNDED, n_resamples: int = 8000):
    weights = draw_clusters(len(table), seed=1, n_resamples=n_resamples)
    replicates = weights @ table / weights.sum(axis=1, keepdims=True)
    return crossed_estimate(
        table.mean(axis=0), replicates, n=len(table), n_clusters=len(table), bounds=bounds
    )


def test_the_variances_are_those_of_the_two_way_layout() -> None:
    table = make_table()
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    of_rows = S * ((rows - grand) ** 2).sum() / (P - 1)
    of_columns = P * ((columns - grand) ** 2).sum() / (S - 1)
    left = table - rows[:, None] - columns + grand
    of_noise = (left**2).sum() / ((P - 1) * (S - 1))

    found = estimate(table)

    variance = (of_rows + of_columns - of_noise) / (P * S)  # Searle, Casella and McCulloch
    assert found.estimate.value == pytest.approx(grand)
    assert found.of_patients == pytest.approx(of_rows / (P * S), rel=0.05)
    assert found.spread == pytest.approx(of_columns / (P * S))
    assert found.residual == pytest.approx(of_noise / (P * S), rel=0.05)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=0.03)
    parts = [(of_rows, P - 1), (of_columns, S - 1), (of_noise, (P - 1) * (S - 1))]
    dof = (of_rows + of_columns - of_noise) ** 2 / sum(m**2 / d for m, d in parts)
    howe = math.hypot(
        stats.t.ppf(0.975, P - 1) * math.sqrt(of_rows / (P * S)),
        stats.t.ppf(0.975, S - 1) * math.sqrt((of_columns - of_noise) / (P * S)),
    )
    satterthwaite = stats.t.ppf(0.975, dof) * math.sqrt(variance)
    width = (found.estimate.high - found.estimate.low) / 2
    assert width == pytest.approx(max(howe, satterthwaite), rel=0.05)


def test_seeds_that_agree_add_nothing_and_two_are_not_trusted_to_agree() -> None:
    table = make_table(seeds=0.0)
    table += table.mean(axis=1, keepdims=True) - table.mean(axis=0)  # all columns have one mean

    alike = estimate(table)
    assert alike.spread == pytest.approx(0.0)
    assert alike.standard_error == pytest.approx(math.sqrt(alike.of_patients))
    two = estimate(make_table(3)[:, :2])
    assert two.residual == 0.0
    assert two.half_width(0.05) == two.needed(0.05)


def test_one_seed_has_the_interval_of_its_patients_and_no_p() -> None:
    column = make_table()[:, :1]

    found = estimate(column)

    half = stats.t.ppf(0.975, P - 1) * column.std(ddof=1) / math.sqrt(P)
    assert found.estimate.high - found.estimate.low == pytest.approx(2 * half, rel=0.04)
    assert (found.n_seeds, found.spread) == (1, 0.0)
    assert math.isnan(found.p_value)
    assert math.isnan(found.sd)


@pytest.mark.parametrize("sign", [1, -1])
def test_p_does_not_trust_seeds_to_agree(sign: int) -> None:
    found = estimate(sign * make_table())
    A, B = found.of_patients, found.spread
    dof = (A + B) ** 2 / (A**2 / (P - 1) + B**2 / (S - 1))

    def needed(p: float) -> float:
        patients, seeds = (stats.t.ppf(1 - p / 2, d) for d in (P - 1, S - 1))
        howe = math.hypot(patients * math.sqrt(A), seeds * math.sqrt(B))
        return max(howe, stats.t.ppf(1 - p / 2, dof) * math.sqrt(A + B))

    lean = found.lean[0 if sign > 0 else 1]
    assert needed(found.p_value) * lean == pytest.approx(abs(found.estimate.value), rel=1e-6)
    assert found.needed(0.05) == pytest.approx(needed(0.05))
    assert found.needed(0.05) > found.half_width(0.05)


def test_far_from_zero_and_on_zero_p_has_ends() -> None:
    table = make_table(seeds=0.0)

    assert estimate(table * 1e-6 + 1e3).p_value == 1e-12
    assert estimate(table - table.mean()).p_value == 1.0


@pytest.mark.parametrize("sign", [1, -1])
def test_resamples_that_are_nearly_all_alike_leave_two_sides(sign: int) -> None:
    table = np.full((1000, 3), sign / 3)
    table[:18] = 0.0  # a class of four patients is lost from 1.8 % of the resamples

    found = crossed_estimate([sign / 3] * 3, table, n=64, n_clusters=64, bounds=(-1.0, 1.0))

    assert found.estimate.low < sign / 3 < found.estimate.high
    assert 0 < found.p_value <= 1


def test_a_share_stays_in_range_and_reaches_further_to_the_middle() -> None:
    rng = np.random.default_rng(2)
    right = (rng.random((40, 3)) < 0.95).astype(float)

    found = estimate(right, bounds=UNIT).estimate

    assert 0 < found.low < found.value < found.high < 1
    assert found.value - found.low > 1.5 * (found.high - found.value)
    ends = [math.log(x / (1 - x)) for x in (found.low, found.value, found.high)]
    assert ends[1] - ends[0] == pytest.approx(ends[2] - ends[1])


def test_a_share_of_one_has_wilsons_end() -> None:
    found = estimate(np.ones((10, 3)), bounds=UNIT).estimate

    assert found.high == 1.0
    assert found.low == pytest.approx(10 / (10 + 1.959963984540054**2))
    assert "Wilson" in found.reason


def test_seeds_and_resamples_without_a_value_are_left_out() -> None:
    table = make_table()
    weights = draw_clusters(P, seed=1, n_resamples=500)
    replicates = weights @ table / P
    replicates[0, 1] = math.nan
    values = np.append(table.mean(axis=0)[:3], math.nan)
    kind = {"n": P, "n_clusters": P, "bounds": UNBOUNDED}

    found = crossed_estimate(values, replicates, **kind)

    assert found.n_seeds == 3
    assert found.estimate.value == pytest.approx(values[:3].mean())
    nothing = crossed_estimate([math.nan], replicates[:, :1], **kind)
    assert not nothing.estimate.is_defined
    assert (nothing.n_seeds, math.isnan(nothing.half_width(0.05))) == (0, True)
    assert math.isnan(nothing.p_value)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputContractError, match=r"shape \(5, 2\) for 3 seeds"):
        crossed_estimate(np.zeros(3), np.zeros((5, 2)), n=1, n_clusters=1, bounds=UNIT)
