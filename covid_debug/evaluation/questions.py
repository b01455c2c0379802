"""The few questions that a comparison answers with a verdict.

Owns the questions, fixed before the training, and the correction for their number. Every other
number of a comparison has an interval and no verdict.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records_json import Number

Verdict = Literal["improved", "no evidence", "worse", "one seed: no verdict", "not measured"]
ONE_SEED: Final = "one seed: no verdict"
NOT_MEASURED: Final = "not measured"
ALPHA: Final = 0.05  # chance of a wrong verdict among all questions, if there is nothing to find


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to two arms.

    With a metric ``m``, the answer is ``[m(arm, test_data) - m(arm, minus)] - [m(against,
    test_data) - m(against, minus)]``; without ``minus``, ``m(arm, test_data) - m(against,
    test_data)``.

    Attributes:
        name: Name in the catalogue.
        words: The question.
        arm: Arm that is asked about.
        against: Arm that it is compared with.
        test_data: Version of the test films.
        minus: Version that each arm is compared with itself on, or empty.
        metric: As in :func:`covid_debug.evaluation.metrics.compute_scores`; larger is better.
        class_name: Class, or ``"all"``.
    """

    name: str
    words: str
    arm: str
    against: str
    test_data: str
    minus: str = ""
    metric: str = "balanced_accuracy"
    class_name: str = "all"

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Return arm and version of every term; the first and the last two are differences."""
        tests = (self.test_data, self.minus) if self.minus else (self.test_data,)
        return tuple((arm, test) for arm in (self.arm, self.against) for test in tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryAnswer:
    """The answer to a question.

    Attributes:
        question: The question, with the version of the films that it was asked on.
        value: Mean over the seeds, a share (0.05 = 5 points); NaN where not measured.
        low: Lower end of its 95 % interval over patients and seeds, not corrected for the number
            of questions.
        high: Upper end.
        n: Films.
        n_patients: Patients.
        n_seeds: Seeds of each arm.
        by_seed: Value of each seed.
        p: p-value of 0; NaN from one seed.
        p_holm: The same, corrected for the number of questions that were answered (Holm).
        smallest: Smallest effect that such data would have shown in 80 of 100 cases after the
            correction, if the seeds say well how trainings spread; NaN where not measured, or from
            one seed.
        verdict: Improved or worse where ``p_holm`` is below 0.05.
        reason: Why it was not measured, or empty.
    """

    question: Question
    value: Number
    low: Number
    high: Number
    n: int
    n_patients: int
    n_seeds: int
    by_seed: tuple[Number, ...]
    p: Number
    p_holm: Number
    smallest: Number
    verdict: Verdict
    reason: str = ""

    @property
    def estimate(self) -> Estimate:
        """The answer with its interval."""
        return Estimate(self.value, self.low, self.high, self.n, self.reason)


_WITHOUT_TEXT = ("text_free", "cleaned")
# Another class's text, and what stands against it. The text of phantoms' test films is that of any
# class, so that it misleads as it is: there the films without text do.
OTHER_TEXT = ("text_swapped", "swapped")
OWN_TEXT = ("text_free", "original")
_CATALOGUE: Final[Mapping[str, tuple[str, str, str, tuple[str, ...], tuple[str, ...]]]] = {
    "dependence": (
        "Does cleaning the training films lessen what is lost when text is exchanged?",
        *("cleaned", "original", OTHER_TEXT, OWN_TEXT),
    ),
    "text_free": (
        "Is a model trained on cleaned films better on films without text?",
        *("cleaned", "original", _WITHOUT_TEXT, ("", "")),
    ),
    "unseen_source": (
        "Is a model trained on cleaned films better on the sources left out of its training?",
        *("cleaned", "original", ("unseen_source",), ("",)),
    ),
    "beyond_placebo": (
        "Is it better on films without text than one trained on films filled elsewhere?",
        *("cleaned", "placebo", _WITHOUT_TEXT, ("", "")),
    ),
}
QUESTION_NAMES = tuple(_CATALOGUE)


def choose_question(name: str, measured: Collection[tuple[str, str]]) -> Question:
    """Return a question of the catalogue, on the first of its test sets that was measured.

    Args:
        name: Name in the catalogue.
        measured: Arm and test set of every cell of the comparison.

    Returns:
        The question; on its last choice of test sets where none was measured.

    Raises:
        InputContractError: If there is no such question.
    """
    if name not in _CATALOGUE:
        raise InputContractError(
            f"questions: {name!r} is none; expected some of {', '.join(QUESTION_NAMES)}"
        )
    words, arm, against, tests, others = _CATALOGUE[name]
    several = [
        Question(name=name, words=words, arm=arm, against=against, test_data=test, minus=minus)
        for test, minus in zip(tests, others, strict=True)
    ]
    for question in several:
        if set(question.cells()) <= set(measured):
            return question
    return several[-1]


def not_measured(question: Question, reason: str) -> PrimaryAnswer:
    """Return the answer to a question that could not be asked."""
    numbers = dict.fromkeys(("value", "low", "high", "p", "p_holm", "smallest"), math.nan)
    return PrimaryAnswer(
        question=question,
        **numbers,
        n=0,
        n_patients=0,
        n_seeds=0,
        by_seed=(),
        verdict=NOT_MEASURED,
        reason=reason,
    )


def correct_answers(answers: Sequence[PrimaryAnswer]) -> tuple[PrimaryAnswer, ...]:
    """Correct the p-values for the number of questions answered, and give the verdicts.

    Args:
        answers: With ``p``; ``p_holm`` and ``verdict`` are replaced.

    Returns:
        The answers in the same order.
    """
    corrected = holm([answer.p for answer in answers])
    return tuple(
        replace(answer, p_holm=float(p), verdict=_decide(answer, float(p)))
        for answer, p in zip(answers, corrected, strict=True)
    )


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values so that among all of them one in 20 families has a false one below 0.05.

    Holm 1979, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of
    Statistics 6, 65-70.

    Args:
        p_values: Values in [0, 1]; NaN marks a test that was not made and takes no part.

    Returns:
        Corrected values, same order; NaN stays NaN.

    Raises:
        InputContractError: If a value lies outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64).ravel()
    made = np.flatnonzero(~np.isnan(p))
    if np.any((p[made] < 0) | (p[made] > 1)):
        raise InputContractError("holm: p_values must be in [0, 1] or NaN")
    order = made[np.argsort(p[made], kind="stable")]
    left = len(order) - np.arange(len(order))
    result = np.full_like(p, np.nan)
    result[order] = np.minimum(np.maximum.accumulate(left * p[order]), 1.0)
    return result


def _decide(answer: PrimaryAnswer, p_holm: float) -> Verdict:
    if math.isnan(answer.value):
        return NOT_MEASURED
    if answer.n_seeds < 2:
        return ONE_SEED
    if p_holm > ALPHA:
        return "no evidence"
    return "improved" if answer.value > 0 else "worse"
