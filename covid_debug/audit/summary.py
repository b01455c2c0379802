"""Counts and intervals over the verdicts of an audit.

Owns what ``summary.json`` counts; it reads records and judges nothing anew.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from covid_debug.audit.artifact import (
    AuditedFilm,
    AuditSummary,
    BaselineAnswers,
    MapCounts,
    NotAudited,
    SaliencyEvidence,
)
from covid_debug.audit.groups import NO_TEXT, OUTSIDE, Prediction, group_predictions
from covid_debug.audit.verdicts import Verdict
from covid_debug.evaluation.statistics import paired_bootstrap_difference


def summarise_audit(
    films: Sequence[AuditedFilm],
    left_out: Sequence[NotAudited],
    *,
    n_films: int,
    target_class: str | None,
    target_index: int | None,
    strong_drop: float,
    seed: int,
    map_methods: Sequence[str] = (),
    baseline_answers: Mapping[str, BaselineAnswers] | None = None,
) -> AuditSummary:
    """Summarise an audit.

    Args:
        films: The audited films.
        left_out: The others: unreadable, or predicted as an audited class and not audited.
        n_films: Films asked for.
        target_class: Audited class; None for all.
        target_index: Its index in the model; None for all.
        strong_drop: Fall of the probability from which on a prediction rests on text.
        seed: Seed of the bootstrap.
        map_methods: Methods by which films were explained.
        baseline_answers: What the model says where everything is removed.

    Returns:
        The summary.
    """
    ok = [film for film in films if film.error is None]
    predicted = [each for each in left_out if each.predicted_class is not None]
    drop = paired_bootstrap_difference(
        np.array([film.interventions.text_removed for film in ok]),
        np.array([film.probability for film in ok]),
        [film.patient_id for film in ok],
        seed=seed,
    )
    return AuditSummary(
        target_class=target_class,
        target_index=target_index,
        baseline=_commonest(film.baseline for film in films),
        n_films=n_films,
        n_unreadable=len(left_out) - len(predicted),
        n_predicted_target=len(films) + len(predicted),
        n_audited=len(films),
        n_failed=len(films) - len(ok),
        not_audited=_count(each.reason.split(":", maxsplit=1)[0] for each in predicted),
        verdicts=_count_verdicts(films),
        mean_drop=drop,
        directions=_count(film.direction for film in films),
        n_text_alone_suffices=sum(bool(film.text_suffices) for film in films),
        by_label={
            name: _count_verdicts([film for film in films if film.label == name])
            for name in sorted({film.label for film in films})
        },
        by_source={
            name: _count_verdicts([film for film in films if film.source == name])
            for name in sorted({film.source for film in films})
        },
        maps={
            method: {
                reason: _summarise_maps(
                    [film.maps.get(method) for film in films if film.explained_because == reason]
                )
                for reason in ("suspected", "control")
            }
            for method in map_methods
        },
        groups=group_predictions(
            [
                *(_to_prediction(film, strong_drop) for film in films),
                *(_to_untested(each, each.predicted_class or "") for each in predicted),
            ]
        ),
        baselines={
            name: _commonest(film.baseline for film in films if film.predicted_class == name)
            for name in sorted({film.predicted_class for film in films})
        },
        baseline_answers=baseline_answers or {},
    )


def _to_prediction(film: AuditedFilm, strong_drop: float) -> Prediction:
    return Prediction(
        film.predicted_class,
        film.source,
        film.patient_id,
        rests_on_text=film.error is not None
        or film.cleaned_class != film.predicted_class
        or film.drop >= strong_drop,
        verdict=film.verdict,
        contents=film.contents,
        kinds=film.kinds,
    )


def _to_untested(film: NotAudited, predicted_class: str) -> Prediction:
    return Prediction(
        predicted_class,
        film.source,
        film.patient_id,
        rests_on_text=film.reason not in {NO_TEXT, OUTSIDE},
        reason=film.reason,
    )


def _commonest(names: Iterable[str]) -> str:
    counts = Counter(names)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _count_verdicts(films: Sequence[AuditedFilm]) -> dict[str, int]:
    counts = Counter(film.verdict for film in films)
    return {verdict: counts[verdict] for verdict in get_args(Verdict)}


def _summarise_maps(found: Sequence[SaliencyEvidence | None]) -> MapCounts:
    maps = [each for each in found if each is not None]
    valid = [each for each in maps if not each.void]
    enrichments = [each.enrichment for each in valid if each.enrichment is not None]
    return MapCounts(
        n_explained=len(maps),
        n_void=len(maps) - len(valid),
        median_enrichment=round(float(np.median(enrichments)), 6) if enrichments else math.nan,
        n_top6_restores=sum(each.insertion_restores for each in valid),
        n_top12_loses=sum(each.deletion_loses for each in valid),
    )
