"""A run in short: summary.json.

Owns its record, whose fields are the keys; docs/reference/files.md lists them. They are stable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covid_debug.artifacts import read_manifest, schema_version
from covid_debug.audit.artifact import Audit, BaselineAnswers, load_audit
from covid_debug.audit.calibration import FlagCalibration
from covid_debug.audit.confounds import Confound
from covid_debug.audit.groups import AuditGroups, GroupCounts
from covid_debug.audit.shortcut_map import ShortcutMap
from covid_debug.audit.telling import TellingText, tell_by_text
from covid_debug.audit.verdicts import VERDICTS
from covid_debug.cleaning.proof import CleaningProof
from covid_debug.data.filmset import FilmSet
from covid_debug.evaluation.comparison import Design, Footing
from covid_debug.evaluation.questions import PrimaryAnswer
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records import SPLITS, FilmRegions
from covid_debug.records_json import Number, read_record
from covid_debug.reporting.answers import ShortAnswer, TrainTest, list_train_test
from covid_debug.reporting.comparison import ComparisonTable
from covid_debug.reporting.headlines import CriticalFinding
from covid_debug.text.statistics import GroupStatistics, count_by_group

REPORT_KIND = "report"
REPORT_NAME = "report.html"
SUMMARY_NAME = "summary.json"


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95 % interval and the films behind it; NaN where undefined."""

    value: Number
    low: Number
    high: Number
    n: int

    @classmethod
    def of(cls, estimate: Estimate) -> "Interval":
        """Return an estimate without its reason."""
        return cls(estimate.value, estimate.low, estimate.high, estimate.n)


@dataclass(frozen=True, slots=True)
class DifferenceSummary:
    """An arm minus another one; ``mcnemar_p`` is of a single seed, else NaN."""

    value: Number
    low: Number
    high: Number
    n: int
    mcnemar_p: Number


