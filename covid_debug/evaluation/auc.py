"""Areas under the ROC curve, weighted and over patients.

Owns the area and its interval; the scores come ready-made.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covid_debug.evaluation.statistics import Estimate, draw_clusters, summarise_replicates


def weighted_auc(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute areas under the ROC curve for many weightings; ties count one half.

    Args:
        scores: ``(N,)``, larger = more likely positive.
        positive: ``(N,)``.
        weights: ``(R, N)``, one weighting a row.

    Returns:
        ``(R,)`` in [0, 1]; NaN where one side has no weight.
    """
    return area_of_sums(*sum_by_score(scores, positive, weights))


def area_of_sums(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute areas from the weights of positives and of the rest at each score, see above."""
    lower = np.cumsum(below, axis=1) - below / 2
    total = above.sum(axis=1) * below.sum(axis=1)
    result = np.full(len(above), np.nan)
    np.divide((above * lower).sum(axis=1), total, out=result, where=total > 0)
    return result


def precision_of_sums(
    found: NDArray[np.float64], false: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute average precisions from the weights of positives and of the rest at each score.

    The sum over thresholds of precision times the recall that it adds, without interpolation;
    equal scores are one threshold.

    Args:
        found: ``(R, T)`` from :func:`sum_by_score`.
        false: The same of the rest.

    Returns:
        ``(R,)`` in [0, 1]; NaN where no positive film has weight.
    """
    above = np.cumsum(found[:, ::-1], axis=1)
    named = above + np.cumsum(false[:, ::-1], axis=1)
    precision = np.divide(above, named, out=np.zeros_like(above), where=named > 0)
    total = above[:, -1]
    result = np.full(len(found), np.nan)
    np.divide((found[:, ::-1] * precision).sum(axis=1), total, out=result, where=total > 0)
    return result


def sum_by_score(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add up weights of equal scores, of positives and of the rest.

    Args:
        scores: ``(N,)``.
        positive: ``(N,)``.
        weights: ``(R, N)``, one weighting a row.

    Returns:
        Two of ``(R, T)``, for the ``T`` different scores from small to large.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    sorted_weights = weights[:, order]
    above = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    return above, np.add.reduceat(sorted_weights, starts, axis=1) - above


def estimate_macro_auc(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    patients: Sequence[str],
    *,
    seed: int,
    n_resamples: int = 500,
) -> Estimate:
    """Average the areas of every label against the others, with an interval over patients.

    Args:
        scores: ``(N, K)``, larger = more likely the label.
        labels: ``(N,)`` in [0, K).
        patients: ``(N,)``.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of patients.

    Returns:
        The mean area; NaN in a resample that lacks a label.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    counts = draw_clusters(len(names), seed=seed, n_resamples=n_resamples)
    weights = np.concatenate([np.ones((1, len(labels))), counts[:, index]])
    areas = np.stack(
        [weighted_auc(scores[:, k], labels == k, weights) for k in np.unique(labels)]
    ).mean(axis=0)
    return summarise_replicates(
        float(areas[0]), areas[1:], n=len(labels), n_clusters=len(names), bounds=(0.0, 1.0)
    )
