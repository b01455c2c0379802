"""The few sentences that a reader should see first.

Every sentence carries its counts or its interval; nothing is claimed beyond them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from covid_debug.audit.artifact import Audit
from covid_debug.audit.calibration import FlagCalibration
from covid_debug.audit.confounds import Confound
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.shortcut_map import ShortcutMap, write_shortcut_lines
from covid_debug.cleaning.proof import CleaningProof
from covid_debug.data.integrity import IngestAudit
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.answers import (
    list_train_test,
    name_percent,
    write_answer,
    write_warnings,
)
from covid_debug.reporting.comparison import ComparisonTable, name_test


@dataclass(frozen=True, slots=True)
class CriticalFinding:
    """A finding that takes the weight from results: the report's section about it, and the words.

    The section is the name of its anchor, ``"ingest"`` or ``"cleaning"``.
    """

    section: str
    message: str


@dataclass(frozen=True, slots=True)
class Headlines:
    """The sentences that a reader should see first.

    Attributes:
        warnings: What takes the weight from everything below.
        critical: Critical findings.
        answers: To the questions that were fixed before the training, and precision and recall.
        others: What else was found, the most important first.
    """

    warnings: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """All of them, in order."""
        return (*self.warnings, *self.critical, *self.answers, *self.others)


def write_headlines(
    audit: Audit | None,
    table: ComparisonTable,
    baselines: Sequence[Confound] = (),
    calibration: FlagCalibration | None = None,
    proof: CleaningProof | None = None,
    shortcuts: ShortcutMap | None = None,
    critical: Sequence[CriticalFinding] = (),
    remarks: Sequence[str] = (),
) -> Headlines:
    """Write the headline sentences.

    Args:
        audit: The audit, or None.
        table: The comparison.
        baselines: Models that see no lung.
        calibration: The audit against the phantom's truth, or None.
        proof: The proof of cleaning, or None.
        shortcuts: What films carry and the models rely on, or None.
        critical: What :func:`collect_critical` found.
        remarks: Of whoever asked for the report, without full stop; warnings, too.

    Returns:
        Warnings, critical findings, answers with verdicts, and the rest without.
    """
    scars = () if proof is None else proof.scars.flags
    lines: list[str] = []
    if shortcuts is not None:
        lines += write_shortcut_lines(shortcuts)
    if audit is not None:
        lines += describe_audit(audit.summary)
    if calibration is not None:
        lines.append(_calibration_line(calibration))
    lines += [f"Warning: {flag.message}." for flag in scars if flag.severity == "warning"]
    defined = [row for row in baselines if not math.isnan(row.value)]
    if defined:
        best = max(defined, key=lambda row: row.value)
        lines.append(
            f"{start_sentence(best.name)}, which sees no lung, gets"
            f" {name_percent(best.value)} of the test films right (n = {best.n}); always giving"
            f" the commonest label gets {name_percent(best.chance)}."
        )
    compared = table.footing and not table.is_lone
    warnings = write_warnings(table.footing, table.arms) if compared else _chance_lines(table)
    answers = [write_answer(answer) for answer in table.answers]
    return Headlines(
        (*warnings, *(f"Warning: {remark}." for remark in remarks)),
        tuple(f"Critical: {one.message}." for one in critical),
        (*answers, *_precision_recall_lines(table)),
        tuple(lines),
    )


def collect_critical(
    ingest: IngestAudit | None, proof: CleaningProof | None
) -> tuple[CriticalFinding, ...]:
    """Return the critical findings of a run.

    Args:
        ingest: What the audit of the data found, or None.
        proof: The proof of cleaning, or None.

    Returns:
        Those about the data first.
    """
    found = {
        "ingest": () if ingest is None else ingest.flags,
        "cleaning": () if proof is None else proof.flags,
    }
    return tuple(
        CriticalFinding(section, flag.message.rstrip("."))
        for section, flags in found.items()
        for flag in flags
        if flag.severity == "critical"
    )


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
    if balanced is None or n_classes < 2 or balanced.low * n_classes > 1:
        return []
    where = "these films" if table.is_lone else name_test(BASE_ARM)
    return [
        f"Warning: the audited model is not measurably better than chance on {where}"
        f" (balanced accuracy {name_percent(balanced.value)}, {100 * balanced.low:.1f} to"
        f" {name_percent(balanced.high)}; chance is {name_percent(1 / n_classes)}): verdicts"
        " about what drives it mean little."
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


def _precision_recall_lines(table: ComparisonTable) -> list[str]:
    """Return precision and recall of every arm on the test films as they are, as one line."""
    rows = [row for row in list_train_test(table) if row.test_data == BASE_ARM]
    parts = [
        f"{_range(row.precision)} and {_range(row.recall)} trained on the {row.train_data} films"
        for row in rows
    ]
    if not parts or table.is_lone:
        return []
    seeds = f"{table.n_seeds} seeds" if table.n_seeds > 1 else "one seed"
    return [
        f"{table.positive} precision and recall on {name_test(BASE_ARM)} ({seeds}):"
        f" {'; '.join(parts)}."
    ]


def _range(share: Estimate) -> str:
    if not share.is_defined:
        return "an undefined share"
    return f"{name_percent(share.value)} ({name_percent(share.low)} to {name_percent(share.high)})"