@dataclass(frozen=True, slots=True)
class FilmsSummary:
    """The films: asked for, usable, classes, and usable ones by split."""

    n_total: int
    n_ok: int
    class_names: tuple[str, ...]
    by_split: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TextSummary:
    """What the scan for text found; the tables by group begin with all films.

    ``telling`` says which kinds of text and which contents come with which class and source.
    """

    n_scanned: int
    n_failed: int
    n_films_with_text: int
    n_regions: int
    by_source: tuple[GroupStatistics, ...]
    by_class: tuple[GroupStatistics, ...]
    telling: tuple[TellingText, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSummary:
    """The proof of cleaning in short; ``flags`` are the rules that fired."""

    n_total: int
    n_scanned: int
    detector: str
    is_independent: bool
    text_before: Estimate
    residual_text: Estimate
    residual_text_in_filled: Estimate
    residual_text_by_class: Mapping[str, Estimate]
    scar_auc: Estimate
    mask_auc: Mapping[str, Estimate]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCounts:
    """The audit in short.

    Attributes:
        target_class: Audited class; None where every film was audited for its prediction, or none.
        n_predicted_target: Films predicted as an audited class.
        n_audited: Of them, audited.
        not_audited: Kind of reason -> films left out.
        n_cards: Films that the report shows.
        verdicts: Verdict -> films.
        groups: Predictions by class, source and recognised text.
        baselines: Class -> what stood for "nothing".
        baseline_answers: What may stand for it -> what the model says of it.
    """

    target_class: str | None
    n_predicted_target: int | None
    n_audited: int
    not_audited: Mapping[str, int]
    n_cards: int
    verdicts: Mapping[str, int]
    groups: AuditGroups = field(default_factory=AuditGroups)
    baselines: Mapping[str, str] = field(default_factory=dict)
    baseline_answers: Mapping[str, BaselineAnswers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelAudit:
    """The audit of one of the models: its arm, training seed, artifact, and counts by class."""

    arm: str
    seed: int
    audit: str
    by_class: Mapping[str, GroupCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Content of a run's ``summary.json``.

    Attributes:
        schema_version: Version of the run's files.
        title: Name of the run.
        headlines: The few sentences that a reader should see first.
        films: The films.
        text: What the scan for text found.
        proof: The proof of cleaning, or None.
        audit: The audit.
        comparison: ``"arm/test set"`` -> ``"class/metric"`` -> value over all seeds.
        differences: ``"arm-other arm/test set"`` -> the same for differences.
        n_seeds: Trainings of each arm.
        baselines: Models that see no lung.
        calibration: The audit against the phantom's truth; None for real films.
        audits: The audits of all models; the first one is the one above.
        shortcuts: What films carry and the models rely on; None in runs of version 0.1.
        design: What was compared; None in runs of version 0.1, as what follows is empty.
        questions: The answers, and the only verdicts on arms.
        train_test: Precision and recall of the positive class, arm by arm.
        footing: Arms against chance and against the source alone.
        critical: Critical findings of ingest and of the proof of cleaning.
        short_answers: The three questions of every reader, answered in a line each.
    """

    schema_version: int
    title: str
    headlines: tuple[str, ...]
    films: FilmsSummary
    text: TextSummary
    proof: ProofSummary | None
    audit: AuditCounts
    comparison: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, DifferenceSummary]]
    n_seeds: int
    baselines: tuple[Confound, ...]
    calibration: FlagCalibration | None
    audits: tuple[ModelAudit, ...] = ()
    shortcuts: ShortcutMap | None = None
    design: Design | None = None
    questions: tuple[PrimaryAnswer, ...] = ()
    train_test: tuple[TrainTest, ...] = ()
    footing: tuple[Footing, ...] = ()
    critical: tuple[CriticalFinding, ...] = ()
    short_answers: tuple[ShortAnswer, ...] = ()

    def list_audited_classes(self) -> list[tuple[str, str, GroupCounts]]:
        """Return model, class and counts, of all audited models."""
        models = [(f"{one.arm}, seed {one.seed}", one.by_class) for one in self.audits]
        return [
            (model, name, row)
            for model, by_class in models or [("original", self.audit.groups.by_class)]
            for name, row in by_class.items()
        ]


def load_run_summary(run_dir: Path) -> RunSummary:
    """Load the summary of a run.

    Args:
        run_dir: Artifact of kind ``"report"``.

    Returns:
        The summary as written.

    Raises:
        ArtifactError: If the folder is no run, is broken or of a newer covid_debug.
    """
    read_manifest(run_dir, kind=REPORT_KIND)
    path = run_dir / SUMMARY_NAME
    return read_record(path, RunSummary, broken="is not readable", remedy="make the report again")


def summarise(
    title: str,
    headlines: Sequence[str],
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    proof: CleaningProof | None,
    audit: Audit | None,
    n_cards: int,
    table: ComparisonTable,
    baselines: tuple[Confound, ...],
    calibration: FlagCalibration | None,
    audits: tuple[ModelAudit, ...] = (),
    shortcuts: ShortcutMap | None = None,
    critical: tuple[CriticalFinding, ...] = (),
) -> RunSummary:
    """Return the content of ``summary.json``; ``n_cards`` films are shown as cards."""
    found, films = regions.values(), filmset.films
    everything, *_ = by_source = count_by_group(found, {f.image_id: f.source for f in films})
    return RunSummary(
        schema_version=schema_version(REPORT_KIND),
        title=title,
        headlines=tuple(headlines),
        films=FilmsSummary(
            n_total=filmset.n_total,
            n_ok=len(films),
            class_names=filmset.class_names,
            by_split={split: len(filmset.select(split)) for split in SPLITS},
        ),
        text=TextSummary(
            n_scanned=everything.n_total,
            n_failed=everything.n_total - everything.n_ok,
            n_films_with_text=everything.n_with_text,
            n_regions=everything.n_regions,
            by_source=tuple(by_source),
            by_class=tuple(count_by_group(found, {f.image_id: f.label for f in films})),
            telling=tell_by_text(films, regions),
        ),
        proof=None if proof is None else _summarise_proof(proof),
        audit=_count_audit(audit, n_cards),
        comparison={
            f"{arm}/{test}": {
                f"{name}/{metric}": Interval.of(estimate)
                for (name, metric), estimate in cell.items()
            }
            for (arm, test), cell in sorted(table.cells.items())
        },
        differences={
            f"{arm}-{against}/{test}": {
                f"{name}/{metric}": DifferenceSummary(
                    one.mean, one.low, one.high, one.n, one.mcnemar_p
                )
                for (name, metric), one in cell.items()
            }
            for (arm, against, test), cell in sorted(table.differences.items())
        },
        n_seeds=table.n_seeds,
        baselines=baselines,
        calibration=calibration,
        audits=audits,
        shortcuts=shortcuts,
        design=table.design,
        questions=table.answers,
        train_test=list_train_test(table),
        footing=table.footing,
        critical=critical,
    )


def _count_audit(audit: Audit | None, n_cards: int) -> AuditCounts:
    films = () if audit is None else audit.films
    return AuditCounts(
        target_class=audit.summary.target_class if audit and films else None,
        n_predicted_target=audit.summary.n_predicted_target if audit else None,
        n_audited=len(films),
        not_audited=audit.summary.not_audited if audit else {},
        n_cards=n_cards,
        verdicts={verdict: sum(f.verdict == verdict for f in films) for verdict in VERDICTS},
        groups=audit.summary.groups if audit else AuditGroups(),
        baselines=audit.summary.baselines if audit else {},
        baseline_answers=audit.summary.baseline_answers if audit else {},
    )


def summarise_audits(audits: Mapping[tuple[str, int], Path]) -> tuple[ModelAudit, ...]:
    """Read the audits of a run's models.

    Args:
        audits: Arm and training seed -> artifact.

    Returns:
        Their counts, in the same order.

    Raises:
        ArtifactError: If one is broken.
    """
    return tuple(
        ModelAudit(arm, seed, folder.name, load_audit(folder).summary.groups.by_class)
        for (arm, seed), folder in audits.items()
    )


def _summarise_proof(proof: CleaningProof) -> ProofSummary:
    residual, scars = proof.residual, proof.scars
    return ProofSummary(
        n_total=proof.n_total,
        n_scanned=residual.n_scanned,
        detector=residual.detector,
        is_independent=residual.is_independent,
        text_before=residual.share_before,
        residual_text=residual.share,
        residual_text_in_filled=residual.share_in_filled,
        residual_text_by_class=residual.by_class,
        scar_auc=scars.patch_auc,
        mask_auc=scars.class_auc,
        flags=tuple(flag.rule for flag in proof.flags),
    )
