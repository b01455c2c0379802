"""The audit as an artifact: its records, and the only code that writes and reads its files.

One record a film (``verdicts.jsonl``), the films left out (``not_audited.jsonl``), a summary
(``summary.json``), and maps. Decides nothing.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import read_manifest
from covid_debug.audit.groups import AuditGroups
from covid_debug.audit.verdicts import VERDICTS, Direction, Verdict
from covid_debug.errors import ArtifactError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records import RegionKind
from covid_debug.records_json import Number, read_lines, read_record, write_lines, write_record

AUDIT_KIND = "audit"
VERDICTS_NAME = "verdicts.jsonl"
EXCLUDED_NAME = "not_audited.jsonl"
SUMMARY_NAME = "summary.json"
MAPS_NAME = "maps"
Chosen = Literal["suspected", "control"]
"""Why a film is explained."""
_AGAIN = "make the audit again"
_METHOD_OF_VERSION_1 = "igos_pp"  # the only one; its maps lie in the folder itself


@dataclass(frozen=True, slots=True)
class SaliencyEvidence:
    """What the map of one film says; numbers are rounded to six digits.

    Attributes:
        enrichment: Share of the saliency that lies in text, divided by the text's share of the
            view's area; 1 = no preference. None if the map has no positive value.
        mass_in_text: Share of the saliency that lies in text, in [0, 1], or None.
        insertion_top6: Target probability when the top 6 % pixels are revealed on the baseline.
        deletion_top12: Target probability when the top 12 % pixels are replaced by the baseline.
        insertion_restores: Whether the revealed pixels alone are predicted as the target.
        deletion_loses: Whether the film leaves the target class without them.
        void: Whether the map means nothing.
        void_reason: Why, or None.
        n_evaluations: Model evaluations of this map (its share of the batch).
    """

    enrichment: float | None
    mass_in_text: float | None
    insertion_top6: float
    deletion_top12: float
    insertion_restores: bool
    deletion_loses: bool
    void: bool
    void_reason: str | None
    n_evaluations: int


@dataclass(frozen=True, slots=True)
class LogOdds:
    """Log-odds of the target class, which p is computed from; NaN where untested.

    Attributes:
        film: On the film as it is.
        text_removed: Without its text.
        text_revealed: Only the text left.
        blurred: Everything removed, whatever the baseline is.
        null_removed: Without each matched patch.
        margin: Least effect that is tested for.
    """

    film: Number = math.nan
    text_removed: Number = math.nan
    text_revealed: Number = math.nan
    blurred: Number = math.nan
    null_removed: tuple[float, ...] = ()
    margin: Number = math.nan


@dataclass(frozen=True, slots=True)
class Interventions:
    """Target probability after each intervention; NaN where the film could not be tested.

    Attributes:
        text_removed: Without its text.
        text_revealed: Only the text left.
        blurred: Everything removed, whatever the baseline is.
        null_removed: Without each matched patch.
        log_odds: The same on the scale that is tested, and of the film as it is.
    """

    text_removed: Number = math.nan
    text_revealed: Number = math.nan
    blurred: Number = math.nan
    null_removed: tuple[float, ...] = ()
    log_odds: LogOdds = LogOdds()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedFilm:
    """One line of ``verdicts.jsonl``; numbers are rounded to six digits, NaN where untested.

    Attributes:
        image_id: Identity of the film.
        path: File of the film, as its data set names it.
        label: True class.
        source: Public data set that the film comes from.
        view: Projection, ``""`` where unknown.
        split: Split of the film.
        patient_id: Patient.
        predicted_class: Predicted class, for which the film is audited.
        target_class: The same.
        probability: Of the target class on the film as it is.
        probabilities: Of every class.
        text_area_share: Share of the view that text covers.
        interventions: Target probability after each intervention.
        cleaned_class: Predicted class without the text; None where untested.
        revealed_class: Predicted class with only the text; None where untested.
        null_classes: Predicted class without each matched patch.
        baseline: What stood for "nothing": ``"blur"``, ``"black"``, ``"gray"`` or ``"white"``.
        n_border_matched: Nulls at the text's own distance to the border.
        text_suffices: Whether the text alone makes the baseline the target class.
        maps: What its maps say, by method in the audit's order.
        no_maps: Why a method that was asked made no map, by method.
        explained_because: Why the film was explained, None where it was not.
        verdict: Verdict.
        direction: Which way the text pushes.
        p_value: See :class:`covid_debug.audit.verdicts.Significance`.
        q_value: Its false discovery rate.
        reasons: Why the verdict, in sentences.
        error: Why the interventions failed, or None.
        contents: What was read in its text, see :func:`covid_debug.audit.groups.read_contents`.
        kinds: Of what kinds its text is, see :func:`covid_debug.audit.groups.read_kinds`.
    """

    image_id: str
    path: str
    label: str
    source: str
    view: str
    split: str
    patient_id: str
    predicted_class: str
    target_class: str
    probability: float
    probabilities: Mapping[str, float]
    text_area_share: Number
    interventions: Interventions
    cleaned_class: str | None
    revealed_class: str | None
    null_classes: tuple[str, ...]
    baseline: str
    n_border_matched: int
    text_suffices: bool | None
    maps: Mapping[str, SaliencyEvidence] = field(default_factory=dict)
    no_maps: Mapping[str, str] = field(default_factory=dict)
    explained_because: Chosen | None
    verdict: Verdict
    direction: Direction
    p_value: Number
    q_value: Number
    reasons: tuple[str, ...]
    error: str | None
    contents: tuple[str, ...] = ()
    kinds: tuple[RegionKind, ...] = ()

    @property
    def drop(self) -> float:
        """Probability of the target class that goes away with the text; NaN where untested."""
        return self.probability - self.interventions.text_removed

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sort key: most severe verdict first, then the largest drop."""
        drop = math.inf if math.isnan(self.drop) else -self.drop
        return VERDICTS.index(self.verdict), drop, self.image_id


