"""The three questions of every reader: does text drive it, may I believe it, did cleaning help?

Chooses what stands in one line, from numbers and verdicts that others made; tests nothing itself.
Verdicts on arms are of :mod:`covid_debug.evaluation.questions` alone.
"""

import math
from collections.abc import Iterable, Sequence

from covid_debug.audit.describing import find_blank_classes, name_bound
from covid_debug.audit.groups import GroupCounts
from covid_debug.evaluation.comparison import BASE_ARM, Footing
from covid_debug.evaluation.metrics import ALL_CLASSES
from covid_debug.evaluation.questions import NOT_MEASURED, ONE_SEED, PrimaryAnswer
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.reporting.answers import (
    ShortAnswer,
    name_p,
    name_percent,
    name_points,
    write_one_class,
)
from covid_debug.reporting.comparison import METRIC_NAMES, join_words
from covid_debug.reporting.summary import RunSummary

DOES_TEXT_DRIVE = "Does text drive the predictions?"
MAY_I_BELIEVE = "May I believe it?"
DID_CLEANING_HELP = "Did cleaning help?"
_MORE_OFTEN_THAN_NOT = 0.5
_DECIDED = ("improved", "worse")
_SECTIONS = {"ingest": "data"}
_SHORT_QUESTIONS = {
    "dependence": "less lost when text is exchanged",
    "text_free": "right on films without text",
    "unseen_source": "right on sources left out of the training",
    "beyond_placebo": "right without text, beyond the placebo",
}


def answer_briefly(summary: RunSummary) -> tuple[ShortAnswer, ...]:
    """Answer the three questions from a run's summary.

    Args:
        summary: Of any run; what it lacks is said to be unknown.

    Returns:
        Three answers, in the order of this module's title.
    """
    return (_does_text_drive(summary), _may_i_believe(summary), _did_cleaning_help(summary))


def _does_text_drive(summary: RunSummary) -> ShortAnswer:
    audit, groups = summary.audit, summary.audit.groups.by_class
    if not audit.n_audited:
        return ShortAnswer(DOES_TEXT_DRIVE, "not known", "open", "No prediction was audited.")
    notes = []
    if not groups:  # of an audit of version 0.1
        n_driven, n, bound = audit.verdicts["text_driven"], audit.n_audited, ""
    else:
        n_driven = sum(group.n_driven for group in groups.values())
        n = sum(group.n_predicted for group in groups.values())
        bounds = {
            name: f"{name_bound(group.upper)} % of {name} predictions"
            for name, group in groups.items()
        }
        highest = max(groups, key=lambda name: groups[name].upper)
        bound = f"; at most {bounds[highest]} rest on it (95 %)"
        if len(groups) > 1:
            notes.append(f"At most {join_words(list(bounds.values()))} rest on it, each at 95 %.")
    others = [
        f"{one.arm}, seed {one.seed}: {_count_driven(one.by_class.values())}"
        for one in summary.audits[1:]
    ]
    notes += [f"Driven in other models: {'; '.join(others)}."] if others else []
    for reason, count in audit.not_audited.items():
        were = "prediction was" if count == 1 else "predictions were"
        notes.append(f"{count} {were} not audited ({reason}).")
    if left := audit.verdicts.get("inconclusive", 0):
        notes.append(f"{left} of {audit.n_audited} audited films are inconclusive.")
    elsewhere = any(
        group.n_driven
        for one in summary.audits[1:]
        if one.arm == BASE_ARM
        for group in one.by_class.values()
    )
    word, tone = ("with other seeds", "care") if elsewhere else ("not shown", "open")
    return ShortAnswer(
        DOES_TEXT_DRIVE,
        "some of them" if n_driven else word,
        "bad" if n_driven else tone,  # type: ignore[arg-type]
        f"{n_driven} of {n} are driven by text that was found{bound}.",
        tuple(notes),
    )


