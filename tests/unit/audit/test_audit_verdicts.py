"""The test is calibrated under its null and the rule says what it documents."""

import math
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.audit.verdicts import (
    Answer,
    Evidence,
    Significance,
    calibrated_p_values,
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
        tuple(_answer(0.1) for _ in nulls),
    )


def _significance(q_towards=1.0, q_away=1.0, q_revealed=1.0, p=0.5):
    return Significance(p, q_towards, 1 - p, q_away, 0.5, q_revealed, 12)


def test_log_odds_resolves_a_probability_that_float32_rounds_to_one():
    p = np.array([[1e-12, 1.0], [0.25, 0.75]], dtype=np.float32)

    odds = log_odds(p, 1)

    np.testing.assert_allclose(odds, [math.log(1e12), math.log(3)], rtol=1e-5)
    np.testing.assert_allclose(log_odds(p, 0), -odds, rtol=1e-5)


def test_p_values_are_uniform_under_the_null_although_films_differ_in_scale():
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 1.5, size=400))
    draws = rng.standard_t(4, size=(400, 21)) * scale[:, None] + rng.normal(0, 1, (400, 1))

    p = calibrated_p_values(draws[:, 0], list(draws[:, 1:]))

    # 400 films: sd of the share below u is sqrt(u (1-u) / 400); 4 sd allowed
    for u in (0.01, 0.05, 0.2, 0.5):
        assert abs(np.mean(p <= u) - u) < 4 * math.sqrt(u * (1 - u) / 400)
    assert np.sum(benjamini_hochberg(p) <= 0.05) <= 1


def test_single_strong_film_among_many_is_found_with_twenty_nulls():
    rng = np.random.default_rng(1)
    nulls = rng.normal(size=(200, 20))
    drops = rng.normal(size=200)
    drops[17] = 30.0

    q = benjamini_hochberg(calibrated_p_values(drops, list(nulls)))

    assert np.flatnonzero(q <= 0.05).tolist() == [17]


def test_tiny_fall_on_a_film_whose_nulls_do_not_move_is_not_significant():
    rng = np.random.default_rng(2)
    nulls = [np.zeros(20), *rng.normal(size=(30, 20))]

    p = calibrated_p_values([0.01, *rng.normal(size=30)], nulls)

    assert p[0] > 0.2


def test_all_effects_zero_gives_p_of_one():
    assert calibrated_p_values([0.0, 0.0], [np.zeros(20)] * 2).tolist() == [1.0, 1.0]


def test_films_with_too_few_nulls_are_not_tested():
    p = calibrated_p_values([1.0, 1.0], [np.zeros(3), np.arange(4.0)])

    assert math.isnan(p[0])
    assert not math.isnan(p[1])
    assert np.isnan(calibrated_p_values([1.0], [np.zeros(2)])).all()


def test_judge_significance_counts_nulls_and_skips_failed_films():
    driven = _evidence(removed=0.01, nulls=tuple(np.linspace(0.85, 0.95, 20)))

    first, second = judge_significance([driven, None])

    assert first.n_exceeded == 20
    assert first.p_towards == pytest.approx(1 / 21)
    assert first.p_away == 1.0
    assert math.isnan(second.p_towards)


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
        (_evidence(revealed=0.9), _significance(0.9, q_revealed=0.01), "text_sensitive"),
        (_evidence(revealed=0.9), _significance(0.9, q_revealed=0.5), "not_text_driven"),
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
        (),
    )

    assert decide(evidence, _significance(0.01), **RULE).verdict == "text_driven"
    assert evidence.null_flip_share == 0.0


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (_evidence(removed=0.1, nulls=(0.2,) * 20), "the prediction is fragile: 100%"),
        (_evidence(film=0.45, removed=0.1), "low confidence (0.45)"),
        (_evidence(film=0.9, removed=0.1), "not beyond what matched patches do"),
    ],
)
def test_inconclusive_says_why(evidence, words):
    decision = decide(evidence, _significance(0.3), **RULE)

    assert decision.verdict == "inconclusive"
    assert words in decision.reasons[1]


