"""The questions of a comparison, and precision and recall of one class, in words.

Owns how an answer reads: in the headlines, at the end of a run, in Prefect and in a notebook. The
numbers come ready-made.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from covid_debug.evaluation.comparison import BASE_ARM, Footing
from covid_debug.evaluation.questions import NOT_MEASURED, ONE_SEED, PrimaryAnswer, Question
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.comparison import METRIC_NAMES, ComparisonTable, join_words, name_test

if TYPE_CHECKING:
    from covid_debug.reporting.summary import RunSummary

_COLUMN = 14  # letters of a column on the terminal


@dataclass(frozen=True, slots=True)
class ShortAnswer:
    """One of the three questions of every reader, answered in a line.

    Attributes:
        question: The question.
        word: The answer in a word or a few, e.g. ``"no evidence"``.
        tone: How it looks: good, bad, to be taken with care, or open.
        line: The number behind it, with its interval.
        notes: What else belongs to it, a sentence each; limits come before the rest.
    """

    question: str
    word: str
    tone: Literal["good", "bad", "care", "open"]
    line: str
    notes: tuple[str, ...] = ()


def write_three_answers(summary: "RunSummary") -> list[str]:
    """Write the three answers of a run for a terminal, a run's page or a description.

    Args:
        summary: Of the run.

    Returns:
        A line each, plain text; none of a run that was made before there were any.
    """
    return [
        f"{one.question} {one.word[:1].upper()}{one.word[1:]}. {one.line}"
        for one in summary.short_answers
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTest:
    """Precision and recall of one class: an arm on a version of the test films, over all seeds.

    Attributes:
        train_data: The arm.
        test_data: Version of the test films.
        class_name: The class.
        precision: With its interval.
        recall: With its interval.
    """

    train_data: str
    test_data: str
    class_name: str
    precision: Estimate
    recall: Estimate


def list_train_test(table: ComparisonTable) -> tuple[TrainTest, ...]:
    """Return precision and recall of the table's positive class, arm by arm."""
    nothing = Estimate.undefined(0, "not measured")
    return tuple(
        TrainTest(
            train_data=arm,
            test_data=test,
            class_name=table.positive,
            precision=table.get(arm, test, table.positive, "precision") or nothing,
            recall=table.get(arm, test, table.positive, "recall") or nothing,
        )
        for arm in table.arms
        for test in table.tests
        if (arm, test) in table.cells
    )


def write_train_test(rows: Sequence[TrainTest]) -> Iterator[str]:
    """Write the small table for a terminal.

    Args:
        rows: One an arm and version, of one class.

    Yields:
        Lines of plain text; nothing without rows.
    """
    if not rows:
        return
    tests = list(dict.fromkeys(row.test_data for row in rows))
    arms = list(dict.fromkeys(row.train_data for row in rows))
    cells = {(row.train_data, row.test_data): row for row in rows}
    side = max(11, *(len(arm) + 1 for arm in arms))
    yield f"{rows[0].class_name}, %, with 95 % intervals; columns: tested on, rows: trained on"
    heads = "".join(f"{test.replace('_', '-'):>{_COLUMN}}" for test in tests)
    yield f"{'':{side + 9}}{heads}"
    for arm in arms:
        found = [cells.get((arm, test)) for test in tests]
        for metric in ("precision", "recall"):
            texts = [name_share(getattr(row, metric)) if row else "" for row in found]
            name = arm if metric == "precision" else ""
            yield f"{name:{side}}{metric:9}" + "".join(f"{text:>{_COLUMN}}" for text in texts)


def write_answer(answer: PrimaryAnswer) -> str:
    """Write a question with its answer as one or two sentences."""
    question = answer.question
    if answer.verdict == NOT_MEASURED:
        return f"{question.words} Not measured: {answer.reason}."
    points = f"{name_points(answer.estimate)} of {METRIC_NAMES[question.metric].lower()}"
    what = f"{name_question(question)}: {points}"
    basis = f"{answer.n_patients} patients"
    if answer.verdict == ONE_SEED:
        return f"{question.words} {ONE_SEED.capitalize()}. {what}; {basis}."
    size = f"some {100 * answer.smallest:.1f} points" if answer.smallest < 1 else "no difference"
    return (
        f"{question.words} {answer.verdict.capitalize()}. {what}; {name_p(answer.p_holm)} (Holm),"
        f" {answer.n_seeds} seeds, {basis};"
        f" {size} would show in 80 of 100 comparisons, if these {answer.n_seeds} seeds say well how"
        " trainings spread."
    )


def name_question(question: Question) -> str:
    """Say which difference a question is about."""
    where = name_test(question.test_data)
    if question.minus:
        where += f" minus {name_test(question.minus)}"
    return f"{question.arm} against {question.against} on {where}"


def write_warnings(footing: Sequence[Footing], arms: Sequence[str]) -> list[str]:
    """Write what takes the weight from every difference: no better than chance, or the source.

    Args:
        footing: Of all arms and test films; those on the original test films count.
        arms: Arms in the order in which they are named.

    Returns:
        At most two lines.
    """
    own = {one.train_data: one for one in footing if one.test_data == BASE_ARM}
    shown = [own[arm] for arm in arms if arm in own]
    lines = []
    low = [one for one in shown if not one.is_above_chance and one.chance < 1]
    if low:
        values = join_words([_in_words(one.balanced_accuracy) for one in low])
        lines.append(
            f"Warning: trained on the {_name_arms(low)} films, models are not measurably better"
            f" than chance on {name_test(BASE_ARM)}: balanced accuracy {values}; chance is"
            f" {name_percent(low[0].chance)}. Differences between them mean little."
        )
    level = [one for one in shown if one.is_above_source is False]
    if level:
        values = join_words([name_percent(one.balanced_accuracy.value) for one in level])
        lines.append(
            f"Warning: trained on the {_name_arms(level)} films, models are not measurably better"
            f" than the source alone on {name_test(BASE_ARM)}: balanced accuracy {values}, against"
            f" {name_percent(level[0].from_source)} for naming the class that each film's source"
            " suggests. Right answers need not come from lungs."
        )
    return lines


def write_one_class(accuracy: Estimate) -> str:
    """Say what can be said of a model on films of one class, and what cannot."""
    return (
        f"All test films are of one class: {_in_words(accuracy)} of them are predicted so, and"
        " whether the model tells classes apart cannot be said; precision and AUC mean nothing."
    )


def name_points(estimate: Estimate) -> str:
    """Write a difference of shares with its interval in points."""
    if not estimate.is_defined:
        return "undefined"
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"


def name_share(estimate: Estimate) -> str:
    """Write a share with its interval in whole per cent."""
    if not estimate.is_defined:
        return "undefined"
    return f"{100 * estimate.value:.0f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def name_percent(share: float) -> str:
    """Write a share in per cent with one digit."""
    return f"{100 * share:.1f} %"


def name_p(p: float) -> str:
    """Write a p-value."""
    if math.isnan(p):
        return "no p"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _name_arms(footing: Sequence[Footing]) -> str:
    return join_words([one.train_data for one in footing])


def _in_words(estimate: Estimate) -> str:
    return (
        f"{name_percent(estimate.value)} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
        if estimate.is_defined
        else "undefined"
    )