def _may_i_believe(summary: RunSummary) -> ShortAnswer:
    own = _footing_of_audited(summary.footing)
    known, limits = _list_support(summary, own), _list_limits(summary, own)
    if own is not None and own.chance == 1:
        line = write_one_class(own.balanced_accuracy)
        return ShortAnswer(MAY_I_BELIEVE, "with care", "care", line, (*limits, *known))
    if own is not None and not own.is_above_chance:
        line = (
            f"Balanced accuracy {_range(own.balanced_accuracy)} is not measurably above chance,"
            f" {name_percent(own.chance)}: what drives such a model means little."
        )
        notes = (*_rank_all_the_same(summary), *limits, *known)
        return ShortAnswer(MAY_I_BELIEVE, "no", "bad", line, notes)
    found = summary.calibration
    if limits:
        line, rest = limits[0], limits[1:]
        if found is not None and found.n_flagged:
            line = (
                f"{_range(found.precision)} of {found.n_flagged} flags are right, but"
                f" {line[:1].lower()}{line[1:]}"
            )
        return ShortAnswer(MAY_I_BELIEVE, "with care", "care", line, (*rest, *known))
    if known:
        return ShortAnswer(MAY_I_BELIEVE, "no objection found", "open", known[0], tuple(known[1:]))
    line = "Nothing was measured that could say so."
    return ShortAnswer(MAY_I_BELIEVE, "not known", "open", line)


def _rank_all_the_same(summary: RunSummary) -> list[str]:
    """Say that scores tell classes apart where answers do not: two figures of one model."""
    area = summary.comparison.get(f"{BASE_ARM}/{BASE_ARM}", {}).get(f"{ALL_CLASSES}/auroc")
    if area is None or not area.low > 0.5:
        return []
    return [
        f"Its scores tell the classes apart all the same (AUROC {area.value:.2f}, {area.low:.2f} to"
        f" {area.high:.2f}): its threshold or scale may not fit these films."
    ]


def _list_support(summary: RunSummary, own: Footing | None) -> list[str]:
    """Return what is measured of the flags and of the model, whatever it says."""
    lines = []
    found = summary.calibration
    if found is not None:
        right = (
            f"{_range(found.precision)} of {found.n_flagged} flags are right"
            if found.n_flagged
            else "nothing was flagged"
        )
        flagged = f"flagged are {_range(found.recall)} of {found.n_changed} that really change"
        stays = sum(row.stays for row in found.by_verdict.values())
        wrong = wilson_interval(found.n_flagged - found.n_right, stays) if stays else None
        alarms = f", and {_range(wrong)} of {stays} that stay" if wrong else ""
        lines.append(f"Against the phantom's truth, {right}; {flagged}{alarms}.")
    if own is not None and own.is_above_chance:
        beside = (
            ""
            if math.isnan(own.from_source)
            else f", {name_percent(own.from_source)} from the source alone"
        )
        lines.append(
            f"Balanced accuracy {_range(own.balanced_accuracy)}; chance"
            f" {name_percent(own.chance)}{beside}."
        )
    return lines


