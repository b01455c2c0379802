"""The audit's flags against known truth.

On phantom films the same film exists without its text, so it is known whether a prediction really
changes. Owns the comparison and its file; the films come from
:mod:`covid_debug.data.counterfactuals`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from covid_debug.artifacts import read_manifest
from covid_debug.audit.artifact import AuditedFilm, load_audit
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.records_json import read_record, write_record

if TYPE_CHECKING:  # torch stays away from those who only read a calibration
    from covid_debug.evaluation.predictions import FilmPredictions

CALIBRATION_KIND = "flag-calibration"
CALIBRATION_NAME = "calibration.json"
FLAGGED = "text_driven"
SUSPICIOUS = frozenset({"text_driven", "text_sensitive"})
TEXT_FREE = "text_free"
DEFINITION = (
    "A prediction really changes if the model leaves its class on the generator's own copy of the"
    " film without text."
)


@dataclass(frozen=True, slots=True)
class TruthCounts:
    """Films of one verdict whose prediction really changes without text, and whose stays."""

    changes: int
    stays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagCalibration:
    """How often a flag is right and how many real changes are flagged, with Wilson intervals.

    Attributes:
        precision: Share of the films with verdict ``text_driven`` that really change.
        recall: Share of all films that really change which have that verdict.
        recall_audited: The same among the audited films.
        recall_driven_or_sensitive: Share of all films that really change which are at least
            ``text_sensitive``.
        n_predicted: Films predicted as an audited class.
        n_audited: Of them, audited.
        n_flagged: Of them, flagged.
        n_changed: Predictions that really change.
        n_right: Flagged and really changed.
        by_verdict: Verdict, or ``"not_audited"`` -> counts by truth.
        definition: One sentence that says what counts as changed.
    """

    precision: Estimate
    recall: Estimate
    recall_audited: Estimate
    recall_driven_or_sensitive: Estimate
    n_predicted: int
    n_audited: int
    n_flagged: int
    n_changed: int
    n_right: int
    by_verdict: Mapping[str, TruthCounts]
    definition: str = DEFINITION


def measure_flags(films: Sequence[AuditedFilm], truth: Mapping[str, bool]) -> FlagCalibration:
    """Count how often a flag is right and how many real changes are flagged.

    Args:
        films: The audited films.
        truth: ``image_id`` -> whether the prediction really changes without text, for every film
            that is predicted as an audited class. A film that was not audited (its text was
            overlooked, or lies outside the view) counts as not flagged.

    Returns:
        Shares, counts, and a table of verdicts by truth.
    """
    verdicts = {film.image_id: film.verdict for film in films if film.image_id in truth}
    flagged = {image_id for image_id, verdict in verdicts.items() if verdict == FLAGGED}
    changed = {image_id for image_id, changes in truth.items() if changes}
    suspected = {image_id for image_id in changed if verdicts.get(image_id) in SUSPICIOUS}
    n_right = len(flagged & changed)
    table: dict[str, list[bool]] = {}
    for image_id, changes in truth.items():
        table.setdefault(verdicts.get(image_id, "not_audited"), []).append(changes)
    return FlagCalibration(
        precision=wilson_interval(n_right, len(flagged)),
        recall=wilson_interval(n_right, len(changed)),
        recall_audited=wilson_interval(n_right, len(changed & verdicts.keys())),
        recall_driven_or_sensitive=wilson_interval(len(suspected), len(changed)),
        n_predicted=len(truth),
        n_audited=len(verdicts),
        n_flagged=len(flagged),
        n_changed=len(changed),
        n_right=n_right,
        by_verdict={
            verdict: TruthCounts(sum(each), len(each) - sum(each))
            for verdict, each in sorted(table.items())
        },
    )


def calibrate(answers: "Sequence[FilmPredictions]", audit_dir: Path) -> FlagCalibration | None:
    """Measure an audit against the counterfactual films of a phantom.

    Args:
        answers: Predictions; those of the original arm's first seed, which the audit is about,
            on the original and the text-free films are used.
        audit_dir: Artifact of kind ``"audit"``.

    Returns:
        What :func:`measure_flags` found; None where the data set has no text-free films.

    Raises:
        ArtifactError: If the audit cannot be read.
    """
    audited = [answer for answer in answers if answer.arm == BASE_ARM]
    first = [answer for answer in audited if answer.seed == audited[0].seed]
    by_data = {answer.test_data: answer for answer in first}
    if "original" not in by_data or TEXT_FREE not in by_data:
        return None
    audit = load_audit(audit_dir)
    original, text_free = by_data["original"], by_data[TEXT_FREE]
    target = audit.summary.target_index
    after = dict(
        zip(text_free.image_ids, text_free.probabilities.argmax(axis=1).tolist(), strict=True)
    )
    before = original.probabilities.argmax(axis=1).tolist()
    truth = {
        image_id: after[image_id] != k
        for image_id, k in zip(original.image_ids, before, strict=True)
        if target in {None, k} and image_id in after
    }
    return measure_flags(audit.films, truth)


def write_calibration(folder: Path, calibration: FlagCalibration | None) -> None:
    """Write ``calibration.json`` into a folder; None is ``null``."""
    write_record(folder / CALIBRATION_NAME, calibration, indent=1)


def load_calibration(folder: Path) -> FlagCalibration | None:
    """Load an artifact of kind ``"flag-calibration"``.

    Returns:
        The calibration; None where the films have no known truth.

    Raises:
        ArtifactError: If the artifact is missing, broken or of another kind.
    """
    read_manifest(folder, kind=CALIBRATION_KIND)
    path, kind = folder / CALIBRATION_NAME, FlagCalibration | None
    found: FlagCalibration | None = read_record(
        path, cast("type[FlagCalibration]", kind), broken="is not readable", remedy="make it again"
    )
    return found
