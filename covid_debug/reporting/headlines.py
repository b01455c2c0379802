"""The few sentences that a reader should see first.

Every sentence carries its counts or its interval; nothing is claimed beyond them.
"""

import math
from collections.abc import Sequence

from covid_debug.arms import CLEANED_ARM
from covid_debug.audit.artifact import Audit
from covid_debug.audit.calibration import FlagCalibration
from covid_debug.audit.confounds import Confound
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.shortcut_map import ShortcutMap, write_shortcut_lines
from covid_debug.cleaning.proof import CleaningProof
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.questions import ONE_SEED
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.comparison import ComparisonTable

TEST_NAMES = {
    "original": "the original test films",
    "cleaned": "the cleaned test films",
    "text_free": "the test films without any text",
    "text_swapped": "the test films with text of another class",
}


def write_headlines(
    audit: Audit | None,
    table: ComparisonTable,
    baselines: Sequence[Confound] = (),
    calibration: FlagCalibration | None = None,
    proof: CleaningProof | None = None,
    shortcuts: ShortcutMap | None = None,
) -> list[str]:
    """Write the headline sentences.

    Args:
        audit: The audit, or None.
        table: The comparison.
        baselines: Models that see no lung.
        calibration: The audit against the phantom's truth, or None.
        proof: The proof of cleaning, or None.
        shortcuts: What films carry and the models rely on, or None.

    Returns:
        Sentences, the most important first.
    """
    found = () if proof is None else proof.scars.flags
    flags = {
        severity: [
            f"{severity.capitalize()}: {flag.message}."
            for flag in found
            if flag.severity == severity
        ]
        for severity in ("critical", "warning")
    }
    lines = _chance_lines(table)
    if shortcuts is not None:
        lines += write_shortcut_lines(shortcuts)
    if audit is not None:
        lines += describe_audit(audit.summary)
    lines += flags["critical"]
    if calibration is not None:
        lines.append(_calibration_line(calibration))
    for arm in table.arms:
        if arm == CLEANED_ARM:
            lines += [line for test in table.tests if (line := _difference_line(table, arm, test))]
        elif arm != BASE_ARM and (line := _control_line(table, arm)):
            lines.append(line)
    lines += flags["warning"]
    defined = [row for row in baselines if not math.isnan(row.value)]
    if defined:
        best = max(defined, key=lambda row: row.value)
        lines.append(
            f"{start_sentence(best.name)}, which sees no lung, gets"
            f" {_percent(best.value)} of the test films right (n = {best.n}); always giving"
            f" the commonest label gets {_percent(best.chance)}."
        )
    return lines


def start_sentence(text: str) -> str:
    """Return the text with a capital, unless its first word has one already (``"iGOS++"``)."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    return text if word != word.lower() else text[:1].upper() + text[1:]


def _chance_lines(table: ComparisonTable) -> list[str]:
    """Return a warning when the audited model cannot be told from chance."""
    balanced = table.audited.get(("all", "balanced_accuracy"))
    n_classes = sum(
        metric == "recall" and estimate.is_defined
        for (_, metric), estimate in table.audited.items()
    )
    if balanced is None or not n_classes or balanced.low * n_classes > 1:
        return []
    return [
        f"Warning: the audited model is not measurably better than chance on {TEST_NAMES[BASE_ARM]}"
        f" (balanced accuracy {_percent(balanced.value)}, {100 * balanced.low:.1f} to"
        f" {_percent(balanced.high)}; chance is {_percent(1 / n_classes)}): verdicts about what"
        " drives it mean little."
    ]


def _calibration_line(calibration: FlagCalibration) -> str:
    right = (
        f"{_range(calibration.precision)} of the flags are right"
        if calibration.n_flagged
        else "nothing was flagged"
    )
    found = (
        f"{_range(calibration.recall)} of the predictions that really change are flagged"
        if calibration.n_changed
        else "no prediction really changes without its text"
    )
    return (
        f"Against the phantom's truth, {right} and {found}"
        f" ({calibration.n_flagged} flagged, {calibration.n_changed} change,"
        f" {calibration.n_audited} audited)."
    )


def _difference_line(table: ComparisonTable, arm: str, test: str) -> str:
    first = table.get(BASE_ARM, test, "all", "accuracy")
    second = table.get(arm, test, "all", "accuracy")
    difference = table.get_difference(arm, test, "all", "accuracy")
    if first is None or second is None or difference is None:
        return ""
    values = (
        f"On {TEST_NAMES.get(test, test)} accuracy is {_percent(first.value)} trained on the"
        f" original films and {_percent(second.value)} trained on the {arm} films:"
    )
    points = _points(difference.estimate)
    if difference.n_seeds < 2:
        return f"{values} {points}, for this pair of models (n = {second.n}); {ONE_SEED}."
    return f"{values} {points} (n = {second.n}, {table.n_seeds} seeds)."


def _control_line(table: ComparisonTable, arm: str) -> str:
    """Return one sentence about all test sets of an arm that is only a control."""
    found = {
        TEST_NAMES.get(test, test): difference
        for test in table.tests
        if (difference := table.get_difference(arm, test, "all", "accuracy"))
    }
    if not found:
        return ""
    parts = [f"{_points(difference.estimate)} on {test}" for test, difference in found.items()]
    if any(difference.n_seeds < 2 for difference in found.values()):
        parts.append(ONE_SEED)
    return f"Control, trained on the {arm} films: {'; '.join(parts)}."


def _points(estimate: Estimate) -> str:
    if not estimate.is_defined:
        return "undefined"
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} points, {low:+.1f} to {high:+.1f}"


def _range(share: Estimate) -> str:
    if not share.is_defined:
        return "an undefined share"
    return f"{_percent(share.value)} ({_percent(share.low)} to {_percent(share.high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
