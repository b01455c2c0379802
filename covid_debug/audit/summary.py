"""Counts and intervals over the verdicts of an audit.

Owns what ``summary.json`` counts; it reads records and judges nothing anew.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from covid_debug.audit.artifact import AuditedFilm, AuditSummary, MapCounts
from covid_debug.audit.verdicts import Verdict
from covid_debug.evaluation.statistics import paired_bootstrap_difference


def summarise_audit(
    films: Sequence[AuditedFilm],
    excluded: Mapping[str, str],
    *,
    n_films: int,
    n_unreadable: int,
    target_class: str,
    target_index: int,
    baseline: str,
    seed: int,
) -> AuditSummary:
    """Summarise an audit.

    Args:
        films: The audited films.
        excluded: ``image_id`` -> why a film predicted as the target was not audited.
        n_films: Films asked for.
        n_unreadable: Of them, films that could not be read at all.
        target_class: Audited class.
        target_index: Its index in the model.
        baseline: What stood for "nothing", see ``choose_baseline``.
        seed: Seed of the bootstrap.

    Returns:
        The summary.
    """
    ok = [film for film in films if film.error is None]
    drop = paired_bootstrap_difference(
        np.array([film.interventions.text_removed for film in ok]),
        np.array([film.probability for film in ok]),
        [film.patient_id for film in ok],
        seed=seed,
    )
    return AuditSummary(
        target_class=target_class,
        target_index=target_index,
        baseline=baseline,
        n_films=n_films,
        n_unreadable=n_unreadable,
        n_predicted_target=len(films) + len(excluded),
        n_audited=len(films),
        n_failed=len(films) - len(ok),
        not_audited=_count(reason.split(":", maxsplit=1)[0] for reason in excluded.values()),
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
        saliency={
            reason: _summarise_maps([f for f in films if f.explained_because == reason])
            for reason in ("suspected", "control")
        },
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _count_verdicts(films: Sequence[AuditedFilm]) -> dict[str, int]:
    counts = Counter(film.verdict for film in films)
    return {verdict: counts[verdict] for verdict in get_args(Verdict)}


def _summarise_maps(films: Sequence[AuditedFilm]) -> MapCounts:
    maps = [film.saliency for film in films if film.saliency is not None]
    valid = [each for each in maps if not each.void]
    enrichments = [each.enrichment for each in valid if each.enrichment is not None]
    return MapCounts(
        n_explained=len(maps),
        n_void=len(maps) - len(valid),
        median_enrichment=round(float(np.median(enrichments)), 6) if enrichments else math.nan,
        n_top6_restores=sum(each.insertion_restores for each in valid),
        n_top12_loses=sum(each.deletion_loses for each in valid),
    )
