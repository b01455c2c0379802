"""One classifier, or two on the same films, with intervals over patients.

Owns the records of single models; the metrics are computed in
:mod:`covid_debug.evaluation.metrics`. A metric that has no meaning (a class without films) is an
undefined estimate with a reason, never 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_debug.evaluation.crossed import UNIT, crossed_estimate
from covid_debug.evaluation.metrics import ALL_CLASSES, SHARES, Key, Scores, compute_scores
from covid_debug.evaluation.statistics import Estimate, mcnemar_exact
from covid_debug.records_json import Number


@dataclass(frozen=True, slots=True)
class Classification:
    """How well a classifier does on labelled films.

    Attributes:
        class_names: Classes in the order of the confusion matrix.
        estimates: Class (or ``"all"``) and metric -> estimate, see
            :func:`covid_debug.evaluation.metrics.compute_scores`.
        confusion: ``(K, K)`` counts, rows true class, columns predicted class.
        n_patients: Clusters behind the intervals.
    """

    class_names: tuple[str, ...]
    estimates: Mapping[Key, Estimate]
    confusion: NDArray[np.int64]
    n_patients: int

    @property
    def accuracy(self) -> Estimate:
        """Share of films with the right class."""
        return self.estimates[ALL_CLASSES, "accuracy"]

    @property
    def macro_f1(self) -> Estimate:
        """Mean F1 over the classes that have at least one film."""
        return self.estimates[ALL_CLASSES, "macro_f1"]

    @property
    def balanced_accuracy(self) -> Estimate:
        """Mean recall over the same classes; chance is 1 / their number."""
        return self.estimates[ALL_CLASSES, "balanced_accuracy"]

    def rows(self) -> Iterator[tuple[str, str, Estimate]]:
        """Yield ``(class_name, metric, estimate)``; class_name is ``"all"`` for the overall ones.

        Yields:
            Accuracy first, then the other overall metrics, then those of each class.
        """
        for (name, metric), estimate in self.estimates.items():
            yield name, metric, estimate


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """One metric of two classifiers on the same films.

    Attributes:
        class_name: Class, or ``"all"``.
        metric: As in :func:`covid_debug.evaluation.metrics.compute_scores`.
        value_a: Value of the first classifier; NaN where undefined.
        value_b: Value of the second classifier.
        difference: ``b - a`` with its paired interval over patients.
        mcnemar_p: Exact McNemar p-value over films for accuracy and recall; NaN for metrics that
            are not a share of right answers among fixed films.
    """

    class_name: str
    metric: str
    value_a: Number
    value_b: Number
    difference: Estimate
    mcnemar_p: Number


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Second classifier against the first, film by film: these two models, not their recipes.

    Attributes:
        mcnemar_p: Exact McNemar p-value of all films, right against wrong.
        n_only_a: Films that only the first classifier gets right.
        n_only_b: Films that only the second classifier gets right.
        n: Films compared.
        differences: One entry a metric and class, in the order of :meth:`Classification.rows`.
    """

    mcnemar_p: Number
    n_only_a: int
    n_only_b: int
    n: int
    differences: tuple[MetricDifference, ...]


def compute_classification(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    patients: Sequence[str],
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Classification:
    """Score predictions against labels, with 95 % intervals over patients.

    Args:
        labels: ``(N,)`` true class indices.
        probabilities: ``(N, K)`` class probabilities; the largest decides, the first on ties.
        class_names: ``K`` class names.
        patients: ``(N,)`` patient of each film; patients are resampled, not films.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of patients.

    Returns:
        The metrics. Undefined ones carry a reason.

    Raises:
        InputContractError: If lengths, shapes, indices or probabilities do not fit.
    """
    scores = compute_scores(
        labels, probabilities, class_names, patients, seed=seed, n_resamples=n_resamples
    )
    return summarise_scores(scores, np.asarray(labels), np.asarray(probabilities), class_names)


def summarise_scores(
    scores: Scores,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    class_names: Sequence[str],
) -> Classification:
    """Return the scores of one model as estimates, with its confusion matrix."""
    estimates = {}
    for column, key in enumerate(scores.keys):
        base = scores.bases[column]
        n, reason = int(base.sum()), scores.reasons[column]
        estimates[key] = (
            Estimate.undefined(n, reason)
            if reason
            else crossed_estimate(
                scores.values[column, None],
                scores.replicates[:, column, None],
                n=n,
                n_clusters=len(np.unique(scores.patients[base])),
                bounds=UNIT,
            ).estimate
        )
    confusion = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    n_patients = int(scores.patients.max()) + 1
    return Classification(tuple(class_names), estimates, confusion, n_patients)


def compare_scores(first: Scores, second: Scores) -> PairedComparison:
    """Compare two classifiers (or one on two versions of the films), film by film.

    Both are scored on the same resamples of patients, so what the films share cancels out.

    Args:
        first: Scores of one model.
        second: Scores of the other on the same films, with the same seed.

    Returns:
        Differences ``second - first`` with intervals and McNemar tests.
    """
    entries = []
    for column, (name, metric) in enumerate(first.keys):
        base = first.bases[column] | second.bases[column]
        difference = crossed_estimate(
            (second.values - first.values)[column, None],
            second.replicates[:, column, None] - first.replicates[:, column, None],
            n=int(base.sum()),
            n_clusters=len(np.unique(first.patients[base])),
            bounds=(-1.0, 1.0),
        ).estimate
        p = mcnemar_exact(*_discordant(first, second, base)) if metric in SHARES else np.nan
        values = float(first.values[column]), float(second.values[column])
        entries.append(MetricDifference(name, metric, *values, difference, float(p)))
    only_a, only_b = _discordant(first, second, np.ones_like(first.right))
    return PairedComparison(entries[0].mcnemar_p, only_a, only_b, len(first.right), tuple(entries))


def _discordant(first: Scores, second: Scores, base: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many films only the first, and only the second gets right."""
    a, b = first.right & base, second.right & base
    return int(np.sum(a & ~b)), int(np.sum(b & ~a))