@dataclass(frozen=True, slots=True)
class NotAudited:
    """A film predicted as an audited class, or unreadable, that was not audited, and why.

    Attributes:
        image_id: Identity of the film.
        reason: Why it was left out.
        predicted_class: Predicted class, None where the film cannot be read.
        source: Public data set that the film comes from.
        patient_id: Patient.
    """

    image_id: str
    reason: str
    predicted_class: str | None = None
    source: str = ""
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class MapCounts:
    """What the maps of a group of films say together; ``median_enrichment`` is of valid maps."""

    n_explained: int
    n_void: int
    median_enrichment: Number
    n_top6_restores: int
    n_top12_loses: int


@dataclass(frozen=True, slots=True)
class BaselineAnswers:
    """What the model says where everything is removed from audited films, in one way.

    Attributes:
        n_films: Films that were asked about.
        predicted: Class -> films whose baseline is predicted as it.
        kept_share: Share of the films whose baseline is still predicted as the film's class.
        kept: The same by class of the films.
        explainable: Class of the films -> share of them that lose enough probability for a map.
    """

    n_films: int
    predicted: Mapping[str, int]
    kept_share: Number
    kept: Mapping[str, float]
    explainable: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """Counts and intervals over the verdicts of an audit.

    Attributes:
        target_class: Audited class; None for all.
        target_index: Its index in the model; None for all.
        baseline: What stood for "nothing" on most films.
        n_films: Films asked for.
        n_unreadable: Of them, films that could not be read at all.
        n_predicted_target: Films predicted as an audited class.
        n_audited: Of them, films with text in the view.
        n_failed: Of them, films on which something failed.
        not_audited: Kind of reason -> films predicted as an audited class but not audited.
        verdicts: Verdict -> films.
        mean_drop: Mean of probability without the text minus probability as it is.
        directions: Direction -> films.
        n_text_alone_suffices: Films whose text alone makes the baseline their class.
        by_label: True class -> verdict -> films.
        by_source: Source -> verdict -> films.
        maps: Method, in the audit's order -> ``"suspected"`` and ``"control"`` -> what their maps
            by it say.
        groups: Predictions by class, source and recognised text, with upper bounds.
        baselines: Class -> what stood for "nothing" on films predicted as it.
        baseline_answers: What may stand for "nothing" -> what the model says of it.
    """

    target_class: str | None
    target_index: int | None
    baseline: str
    n_films: int
    n_unreadable: int
    n_predicted_target: int
    n_audited: int
    n_failed: int
    not_audited: Mapping[str, int]
    verdicts: Mapping[str, int]
    mean_drop: Estimate
    directions: Mapping[str, int]
    n_text_alone_suffices: int
    by_label: Mapping[str, Mapping[str, int]]
    by_source: Mapping[str, Mapping[str, int]]
    maps: Mapping[str, Mapping[str, MapCounts]] = field(default_factory=dict)
    groups: AuditGroups = field(default_factory=AuditGroups)
    baselines: Mapping[str, str] = field(default_factory=dict)
    baseline_answers: Mapping[str, BaselineAnswers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audit:
    """A finished audit.

    Attributes:
        path: The artifact, of kind ``"audit"``.
        films: The audited films, in the order of the data set.
        summary: Counts over them.
        not_audited: Films that were left out.
    """

    path: Path
    films: tuple[AuditedFilm, ...]
    summary: AuditSummary
    not_audited: tuple[NotAudited, ...] = ()

    @property
    def map_methods(self) -> tuple[str, ...]:
        """Methods by which films were explained, in the audit's order."""
        return tuple(self.summary.maps)

    def load_map(self, image_id: str, method: str) -> NDArray[np.float32] | None:
        """Return a film's saliency map by one method, ``(S, S)``, or None where none was made.

        Raises:
            ArtifactError: If the file is broken.
        """
        name = f"{image_id}.npy"
        path = self.path / MAPS_NAME / method / name
        if not path.is_file() and method == _METHOD_OF_VERSION_1:
            path = self.path / MAPS_NAME / name
        if not path.is_file():
            return None
        try:
            return np.asarray(np.load(path, allow_pickle=False), np.float32)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path}: is not a saliency map; {_AGAIN}") from error


