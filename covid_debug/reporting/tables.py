"""The tables of a run: flags.csv, maps.csv, comparison.csv and questions.csv.

Owns their columns; docs/reference/files.md lists them. They are stable.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from covid_debug.audit.artifact import AuditedFilm, SaliencyEvidence
from covid_debug.evaluation.comparison import Row
from covid_debug.evaluation.questions import PrimaryAnswer, Verdict
from covid_debug.records import Film, FilmRegions
from covid_debug.saliency.naming import title_of
from covid_debug.shown import to_cell

FLAGS_NAME = "flags.csv"
MAPS_NAME = "maps.csv"
COMPARISON_NAME = "comparison.csv"
QUESTIONS_NAME = "questions.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow:
    """One audited film in ``flags.csv``, empty where a number or word is missing.

    docs/reference/files.md says what each column holds.
    """

    image_id: str
    path: str
    patient_id: str | None
    label: str
    source: str
    view: str
    split: str
    n_regions: int | None
    predicted_class: str
    target_class: str
    probability: float
    text_area_share: float
    text_removed: float
    drop: float
    text_revealed: float
    blurred: float
    null_removed_min: float | None
    null_removed_max: float | None
    n_nulls: int
    cleaned_class: str | None
    enrichment: float | None
    mass_in_text: float | None
    insertion_top6: float | None
    deletion_top12: float | None
    saliency_void: bool | None
    void_reason: str | None
    verdict: str
    direction: str
    p_value: float
    q_value: float
    reasons: str
    error: str | None
    has_card: bool
    baseline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRow:
    """One map in ``maps.csv``, or why there is none; empty where a number or word is missing.

    docs/reference/files.md says what each column holds.
    """

    image_id: str
    path: str
    verdict: str
    chosen_because: str | None
    method: str
    title: str
    enrichment: float | None
    mass_in_text: float | None
    insertion_top6: float | None
    deletion_top12: float | None
    insertion_restores: bool | None
    deletion_loses: bool | None
    void: bool | None
    void_reason: str | None
    n_evaluations: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """One question in ``questions.csv``, empty where a number is missing.

    docs/reference/files.md says what each column holds.
    """

    question: str
    words: str
    arm: str
    against: str
    test_data: str
    minus: str
    class_name: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    smallest: float
    n: int
    n_patients: int
    n_seeds: int
    verdict: Verdict
    reason: str


FLAG_COLUMNS = tuple(field.name for field in fields(FlagRow))
MAP_COLUMNS = tuple(field.name for field in fields(MapRow))
COMPARISON_COLUMNS = tuple(field.name for field in fields(Row))
QUESTION_COLUMNS = tuple(field.name for field in fields(QuestionRow))


def write_csv(columns: Sequence[str], rows: Iterable[object]) -> str:
    """Return records as CSV text; None and NaN become empty cells, floats keep six digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(getattr(row, column)) for column in columns] for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    if isinstance(value, str):
        return to_cell(value)
    return "" if value is None else value


def question_rows(answers: Sequence[PrimaryAnswer]) -> list[QuestionRow]:
    """Return the rows of ``questions.csv``, one a question."""
    return [
        QuestionRow(
            question=answer.question.name,
            words=answer.question.words,
            arm=answer.question.arm,
            against=answer.question.against,
            test_data=answer.question.test_data,
            minus=answer.question.minus,
            class_name=answer.question.class_name,
            metric=answer.question.metric,
            value=answer.value,
            low=answer.low,
            high=answer.high,
            p=answer.p,
            p_holm=answer.p_holm,
            smallest=answer.smallest,
            n=answer.n,
            n_patients=answer.n_patients,
            n_seeds=answer.n_seeds,
            verdict=answer.verdict,
            reason=answer.reason,
        )
        for answer in answers
    ]


def flag_rows(
    audited: Sequence[AuditedFilm],
    films: Mapping[str, Film],
    regions: Mapping[str, FilmRegions],
    with_card: set[str],
    method: str,
) -> list[FlagRow]:
    """Return one row an audited film.

    Args:
        audited: The films in the order of the rows.
        films: Image id -> film.
        regions: Image id -> text regions.
        with_card: Image ids that the report shows.
        method: The audit's first one, whose map's numbers a row holds; empty without an audit.

    Returns:
        The rows of ``flags.csv``.
    """
    return [
        _flag_row(
            entry,
            films.get(entry.image_id),
            regions.get(entry.image_id),
            with_card,
            entry.maps.get(method),
        )
        for entry in audited
    ]


def map_rows(audited: Sequence[AuditedFilm]) -> list[MapRow]:
    """Return the rows of ``maps.csv``: one a film and method that was asked for a map of it."""
    return [
        _map_row(entry, method, entry.maps.get(method))
        for entry in audited
        for method in (*entry.maps, *entry.no_maps)
    ]


def _map_row(entry: AuditedFilm, method: str, said: SaliencyEvidence | None) -> MapRow:
    return MapRow(
        image_id=entry.image_id,
        path=entry.path,
        verdict=entry.verdict,
        chosen_because=entry.explained_because,
        method=method,
        title=title_of(method),
        enrichment=said.enrichment if said else None,
        mass_in_text=said.mass_in_text if said else None,
        insertion_top6=said.insertion_top6 if said else None,
        deletion_top12=said.deletion_top12 if said else None,
        insertion_restores=said.insertion_restores if said else None,
        deletion_loses=said.deletion_loses if said else None,
        void=said.void if said else None,
        void_reason=said.void_reason if said else None,
        n_evaluations=said.n_evaluations if said else None,
        error=entry.no_maps.get(method),
    )


def _flag_row(
    entry: AuditedFilm,
    film: Film | None,
    found: FilmRegions | None,
    with_card: set[str],
    saliency: SaliencyEvidence | None,
) -> FlagRow:
    after = entry.interventions
    return FlagRow(
        image_id=entry.image_id,
        path=entry.path,
        patient_id=film.patient_id if film else None,
        label=entry.label,
        source=entry.source,
        view=entry.view,
        split=entry.split,
        n_regions=None if found is None or found.error else len(found.regions),
        predicted_class=entry.predicted_class,
        target_class=entry.target_class,
        probability=entry.probability,
        text_area_share=entry.text_area_share,
        text_removed=after.text_removed,
        drop=entry.drop,
        text_revealed=after.text_revealed,
        blurred=after.blurred,
        null_removed_min=min(after.null_removed, default=None),
        null_removed_max=max(after.null_removed, default=None),
        n_nulls=len(after.null_removed),
        cleaned_class=entry.cleaned_class,
        enrichment=saliency.enrichment if saliency else None,
        mass_in_text=saliency.mass_in_text if saliency else None,
        insertion_top6=saliency.insertion_top6 if saliency else None,
        deletion_top12=saliency.deletion_top12 if saliency else None,
        saliency_void=saliency.void if saliency else None,
        void_reason=saliency.void_reason if saliency else None,
        verdict=entry.verdict,
        direction=entry.direction,
        p_value=entry.p_value,
        q_value=entry.q_value,
        reasons="; ".join(entry.reasons),
        error=entry.error,
        has_card=entry.image_id in with_card,
        baseline=entry.baseline,
    )
