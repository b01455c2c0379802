"""Agreement of two reviewers, against counts worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from covid_debug.cleaning.agreement import compare_reviewers, list_reviewers, tabulate
from covid_debug.cleaning.decisions import Decision
from covid_debug.errors import InputContractError


def _films(answers, reviewer):
    return [Decision(f"f{i}", answer, reviewer) for i, answer in enumerate(answers)]


PATIENTS = {f"f{i}": f"p{i}" for i in range(60)}


def _paper():
    """50 films: 20 + 15 equal, 5 + 10 not; kappa 0.4."""
    first = ["accept"] * 25 + ["reject"] * 25
    second = ["accept"] * 20 + ["reject"] * 5 + ["accept"] * 10 + ["reject"] * 15
    return _films(first, "a"), _films(second, "b")


def test_kappa_of_two_reviewers_is_that_of_the_closed_form():
    films, regions = compare_reviewers(*_paper(), PATIENTS)

    assert films.n == 50
    assert films.share.value == pytest.approx(0.7)
    assert films.kappa.value == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert films.confusion == ((20, 5, 0), (10, 15, 0), (0, 0, 0))
    assert films.kappa.low < 0.4 < films.kappa.high
    assert regions.n == 0
    assert not regions.kappa.is_defined


def test_kappa_interval_holds_the_spread_of_resampled_patients():
    first, second = _paper()
    films, _ = compare_reviewers(first, second, PATIENTS)
    generator = np.random.default_rng(7)
    a, b = (np.array([one.decision for one in each]) for each in (first, second))
    draws = [generator.integers(50, size=50) for _ in range(1000)]

    low, high = np.quantile([cohen_kappa_score(a[i], b[i]) for i in draws], [0.025, 0.975])

    assert films.kappa.low == pytest.approx(low, abs=0.05)
    assert films.kappa.high == pytest.approx(high, abs=0.05)


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [
        (["accept"] * 97 + ["reject"] * 3, ["accept"] * 97 + ["reject"] * 3, 0.85),
        (["accept"] * 96 + ["reject"] * 4, ["reject"] * 4 + ["accept"] * 96, 0.0),
        (["accept"] * 30, ["accept"] * 28 + ["reject"] * 2, 0.4),
    ],
)
def test_kappa_interval_of_a_rare_answer_holds_what_was_not_seen(first, second, kappa):
    patients = {f"f{i}": f"p{i}" for i in range(100)}

    films, _ = compare_reviewers(_films(first, "a"), _films(second, "b"), patients)

    assert films.kappa.low < kappa < films.kappa.high


def test_kappa_films_of_one_patient_are_not_independent():
    first, second = _paper()
    five = {f"f{i}": f"p{i % 5}" for i in range(50)}

    alone, _ = compare_reviewers(first, second, PATIENTS)
    grouped, _ = compare_reviewers(first, second, five)

    assert grouped.n_patients == 5
    assert grouped.kappa.value == alone.kappa.value
    assert grouped.kappa.high - grouped.kappa.low != alone.kappa.high - alone.kappa.low


def test_kappa_of_full_agreement_is_one_and_of_one_answer_undefined():
    same = ["accept", "reject"] * 10
    full, _ = compare_reviewers(_films(same, "a"), _films(same, "b"), PATIENTS)
    one, _ = compare_reviewers(_films(["accept"] * 9, "a"), _films(["accept"] * 9, "b"), PATIENTS)

    assert full.kappa.value == 1
    assert full.kappa.low < 1
    assert math.isnan(one.kappa.value)
    assert one.share.value == 1
    assert "undefined (both gave one answer only)" in next(one.describe())


def test_only_what_both_answered_counts_and_the_last_answer_of_each():
    first = [Decision("f0", "accept", "a"), Decision("f0", "reject", "a"), *_films(["x"], "a")[1:]]
    second = [Decision("f0", "reject", "b"), Decision("f1", "accept", "b")]

    films, _ = compare_reviewers(first, second, PATIENTS)

    assert (films.n, films.n_first, films.n_second) == (1, 1, 2)
    assert films.disagreements == ()


def test_regions_are_told_apart_and_added_ones_take_no_part():
    box = (0.0, 0.0, 4.0, 4.0)
    first = [Decision("f0", "keep", "a", 0), Decision("f0", "accept", "a", 1)]
    first += [Decision("f0", "add", "a", box=box), Decision("f1", "reject", "a", box=box)]
    second = [Decision("f0", "reject", "b", 0), Decision("f0", "accept", "b", 1)]
    second += [Decision("f0", "add", "b", box=box), Decision("f1", "reject", "b", box=box)]

    films, regions = compare_reviewers(first, second, PATIENTS)

    assert films.n == 0
    assert regions.n == 3
    assert [(one.about, one.first, one.second) for one in regions.disagreements] == [
        ("#0", "keep", "not text")
    ]
    assert tabulate(regions.disagreements, {"f0": "a.png"}) == (
        "image_id,name,region,first,second\nf0,a.png,0,keep,not text\n"
    )


def test_a_file_of_several_reviewers_is_refused():
    mixed = [Decision("f0", "accept", "a"), Decision("f0", "reject", "b")]

    assert list_reviewers(mixed) == ["a", "b"]
    with pytest.raises(InputContractError, match="the second file holds 2 reviewers"):
        compare_reviewers([Decision("f0", "accept", "a")], mixed, PATIENTS)


def test_films_of_another_run_are_refused():
    both = [Decision("elsewhere", "accept", "a")]

    with pytest.raises(InputContractError, match="1 films are not in the run"):
        compare_reviewers(both, both, PATIENTS)
