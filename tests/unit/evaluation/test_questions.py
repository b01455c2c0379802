"""The questions, their correction and their verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.predictions import FilmPredictions
from covid_debug.evaluation.questions import (
    QUESTION_NAMES,
    choose_question,
    correct_answers,
    holm,
)

NAMES = ("normal", "COVID-19")
ALL = [(arm, test) for arm in ("original", "cleaned") for test in ("original", "cleaned")]


def answer(arm: str, test: str, seed: int, n_right: int, N: int = 80) -> FilmPredictions:
    """Return answers of which the first of each class are wrong."""
    labels = np.arange(N) % 2
    wrong = np.arange(N) // 2 < (N - n_right) // 2
    wrong = np.roll(wrong, 2 * seed)  # seeds differ in their films
    said = np.where(wrong, 1 - labels, labels)
    return FilmPredictions(
        arm,
        seed,
        test,
        tuple(f"f{i}" for i in range(N)),
        tuple(f"p{i}" for i in range(N)),
        ("s",) * N,
        labels,
        (np.eye(2)[said] * 0.8 + 0.1).astype(np.float32),
        N,
    )


def compare(right: dict[tuple[str, str], tuple[int, ...]]):
    answers = [
        answer(arm, test, seed, n)
        for (arm, test), counts in right.items()
        for seed, n in enumerate(counts)
    ]
    found = compare_arms(answers, NAMES, seed=0, n_resamples=200)
    return {one.question.name: one for one in found.questions}, found


def test_holm_of_known_values() -> None:
    # By hand: .01 x 4, .02 x 3, .03 x 2, .04 x 1, each at least as large as the one before.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, math.nan, 0.001]), [0.5, math.nan, 0.002])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).size == 0
    with pytest.raises(InputContractError, match=r"\[0, 1\]"):
        holm([1.2])


def test_a_question_is_asked_on_the_first_test_set_that_was_measured() -> None:
    both = [*ALL, ("original", "swapped"), ("cleaned", "swapped")]
    kinds = ("text_swapped", "text_free")
    twins = [*both, *((arm, kind) for arm in ("original", "cleaned") for kind in kinds)]

    assert choose_question("dependence", both).test_data == "swapped"
    assert choose_question("dependence", both).minus == "original"
    assert choose_question("dependence", twins).test_data == "text_swapped"
    assert choose_question("dependence", twins).minus == "text_free"
    assert choose_question("text_free", both).test_data == "cleaned"
    assert choose_question("text_free", [*both, ("cleaned", "text_free")]).test_data == "cleaned"
    with pytest.raises(InputContractError, match="'size' is none; expected some of dependence"):
        choose_question("size", ALL)


def test_dependence_is_the_difference_of_the_losses() -> None:
    right = {
        ("original", "original"): (76, 76, 74),
        ("original", "swapped"): (40, 44, 40),
        ("cleaned", "original"): (72, 70, 72),
        ("cleaned", "swapped"): (72, 68, 72),
    }

    answers, _ = compare(right)

    one = answers["dependence"]
    assert one.question.cells() == (
        *(("cleaned", "swapped"), ("cleaned", "original")),
        *(("original", "swapped"), ("original", "original")),
    )
    by_seed = [(0 + 36) / 80, (-2 + 32) / 80, (0 + 34) / 80]
    assert one.by_seed == pytest.approx(by_seed)
    assert one.value == pytest.approx(np.mean(by_seed))
    assert (one.n, one.n_patients, one.n_seeds) == (80, 80, 3)
    assert one.verdict == "improved"
    assert one.p <= one.p_holm < 0.05
    assert 0 < one.smallest < one.value


def test_a_loss_is_worse_and_a_small_one_no_evidence() -> None:
    fall = {("original", "cleaned"): (72, 70, 72), ("cleaned", "cleaned"): (44, 40, 42)}
    little = {("original", "cleaned"): (72, 70, 72), ("cleaned", "cleaned"): (70, 72, 68)}

    assert compare(fall)[0]["text_free"].verdict == "worse"
    assert compare(little)[0]["text_free"].verdict == "no evidence"


def test_what_was_not_measured_is_listed_with_its_reason() -> None:
    answers, _ = compare({("original", "original"): (70,) * 3, ("cleaned", "original"): (72,) * 3})

    assert tuple(answers) == QUESTION_NAMES
    assert {one.verdict for one in answers.values()} == {"not measured"}
    assert answers["beyond_placebo"].reason == "no arm 'placebo'"
    assert answers["unseen_source"].reason == (
        "'cleaned' was not tested on 'unseen_source' and 'original' was not tested on"
        " 'unseen_source'"
    )


def test_films_of_one_class_answer_no_question() -> None:
    arms = {"original": 50, "cleaned": 78}  # one class more often named is no better model
    answers = [answer(a, "cleaned", seed, n) for a, n in arms.items() for seed in range(3)]
    normal = answers[0].image_ids[::2]

    found = compare_arms([a.restricted(normal) for a in answers], NAMES, seed=0, n_resamples=100)

    text_free = next(q for q in found.questions if q.question.name == "text_free")
    assert (text_free.verdict, text_free.reason) == (
        "not measured",
        "its films are all of one class",
    )


def test_one_seed_gives_no_verdict_however_large_the_difference() -> None:
    answers, found = compare({("original", "cleaned"): (40,), ("cleaned", "cleaned"): (80,)})

    one = answers["text_free"]
    assert one.verdict == "one seed: no verdict"
    assert one.low > 0
    assert math.isnan(one.p)
    assert math.isnan(one.smallest)
    assert found.design is not None
    assert found.design.seeds == {"original": (0,), "cleaned": (0,)}


def test_verdicts_follow_the_corrected_p() -> None:
    answers, _ = compare({("original", "cleaned"): (66,) * 3, ("cleaned", "cleaned"): (72,) * 3})
    one = answers["text_free"]
    several = [replace(one, p=0.02, value=0.1), replace(one, p=0.04), replace(one, p=math.nan)]

    found = correct_answers([*several, replace(one, p=0.001, value=-0.1)])

    assert [each.p_holm for each in found] == pytest.approx(
        [0.04, 0.04, math.nan, 0.003], nan_ok=True
    )
    assert [each.verdict for each in found][0::3] == ["improved", "worse"]
    edge = correct_answers([replace(one, p=0.05, value=0.1)])
    assert edge[0].verdict == "improved"


def test_contrasts_hold_the_cleaned_arm_against_the_placebo() -> None:
    right = {(arm, "original"): (70, 72) for arm in ("original", "cleaned", "placebo", "group_dro")}

    _, found = compare(right)

    pairs = [(one.train_data, one.against) for one in found.contrasts]
    assert pairs == [
        *(("cleaned", "original"), ("placebo", "original"), ("group_dro", "original")),
        ("cleaned", "placebo"),
    ]
