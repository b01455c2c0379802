"""The smallest effect that a design can show."""

import math

import numpy as np
import pytest
from scipy import stats

from covid_debug.errors import InputContractError
from covid_debug.evaluation.power import Spread, plan_smallest_effect


def test_without_seeds_it_is_the_formula_of_textbooks() -> None:
    spread = Spread(patients=0.6, films=0.0, seeds=0.0)

    found = plan_smallest_effect(400, 50, spread=spread)

    error = 0.6 / 20
    assert stats.nct.sf(stats.t.ppf(0.975, 399), 399, found / error) == pytest.approx(0.8, abs=1e-6)
    assert found == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error, rel=0.01)


def test_seeds_that_differ_rule_where_patients_are_many() -> None:
    spread = Spread(patients=0.0, films=0.0, seeds=0.05)

    found = plan_smallest_effect(10**6, 3, spread=spread)

    draws = np.random.default_rng(0).normal(found, 0.05, (200_000, 3))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05) == pytest.approx(
        0.8, abs=0.01
    )


def test_more_patients_more_seeds_and_fewer_questions_show_less() -> None:
    base = plan_smallest_effect(300, 3, 4)

    assert 0.02 < base < 0.2
    assert plan_smallest_effect(600, 3, 4) < base
    assert plan_smallest_effect(300, 5, 4) < base
    assert plan_smallest_effect(300, 3, 1) < base
    assert plan_smallest_effect(300, 2, 4) > base
    assert math.isnan(plan_smallest_effect(300, 1, 4))


@pytest.mark.parametrize("numbers", [(1, 3, 1), (300, 0, 1), (300, 3, 0)])
def test_impossible_designs_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(InputContractError, match="expected at least 2, 1 and 1"):
        plan_smallest_effect(*numbers)
