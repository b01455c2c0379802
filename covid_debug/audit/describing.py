"""An audit in sentences, the same for the terminal and the report."""

import math
from collections.abc import Mapping

from covid_debug.audit.artifact import AuditSummary, BaselineAnswers
from covid_debug.audit.groups import NO_TEXT, OUTSIDE, GroupCounts

_FINDING = 0.5  # share of a class's films that keep it when blurred, above which it is said


def describe_audit(summary: AuditSummary) -> list[str]:
    """Return what the model says of nothing, and a bound with counts for each predicted class."""
    if not summary.n_audited:
        name = "" if summary.target_class is None else f"{summary.target_class} "
        line = f"No {name}prediction was audited: whether text drives them is not known."
        return [line + _left_out(summary)]
    if not summary.groups.by_class:  # of an audit of version 0.1
        return [_count_line(summary)]
    warning = _tell_baseline(summary.baseline_answers)
    return [
        *([warning] if warning else []),
        *(_bound_line(name, group) for name, group in summary.groups.by_class.items()),
    ]


def name_bound(share: float) -> str:
    """Write a bound, in [0, 1], in per cent with one digit; it is never rounded down."""
    return f"{math.ceil(round(1000 * share, 6)) / 10:.1f}"


def _bound_line(name: str, group: GroupCounts) -> str:
    n_untested = sum(n for why, n in group.not_audited.items() if why not in {NO_TEXT, OUTSIDE})
    line = (
        f"At most {name_bound(group.upper)} % of {name} predictions rest on the text that was found"
        f" (95 %); {group.n_driven} of {group.n_predicted} are driven by it"
    )
    if n_untested:
        line += f", {n_untested} could not be tested and count as resting on it"
    return f"{line}."


def _count_line(summary: AuditSummary) -> str:
    counts = summary.verdicts
    return (
        f"{counts['text_driven']} of {summary.n_audited} audited {summary.target_class}"
        f" predictions are driven by burned-in text; sensitive to it:"
        f" {counts['text_sensitive']}, inconclusive: {counts['inconclusive']}, not driven:"
        f" {counts['not_text_driven']}." + _left_out(summary)
    )


def _left_out(summary: AuditSummary) -> str:
    if not summary.not_audited:
        return ""
    parts = ", ".join(f"{n} ({reason})" for reason, n in summary.not_audited.items())
    return f" Predicted so but not audited: {parts}."


def find_blank_classes(answers: Mapping[str, BaselineAnswers]) -> dict[str, float]:
    """Find the classes that a model names though nothing is left to see.

    Args:
        answers: What may stand for "nothing" -> what the model says of it.

    Returns:
        Class -> share of its audited films that keep it when blurred, where most of them do.
    """
    blurred = answers.get("blur")
    kept = {} if blurred is None else blurred.kept
    return {name: share for name, share in kept.items() if share > _FINDING}


def _tell_baseline(answers: Mapping[str, BaselineAnswers]) -> str:
    found = find_blank_classes(answers)
    if not found:
        return ""
    habits = [f"{100 * share:.0f} % of {name}" for name, share in found.items()]
    said = ", ".join(f"{n} {name}" for name, n in answers["blur"].predicted.items())
    return (
        f"Warning: blurred until nothing can be seen, {' and '.join(habits)} predictions stay"
        f" (blurred films: {said}). The model names a class where nothing is left."
    )
