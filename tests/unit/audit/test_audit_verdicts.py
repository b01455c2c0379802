"""The test is calibrated under its null and the rule says what it documents."""

import math
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.audit.verdicts import (
    MARGIN,
    Answer,
    Evidence,
    Significance,
    calibrated_p_values,
    compute_margins,
    decide,
    judge_significance,
    log_odds,
)
from covid_debug.evaluation.statistics import benjamini_hochberg

RULE = {"alpha": 0.05, "min_drop": 0.1, "strong_drop": 0.5}


def _answer(p, name=None):
    p = min(max(p, 1e-6), 1 - 1e-6)
    predicted = name or ("COVID-19" if p >= 0.5 else "normal")
    return Answer(p, math.log(p / (1 - p)), predicted)


def _evidence(film=0.9, removed=0.9, revealed=0.1, blurred=0.1, nulls=(0.9,) * 20):
    return Evidence(
        "COVID-19",
        _answer(film),
        _answer(removed),
        _answer(revealed),
        _answer(blurred),
        tuple(map(_answer, nulls)),
    )


def _significance(q=1.0, p=0.5):
    return Significance(p, q, 12)


def test_log_odds_resolves_a_probability_that_float32_rounds_to_one():
    p = np.array([[1e-12, 1.0], [0.25, 0.75]], dtype=np.float32)

    odds = log_odds(p, 1)

    np.testing.assert_allclose(odds, [math.log(1e12), math.log(3)], rtol=1e-5)
    np.testing.assert_allclose(log_odds(p, 0), -odds, rtol=1e-5)


def _no_margin(nulls):
    return np.zeros(len(nulls))