def test_text_that_pushes_away_is_recorded():
    decision = decide(_evidence(film=0.6, removed=0.9), _significance(1.0, q_away=0.01), **RULE)

    assert decision.direction == "away"
    assert decision.verdict == "not_text_driven"
    assert "pushes away from COVID-19" in decision.reasons[-1]


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
    significance = Significance(0.002, q, 1.0, 1.0, 0.5, 1.0, n_exceeded=20)

    decision = decide(evidence, significance, **RULE)

    assert decision.verdict == "not_text_driven"
    assert decision.reasons[0].endswith(words)


@pytest.mark.parametrize(
    ("effect", "p"), [(4.01, 1 / 5), (4.0, 2 / 5), (3.6, 2 / 5), (2.5, 3 / 5), (2.0, 3 / 5)]
)
def test_p_value_of_one_film_by_hand(effect, p):
    # sd of 1..4 = s0 = 1.291. Each null against the other three: 4 -> (4 - 2) / (1 + s0) = .873,
    # 3 -> (3 - 7/3) / (1.528 + s0) = .237, and the same below 0 for 2 and 1.
    # The text against the first three: (effect - 2) / (1 + s0).
    found = calibrated_p_values([effect], [np.arange(1.0, 5.0)])

    assert found.tolist() == pytest.approx([p])


def test_floor_of_the_spread_is_the_median_over_films():
    nulls = [np.arange(1.0, 5.0), np.zeros(4), 10 * np.arange(1.0, 5.0)]

    p = calibrated_p_values([0.0, 1.0, 0.0], nulls)

    # z = 1 / (0 + 1.291) = .775; of the 12 nulls 2 / 2.291 = .873 and 20 / 11.291 = 1.771 exceed it
    assert p[1] == pytest.approx(3 / 13)


def test_text_that_alone_raises_the_odds_counts_as_revealed_and_one_that_lowers_does_not():
    raising, lowering = _evidence(revealed=0.99), _evidence(revealed=0.01)

    up, down = judge_significance([raising])[0], judge_significance([lowering])[0]

    assert up.p_revealed == pytest.approx(1 / 21)
    assert down.p_revealed == 1.0


def test_every_p_value_is_corrected_for_the_number_of_films():
    nulls = tuple(np.linspace(0.85, 0.95, 20))

    first, second = judge_significance([_evidence(removed=0.01, nulls=nulls), _evidence()])

    assert first.p_towards == pytest.approx(1 / 41)
    assert first.q_towards == pytest.approx(2 / 41)
    assert second.q_towards == pytest.approx(second.p_towards)
    assert second.q_away == pytest.approx(max(first.p_away, second.p_away))


def test_film_whose_odds_rise_without_the_text_is_judged_away():
    (found,) = judge_significance(
        [_evidence(film=0.5, removed=0.99, nulls=tuple(np.linspace(0.45, 0.55, 20)))]
    )

    assert (found.p_towards, found.n_exceeded) == (1.0, 0)
    assert found.p_away == pytest.approx(1 / 21)


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
        "COVID-19", _answer(0.75), removed, _answer(0.1), _answer(0.1), (_answer(0.75),) * 20, ()
    )

    found = decide(evidence, _significance(q), alpha=0.05, min_drop=0.25, strong_drop=0.5)

    assert found.verdict == verdict
    assert found.direction == ("towards" if q <= 0.05 else "none")


def test_limits_of_revealed_text_and_of_fragile_films_belong_to_the_finding():
    revealed = decide(_evidence(revealed=0.9), _significance(0.9, q_revealed=0.05), **RULE)
    half = _evidence(removed=0.1, nulls=(0.2, 0.9) * 10)

    assert revealed.verdict == "text_sensitive"
    assert "fragile: 50%" in decide(half, _significance(0.3), **RULE).reasons[1]


def test_text_is_not_sufficient_where_the_empty_film_is_the_target_already():
    assert _evidence(revealed=0.9, blurred=0.1).is_sufficient
    assert not _evidence(revealed=0.9, blurred=0.9).is_sufficient
    assert not _evidence(revealed=0.1, blurred=0.1).is_sufficient


def test_text_that_does_no_more_than_its_matched_patches_is_not_significant():
    evidence = replace(
        _evidence(removed=0.3, revealed=0.9, nulls=(0.3,) * 20), null_revealed=(_answer(0.9),) * 20
    )

    (found,) = judge_significance([evidence])

    assert (found.p_towards, found.p_revealed, found.n_exceeded) == (1.0, 1.0, 0)