def write_audit(folder: Path, audit: Audit, maps: Mapping[str, Mapping[str, Path]]) -> None:
    """Write the files of an audit into a folder that is being filled.

    Args:
        folder: The artifact's draft.
        audit: What to write; its own ``path`` is not looked at.
        maps: Method -> ``image_id`` -> file of its map, ``(S, S)`` float16.
    """
    write_lines(folder / VERDICTS_NAME, audit.films)
    write_lines(folder / EXCLUDED_NAME, audit.not_audited)
    write_record(folder / SUMMARY_NAME, audit.summary, ascii_only=False)
    (folder / MAPS_NAME).mkdir()
    for method, by_film in maps.items():
        (folder / MAPS_NAME / method).mkdir()
        for image_id, file in by_film.items():
            shutil.copyfile(file, folder / MAPS_NAME / method / f"{image_id}.npy")


def load_audit(folder: Path) -> Audit:
    """Load a finished audit; maps are read one by one, see :meth:`Audit.load_map`.

    Args:
        folder: Artifact of kind ``"audit"``.

    Returns:
        The audit as written.

    Raises:
        ArtifactError: If the artifact is missing, broken, of another kind or of a newer
            covid_debug.
    """
    version = read_manifest(folder, kind=AUDIT_KIND).get("schema_version", 1)
    films = _read_films(folder, AuditedFilm)
    summary = _read_summary(folder, AuditSummary)
    if int(version) == 1:
        method = _METHOD_OF_VERSION_1
        maps = [old.saliency for old in _read_films(folder, _FilmOfVersion1)]
        films = tuple(
            film if saliency is None else replace(film, maps={method: saliency})
            for film, saliency in zip(films, maps, strict=True)
        )
        counts = _read_summary(folder, _SummaryOfVersion1).saliency
        summary = replace(summary, maps={method: counts})
    left_out = read_lines(
        folder / EXCLUDED_NAME, NotAudited, broken="is not readable", remedy=_AGAIN
    )
    return Audit(folder, films, summary, left_out)


@dataclass(frozen=True, slots=True)
class _FilmOfVersion1:
    saliency: SaliencyEvidence | None


@dataclass(frozen=True, slots=True)
class _SummaryOfVersion1:
    saliency: Mapping[str, MapCounts]


_Record = TypeVar("_Record")


def _read_films(folder: Path, kind: type[_Record]) -> tuple[_Record, ...]:
    line = "has a line that is not a verdict"
    return read_lines(folder / VERDICTS_NAME, kind, broken=line, remedy=_AGAIN)


def _read_summary(folder: Path, kind: type[_Record]) -> _Record:
    return read_record(folder / SUMMARY_NAME, kind, broken="is not readable", remedy=_AGAIN)