@pytest.mark.parametrize("draw", ["standard_normal", "standard_t"])
def test_p_values_have_their_size_in_every_quartile_of_the_spread(draw):
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 1.5, size=800))
    noise = {
        "standard_normal": lambda: rng.standard_normal((800, 41)),
        "standard_t": lambda: rng.standard_t(4, (800, 41)),
    }[draw]()
    draws = noise * scale[:, None]

    p = calibrated_p_values(draws[:, 0], list(draws[:, 1:]), _no_margin(draws))

    # sd of the share below u is sqrt(u (1-u) / n); 4 sd allowed
    for u in (0.01, 0.05, 0.2, 0.5):
        assert abs(np.mean(p <= u) - u) < 4 * math.sqrt(u * (1 - u) / 800)
    quartile = np.digitize(scale, np.quantile(scale, [0.25, 0.5, 0.75]))
    for k in range(4):
        assert np.mean(p[quartile == k] <= 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert np.sum(benjamini_hochberg(p) <= 0.05) <= 1


def test_films_with_few_nulls_have_the_size_of_those_with_many():
    rng = np.random.default_rng(5)
    nulls = [rng.normal(size=4 if i % 4 == 0 else 40) for i in range(1200)]

    p = calibrated_p_values(rng.normal(size=1200), nulls, _no_margin(nulls))

    few = np.arange(1200) % 4 == 0  # .20 of them where both are compared as they are
    assert np.mean(p[few] <= 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean(p[~few] <= 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 900)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("effect", [1.0, 0.0, -0.2])
def test_text_that_does_less_than_its_matched_patches_is_never_significant(sign, effect):
    nulls = np.random.default_rng(6).normal(3.0, 0.01, size=(30, 40))

    p = calibrated_p_values(np.full(30, sign * effect), list(sign * nulls), np.zeros(30))

    assert (p == 1.0).all() == (effect >= 0)  # a rise is one, where patches make it fall


def test_a_film_that_falls_less_than_at_its_matched_patches_is_not_driven_by_text():
    patches = tuple(np.linspace(0.01, 0.012, 40))
    evidence = _evidence(film=0.9, removed=0.3, nulls=patches)

    (found,) = judge_significance([evidence])

    assert (found.p, found.n_exceeded) == (1.0, 0)
    assert decide(evidence, found, **RULE).verdict == "inconclusive"


def test_single_strong_film_among_many_is_found_with_forty_nulls():
    rng = np.random.default_rng(1)
    nulls = rng.normal(size=(200, 40))
    effects = rng.normal(size=200)
    effects[17] = 30.0

    q = benjamini_hochberg(calibrated_p_values(effects, list(nulls), _no_margin(nulls)))

    found = np.flatnonzero(q <= 0.05).tolist()
    assert 17 in found
    assert len(found) <= 2


@pytest.mark.parametrize("sign", [1, -1])
def test_an_effect_below_the_margin_is_never_significant(sign):
    nulls = list(np.random.default_rng(2).normal(0, 0.01, size=(30, 40)))
    effects = [sign * 0.9, *np.zeros(29)]

    without = calibrated_p_values(effects, nulls, np.zeros(30))
    with_margin = calibrated_p_values(effects, nulls, np.ones(30))

    assert without[0] == pytest.approx(2 / 1201)
    assert with_margin.tolist() == [1.0] * 30


def test_margin_is_a_share_of_the_spread_over_films_of_each_class():
    odds = np.array([[0.0, 10.0], [2.0, 30.0]])  # sd 1.414 and 14.14

    np.testing.assert_allclose(compute_margins(odds), MARGIN * np.array([2**0.5, 200**0.5]))
    assert compute_margins(odds[:1]).tolist() == [0.0, 0.0]


def test_all_effects_zero_gives_p_of_one():
    p = calibrated_p_values([0.0, 0.0], [np.zeros(20)] * 2, np.zeros(2))

    assert p.tolist() == [1.0, 1.0]


def test_films_with_too_few_nulls_are_not_tested():
    p = calibrated_p_values([1.0, 1.0], [np.zeros(3), np.arange(4.0)], np.zeros(2))

    assert math.isnan(p[0])
    assert not math.isnan(p[1])
    assert np.isnan(calibrated_p_values([1.0], [np.zeros(2)], [0.0])).all()


def test_judge_significance_counts_nulls_and_skips_failed_films():
    driven = _evidence(removed=0.01, nulls=tuple(np.linspace(0.85, 0.95, 20)))

    first, second = judge_significance([driven, None])

    assert first.n_exceeded == 20
    assert first.p == pytest.approx(2 / 21)
    assert math.isnan(second.p)


@pytest.mark.parametrize(
    ("evidence", "significance", "verdict"),
    [
        (_evidence(removed=0.1), _significance(0.01), "text_driven"),
        (_evidence(film=0.99, removed=0.51), _significance(0.01), "text_sensitive"),
        (_evidence(removed=0.85), _significance(0.01), "not_text_driven"),
        (_evidence(removed=0.9), _significance(0.9), "not_text_driven"),
        (_evidence(removed=0.1), _significance(0.3), "inconclusive"),
        (_evidence(removed=0.7), _significance(0.3), "inconclusive"),
        (_evidence(removed=0.1, nulls=()), _significance(math.nan, p=math.nan), "inconclusive"),
        (_evidence(revealed=0.9), _significance(0.9), "not_text_driven"),
        (_evidence(film=0.6, removed=0.9), _significance(0.01), "not_text_driven"),
    ],
)  # fmt: skip
def test_decide_follows_its_rule(evidence, significance, verdict):
    assert decide(evidence, significance, **RULE).verdict == verdict


def test_strong_drop_counts_as_driven_even_if_the_class_is_kept():
    evidence = Evidence(
        "COVID-19",
        _answer(0.95),
        _answer(0.4, "COVID-19"),
        _answer(0.1),
        _answer(0.1),
        (),
    )

    assert decide(evidence, _significance(0.01), **RULE).verdict == "text_driven"
    assert evidence.null_flip_share == 0.0


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (_evidence(removed=0.1, nulls=(0.2,) * 20), "the prediction is fragile: 100%"),
        (_evidence(film=0.45, removed=0.1), "low confidence (0.45)"),
        (_evidence(film=0.9, removed=0.1), "not proved to be beyond what matched patches do"),
    ],
)
def test_inconclusive_says_why(evidence, words):
    decision = decide(evidence, _significance(0.3), **RULE)

    assert decision.verdict == "inconclusive"
    assert words in decision.reasons[1]


def test_text_that_pushes_away_is_recorded():
    decision = decide(_evidence(film=0.6, removed=0.9), _significance(0.01), **RULE)

    assert decision.direction == "away"
    assert decision.verdict == "not_text_driven"
    assert "pushes away from COVID-19" in decision.reasons[-1]


def test_class_that_changes_to_a_third_one_while_its_odds_rise_is_not_driven():
    # Three classes: without the text the target gains, and another one gains more.
    evidence = Evidence(
        "COVID-19", _answer(0.36, "COVID-19"), _answer(0.4, "normal"), _answer(0.1), _answer(0.1),
        (_answer(0.36, "COVID-19"),) * 20,
    )  # fmt: skip

    decision = decide(evidence, _significance(0.01), **RULE)

    assert (decision.verdict, decision.direction) == ("inconclusive", "away")


def test_reasons_carry_the_numbers():
    decision = decide(_evidence(removed=0.1), _significance(0.012), **RULE)

    assert decision.reasons[0] == (
        "without the text it becomes normal (p 0.90 -> 0.10); larger than at 12 of 20 matched"
        " patches, q = 0.012"
    )


