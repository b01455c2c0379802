"""Precision, recall and AUROC against known truth, with intervals over patients.

Owns the numbers of one method over any number of models; knows neither films nor maps. Films of one
patient are drawn together, over all models: two models asked about one film are not two
observations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covid_debug.evaluation.auc import weighted_auc
from covid_debug.evaluation.statistics import (
    Estimate,
    cluster_bootstrap,
    summarise_replicates,
)

_N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """What one method says about one prediction of one model, and the truth.

    Attributes:
        model: Name of the model; scores are compared within a model only.
        patient: Patient of the film.
        is_driven: Truth.
        score: Larger = more suspicious.
        is_flagged: Whether the method calls the prediction driven by text.
    """

    model: str
    patient: str
    is_driven: bool
    score: float
    is_flagged: bool


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the table.

    Attributes:
        n: Predictions.
        n_driven: Of them, truly driven by the learned plant.
        precision: Flags that are right.
        recall: Driven predictions that are flagged.
        false_alarms: Share of the undriven predictions that are flagged.
        auroc: Chance that a driven prediction scores above an undriven one of the same model.
    """

    n: int
    n_driven: int
    precision: Estimate
    recall: Estimate
    false_alarms: Estimate
    auroc: Estimate


def score_judged(judged: Sequence[Judged], *, seed: int) -> Score:
    """Score one method.

    Args:
        judged: At least one prediction.
        seed: Of the bootstrap over patients.

    Returns:
        Its row.
    """
    driven = np.array([item.is_driven for item in judged])
    flagged = np.array([item.is_flagged for item in judged])
    patients = [item.patient for item in judged]
    return Score(
        n=len(judged),
        n_driven=int(driven.sum()),
        precision=estimate_share(driven, flagged, patients, seed=seed),
        recall=estimate_share(flagged, driven, patients, seed=seed),
        false_alarms=estimate_share(flagged, ~driven, patients, seed=seed),
        auroc=_estimate_auroc(judged, seed),
    )


def estimate_share(
    hit: NDArray[np.bool_], among: NDArray[np.bool_], patients: Sequence[str], *, seed: int
) -> Estimate:
    """Estimate the share of films with a property among films with another.

    Args:
        hit: ``(N,)``.
        among: ``(N,)``, the films in the denominator.
        patients: ``(N,)``.
        seed: Of the bootstrap over patients.

    Returns:
        The share in [0, 1]; undefined where no film is in the denominator.
    """
    n = int(among.sum())
    if not n:
        return Estimate.undefined(0, "no such prediction")
    sums = np.stack([hit & among, among], axis=1).astype(np.float64)

    def divide(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = np.full(len(totals), np.nan)
        np.divide(totals[:, 0], totals[:, 1], out=shares, where=totals[:, 1] > 0)
        return shares

    replicates = cluster_bootstrap(sums, patients, divide, seed=seed, n_resamples=_N_RESAMPLES)
    n_clusters = len({p for p, inside in zip(patients, among, strict=True) if inside})
    value = float(sums[:, 0].sum() / n)
    return summarise_replicates(value, replicates, n=n, n_clusters=n_clusters, bounds=(0.0, 1.0))


def choose_threshold(scores: Sequence[float], driven: Sequence[bool]) -> float:
    """Return the threshold with the best F1; a score at or above it is a flag.

    Args:
        scores: Of validation predictions.
        driven: Their truth.

    Returns:
        The threshold; infinite where no prediction is driven. Of equals the highest one.
    """
    best, threshold = 0.0, float("inf")
    values, truth = np.asarray(scores, np.float64), np.asarray(driven, np.bool_)
    for candidate in sorted(set(values.tolist()), reverse=True):
        flagged = values >= candidate
        n_right = int((flagged & truth).sum())
        f1 = 2 * n_right / max(1, int(flagged.sum()) + int(truth.sum()))
        if f1 > best:
            best, threshold = f1, candidate
    return threshold


def _estimate_auroc(judged: Sequence[Judged], seed: int) -> Estimate:
    """Average the models' areas by their pairs of driven and undriven predictions."""
    patients, index = np.unique([item.patient for item in judged], return_inverse=True)
    drawn = np.random.default_rng(seed).integers(len(patients), size=(_N_RESAMPLES, len(patients)))
    counts = np.stack([np.bincount(row, minlength=len(patients)) for row in drawn])
    weights = np.concatenate([np.ones((1, len(judged))), counts[:, index]])
    models = np.array([item.model for item in judged])
    driven = np.array([item.is_driven for item in judged])
    scores = np.array([item.score for item in judged], np.float64)
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for model in np.unique(models):
        own = models == model
        n_pairs = weights[:, own & driven].sum(axis=1) * weights[:, own & ~driven].sum(axis=1)
        area = weighted_auc(scores[own], driven[own], weights[:, own])
        won += np.where(n_pairs > 0, area * n_pairs, 0.0)
        pairs += n_pairs
    areas = np.full(len(weights), np.nan)
    np.divide(won, pairs, out=areas, where=pairs > 0)
    return summarise_replicates(
        float(areas[0]), areas[1:], n=len(judged), n_clusters=len(patients), bounds=(0.0, 1.0)
    )