def _list_limits(summary: RunSummary, own: Footing | None) -> list[str]:
    """Return what speaks against believing, the weightiest first."""
    lines = []
    found = summary.calibration
    if found is not None and found.n_flagged and found.precision.low <= _MORE_OFTEN_THAN_NOT:
        lines.append("Half of the flags or more may be wrong.")
    if found is not None and found.n_changed and found.recall.low <= _MORE_OFTEN_THAN_NOT:
        lines.append("Half of what really changes or more may be missed.")
    if own is not None and own.is_above_source is False:
        lines.append(
            f"The source alone gets {name_percent(own.from_source)} right,"
            f" the model{'' if summary.n_seeds == 1 else 's'} {_range(own.balanced_accuracy)};"
            " balanced accuracy."
        )
    for rate in () if summary.shortcuts is None else summary.shortcuts.rates:
        if rate.source.is_defined and rate.source.value >= rate.model.value:
            asked = "Class" if rate.question == "class" else f"“{rate.question}”"
            lines.append(
                f"{asked}: {_range(rate.source)} right from the source alone,"
                f" {_range(rate.model)} by the model."
            )
    if blank := find_blank_classes(summary.audit.baseline_answers):
        habits = join_words([f"{100 * share:.0f} % of {name}" for name, share in blank.items()])
        lines.append(f"{habits} predictions stay when the film is blurred away.")
    if warned := [row for row in summary.baselines if row.warning]:
        best = max(warned, key=lambda row: row.value)
        share = Estimate(best.value, best.low, best.high, best.n)
        lines.append(
            f"{best.name.capitalize()} alone, which sees no lung, gets {_range(share)} of the test"
            f" films right; the commonest label {name_percent(best.chance)}."
        )
    if summary.critical:
        names = [_SECTIONS.get(one.section, one.section) for one in summary.critical]
        about = join_words(list(dict.fromkeys(names)))
        n = len(summary.critical)
        lines.append(f"{n} critical finding{'' if n == 1 else 's'} about the {about}.")
    return lines


def _did_cleaning_help(summary: RunSummary) -> ShortAnswer:
    if not summary.questions:
        line = "No model was trained on cleaned films."
        return ShortAnswer(DID_CLEANING_HELP, "not asked", "open", line)
    measured = [one for one in summary.questions if one.verdict != NOT_MEASURED]
    if not measured:
        reason = summary.questions[0].reason
        return ShortAnswer(DID_CLEANING_HELP, NOT_MEASURED, "open", f"Not measured: {reason}.")
    decided = [one for one in measured if one.verdict in _DECIDED]
    shown = decided[0] if decided else measured[0]
    verdicts = list(dict.fromkeys(one.verdict for one in decided))
    word = " and ".join(verdicts) or shown.verdict
    tone = {"improved": "good", "worse": "bad"}.get(word, "care" if decided else "open")
    if 0 < len(decided) < len(measured):
        word += f" in {len(decided)} of {len(measured)}"
    n_open = len(summary.questions) - len(measured)
    if n_open and len(decided) == len(measured):
        word += ", where measured"
    notes = [
        f"Difference in {_name_difference(shown)};"
        f" {len(decided)} of {len(measured)} questions decided"
        f"{f', {n_open} not measured' if n_open else ''}.",
        *(
            f"{one.verdict.capitalize()}: {_sentence(one)}; {_name_difference(one)}."
            for one in measured
            if one is not shown
        ),
    ]
    return ShortAnswer(
        DID_CLEANING_HELP,
        word,
        tone,  # type: ignore[arg-type]
        f"{_sentence(shown)}.",
        tuple(notes),
    )


def _sentence(answer: PrimaryAnswer) -> str:
    question = answer.question
    about = _SHORT_QUESTIONS.get(question.name, question.words.rstrip("?"))
    basis = (
        "one seed"
        if answer.verdict == ONE_SEED
        else f"{name_p(answer.p_holm)} (Holm), {answer.n_seeds} seeds"
    )
    return f"{about[:1].upper()}{about[1:]}: {name_points(answer.estimate)}; {basis}"


def _name_difference(answer: PrimaryAnswer) -> str:
    question = answer.question
    return f"{METRIC_NAMES[question.metric].lower()}, {question.arm} against {question.against}"


def _footing_of_audited(footing: Sequence[Footing]) -> Footing | None:
    own = (BASE_ARM, BASE_ARM)
    return next((one for one in footing if (one.train_data, one.test_data) == own), None)


def _count_driven(groups: Iterable[GroupCounts]) -> str:
    found = list(groups)
    return f"{sum(one.n_driven for one in found)} of {sum(one.n_predicted for one in found)}"


def _range(share: Estimate) -> str:
    if not share.is_defined:
        return "an undefined share"
    return f"{name_percent(share.value)} ({100 * share.low:.1f} to {100 * share.high:.1f})"