@pytest.mark.parametrize(
    ("removed", "q", "words"),
    [
        (0.85, 0.135, "q = 0.135: not enough after correction for all audited films"),
        (0.85, 0.01, "q = 0.010: beyond them, but a fall of 0.05 is too small to count"),
    ],
)
def test_decide_not_driven_says_why_a_large_rank_is_not_enough(removed, q, words):
    evidence = _evidence(removed=removed, nulls=tuple(np.linspace(0.88, 0.92, 20)))
    significance = Significance(0.002, q, n_exceeded=20)

    decision = decide(evidence, significance, **RULE)

    assert decision.verdict == "not_text_driven"
    assert decision.reasons[0].endswith(words)


@pytest.mark.parametrize(
    ("effect", "margin", "p"),
    [(4.1, 0, 2 / 5), (3.9, 0, 4 / 5), (2.3, 0, 1.0), (4.1, 0.2, 4 / 5), (-0.1, 0, 2 / 5)],
)
def test_p_value_of_one_film_by_hand(effect, margin, p):
    # Each of 1..4 against the other three: 4 -> (4 - 2) / 1 = 2, 3 -> (3 - 7/3) / 1.528 = .436,
    # and the same below 0 for 1 and 2. The text against the first three: (effect - 2) / 1.
    found = calibrated_p_values([effect], [np.arange(1.0, 5.0)], [margin])

    assert found.tolist() == pytest.approx([p])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_null_that_is_as_large_as_the_effect_counts(sign):
    nulls = sign * np.arange(1.0, 5.0)  # 4 against 1, 2, 3 is the effect 4 against the first three

    assert calibrated_p_values([sign * 4.0], [nulls], [0.0]).tolist() == pytest.approx([4 / 5])


def test_every_p_value_is_corrected_for_the_number_of_films():
    low = tuple(np.linspace(0.85, 0.95, 20))

    first, second = judge_significance([_evidence(removed=0.01, nulls=low), _evidence()])

    assert first.p == pytest.approx(2 / 41)
    assert first.q == pytest.approx(4 / 41)
    assert second.q == pytest.approx(second.p)


def test_films_are_tested_against_their_own_margins():
    driven = _evidence(film=0.9, removed=0.8, nulls=tuple(np.linspace(0.88, 0.92, 20)))

    without, with_margin = judge_significance([driven, replace(driven, margin=1.0)])

    assert driven.effect == pytest.approx(math.log(9 / 4))
    assert (without.p, with_margin.p) == (pytest.approx(2 / 41), 1.0)


def test_film_whose_odds_rise_without_the_text_moves_away():
    rising = _evidence(film=0.5, removed=0.99, nulls=tuple(np.linspace(0.45, 0.55, 20)))

    (found,) = judge_significance([rising])

    assert found.p == pytest.approx(2 / 21)
    assert found.n_exceeded == 20
    assert decide(rising, replace(found, q=0.05), **RULE).direction == "away"


@pytest.mark.parametrize(
    ("removed", "q", "verdict"),
    [
        (_answer(0.5), 0.05, "text_sensitive"),  # a fall of exactly min_drop, q exactly alpha
        (_answer(0.5), 0.0501, "inconclusive"),
        (_answer(0.5001), 0.05, "not_text_driven"),
        (_answer(0.25, "COVID-19"), 0.05, "text_driven"),  # a fall of exactly strong_drop
    ],
)
def test_limits_of_the_rule_belong_to_the_finding(removed, q, verdict):
    evidence = Evidence(
        "COVID-19", _answer(0.75), removed, _answer(0.1), _answer(0.1), (_answer(0.75),) * 20
    )

    found = decide(evidence, _significance(q), alpha=0.05, min_drop=0.25, strong_drop=0.5)

    assert found.verdict == verdict
    assert found.direction == ("towards" if q <= 0.05 else "none")


def test_half_of_the_patches_is_enough_to_call_a_film_fragile():
    half = _evidence(removed=0.1, nulls=(0.2, 0.9) * 10)

    assert "fragile: 50%" in decide(half, _significance(0.3), **RULE).reasons[1]


def test_text_that_alone_is_the_class_is_said_and_decides_nothing():
    revealed = decide(_evidence(revealed=0.9), _significance(0.9), **RULE)

    assert revealed.verdict == "not_text_driven"
    assert "the text alone, on an empty film, is predicted COVID-19" in revealed.reasons[-1]


def test_text_is_not_sufficient_where_the_empty_film_is_the_target_already():
    assert _evidence(revealed=0.9, blurred=0.1).is_sufficient
    assert not _evidence(revealed=0.9, blurred=0.9).is_sufficient
    assert not _evidence(revealed=0.1, blurred=0.1).is_sufficient


def test_text_that_does_no_more_than_its_matched_patches_is_not_significant():
    (found,) = judge_significance([_evidence(removed=0.3, nulls=(0.3,) * 20)])

    assert (found.p, found.n_exceeded) == (1.0, 0)
