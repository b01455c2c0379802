"""Accuracy, precision, recall and F1 of a classifier, with intervals over patients.

Owns the metrics and the paired comparison of two classifiers on the same films; it never calls a
model. A metric that has no meaning (a class without films) is an undefined estimate with a
reason, never 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import (
    Estimate,
    cluster_bootstrap,
    mcnemar_exact,
    summarise_replicates,
)
from covid_debug.records_json import Number

Verdict = Literal["improved", "no evidence", "worse", "one seed: no verdict", "undefined"]
ONE_SEED: Final = "one seed: no verdict"
_ALL_CLASSES = "all"
_CLASS_METRICS = ("precision", "recall", "f1")


@dataclass(frozen=True, slots=True)
class Classification:
    """How well a classifier does on labelled films.

    Attributes:
        class_names: Classes in the order of the confusion matrix.
        accuracy: Share of films with the right class.
        macro_f1: Mean F1 over the classes that have at least one film.
        balanced_accuracy: Mean recall over the same classes; chance is 1 / their number.
        precision: Class -> share of right films among those predicted as the class; undefined
            where the class is never predicted.
        recall: Class -> share of the class's films that are found; undefined without films.
        f1: Class -> harmonic mean of both; undefined without films of the class.
        confusion: ``(K, K)`` counts, rows true class, columns predicted class.
        n_patients: Clusters behind the intervals.
    """

    class_names: tuple[str, ...]
    accuracy: Estimate
    macro_f1: Estimate
    balanced_accuracy: Estimate
    precision: Mapping[str, Estimate]
    recall: Mapping[str, Estimate]
    f1: Mapping[str, Estimate]
    confusion: NDArray[np.int64]
    n_patients: int

    def rows(self) -> Iterator[tuple[str, str, Estimate]]:
        """Yield ``(class_name, metric, estimate)``; class_name is ``"all"`` for the overall ones.

        Yields:
            Accuracy, macro-F1, balanced accuracy, then precision, recall and F1 of each class.
        """
        yield _ALL_CLASSES, "accuracy", self.accuracy
        yield _ALL_CLASSES, "macro_f1", self.macro_f1
        yield _ALL_CLASSES, "balanced_accuracy", self.balanced_accuracy
        for name in self.class_names:
            yield name, "precision", self.precision[name]
            yield name, "recall", self.recall[name]
            yield name, "f1", self.f1[name]


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """One metric of two classifiers on the same films.

    Attributes:
        class_name: Class, or ``"all"``.
        metric: ``"accuracy"``, ``"macro_f1"``, ``"balanced_accuracy"``, ``"precision"``,
            ``"recall"`` or ``"f1"``.
        value_a: Value of the first classifier; NaN where undefined.
        value_b: Value of the second classifier.
        difference: ``b - a`` with its paired interval over patients.
        mcnemar_p: Exact McNemar p-value over films for accuracy and recall; NaN for metrics that
            are not a share of a fixed set of films.
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
    truth, (predicted,) = _check(labels, [probabilities], class_names, patients)
    K = len(class_names)
    cells = _confusion_cells(truth, predicted, K)
    confusion = cells.sum(axis=0).reshape(K, K)
    replicates = cluster_bootstrap(
        cells,
        patients,
        lambda sums: _metrics(sums.reshape(-1, K, K)),
        seed=seed,
        n_resamples=n_resamples,
    )
    values = _metrics(confusion[None])[0]
    ids = np.asarray(patients)
    estimates: dict[tuple[str, str], Estimate] = {}
    for column, (name, metric) in enumerate(_metric_keys(class_names)):
        base = _denominator(metric, name, class_names, truth, predicted)
        reason = _undefined_reason(metric, name, base)
        estimates[name, metric] = (
            Estimate.undefined(int(base.sum()), reason)
            if reason
            else summarise_replicates(
                float(values[column]),
                replicates[:, column],
                n=int(base.sum()),
                n_clusters=len(np.unique(ids[base])),
                bounds=(0.0, 1.0),
            )
        )
    return Classification(
        class_names=tuple(class_names),
        accuracy=estimates[_ALL_CLASSES, "accuracy"],
        macro_f1=estimates[_ALL_CLASSES, "macro_f1"],
        balanced_accuracy=estimates[_ALL_CLASSES, "balanced_accuracy"],
        precision={name: estimates[name, "precision"] for name in class_names},
        recall={name: estimates[name, "recall"] for name in class_names},
        f1={name: estimates[name, "f1"] for name in class_names},
        confusion=confusion.astype(np.int64),
        n_patients=len(np.unique(ids)),
    )


def compare_predictions(
    labels: ArrayLike,
    probabilities_a: ArrayLike,
    probabilities_b: ArrayLike,
    class_names: Sequence[str],
    patients: Sequence[str],
    *,
    seed: int,
    n_resamples: int = 1000,
) -> PairedComparison:
    """Compare two classifiers (or one on two versions of the films), film by film.

    Both are scored on the same resamples of patients, so what the films share cancels out.

    Args:
        labels: ``(N,)`` true class indices.
        probabilities_a: ``(N, K)`` of the first classifier.
        probabilities_b: ``(N, K)`` of the second classifier on the same films.
        class_names: ``K`` class names.
        patients: ``(N,)`` patient of each film.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of patients.

    Returns:
        Differences ``b - a`` with intervals and McNemar tests.

    Raises:
        InputContractError: If lengths, shapes, indices or probabilities do not fit.
    """
    truth, (first, second) = _check(
        labels, [probabilities_a, probabilities_b], class_names, patients
    )
    K = len(class_names)
    cells = np.concatenate(
        [_confusion_cells(truth, first, K), _confusion_cells(truth, second, K)], axis=1
    )

    def difference(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        both = sums.reshape(-1, 2, K, K)
        gap: NDArray[np.float64] = _metrics(both[:, 1]) - _metrics(both[:, 0])
        return gap

    replicates = cluster_bootstrap(cells, patients, difference, seed=seed, n_resamples=n_resamples)
    totals = cells.sum(axis=0).reshape(1, 2, K, K)
    values_a, values_b = _metrics(totals[:, 0])[0], _metrics(totals[:, 1])[0]
    ids = np.asarray(patients)
    entries = []
    for column, (name, metric) in enumerate(_metric_keys(class_names)):
        base = _denominator(metric, name, class_names, truth, first)
        base |= _denominator(metric, name, class_names, truth, second)
        estimate = summarise_replicates(
            float(values_b[column] - values_a[column]),
            replicates[:, column],
            n=int(base.sum()),
            n_clusters=len(np.unique(ids[base])),
            bounds=(-1.0, 1.0),
        )
        p = np.nan
        if metric in {"accuracy", "recall"}:
            p = mcnemar_exact(*_discordant(truth, first, second, base))
        entries.append(
            MetricDifference(
                class_name=name,
                metric=metric,
                value_a=float(values_a[column]),
                value_b=float(values_b[column]),
                difference=estimate,
                mcnemar_p=float(p),
            )
        )
    only_a, only_b = _discordant(truth, first, second, np.ones(truth.size, dtype=bool))
    return PairedComparison(
        mcnemar_p=entries[0].mcnemar_p,
        n_only_a=only_a,
        n_only_b=only_b,
        n=int(truth.size),
        differences=tuple(entries),
    )


def decide_verdict(difference: Estimate, n_seeds: int) -> Verdict:
    """Put a difference between two ways of training into words.

    One training of each says which of two models is better, not which way of training: training
    again with another seed moves a metric by several points, which an interval over films cannot
    see.

    Args:
        difference: ``b - a`` pooled over the seeds, larger = better.
        n_seeds: Trainings of each way behind it.

    Returns:
        ``"improved"`` or ``"worse"`` if the interval of several seeds excludes 0, otherwise
        ``"no evidence"``; ``"one seed: no verdict"``; ``"undefined"`` without a value.
    """
    if not difference.is_defined:
        return "undefined"
    if n_seeds < 2:
        return ONE_SEED
    if difference.low > 0:
        return "improved"
    return "worse" if difference.high < 0 else "no evidence"


def _metric_keys(class_names: Sequence[str]) -> list[tuple[str, str]]:
    keys = [(_ALL_CLASSES, metric) for metric in ("accuracy", "macro_f1", "balanced_accuracy")]
    return keys + [(name, metric) for name in class_names for metric in _CLASS_METRICS]


def _metrics(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``(R, 3 + 3K)`` metrics, in the order of the keys, of ``(R, K, K)`` counts."""
    counts = confusion.astype(np.float64)
    right = np.diagonal(counts, axis1=1, axis2=2)
    actual, predicted = counts.sum(axis=2), counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = right / predicted, right / actual
        f1 = np.where(actual > 0, 2 * right / (actual + predicted), np.nan)
        accuracy = right.sum(axis=1) / counts.sum(axis=(1, 2))
        n_present = np.sum(actual > 0, axis=1)
        macro, balanced = (np.nansum(each, axis=1) / n_present for each in (f1, recall))
    per_class = np.stack([precision, recall, f1], axis=2).reshape(len(counts), -1)
    return np.concatenate([np.stack([accuracy, macro, balanced], axis=1), per_class], axis=1)


def _confusion_cells(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], K: int
) -> NDArray[np.float64]:
    """Return ``(N, K*K)``: a single 1 a film, in its cell of the confusion matrix."""
    cells = np.zeros((truth.size, K * K))
    cells[np.arange(truth.size), truth * K + predicted] = 1.0
    return cells


def _denominator(
    metric: str,
    name: str,
    class_names: Sequence[str],
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> NDArray[np.bool_]:
    if name == _ALL_CLASSES:
        return np.ones(truth.size, dtype=bool)
    k = list(class_names).index(name)
    base: NDArray[np.bool_] = (predicted if metric == "precision" else truth) == k
    return base


def _undefined_reason(metric: str, name: str, base: NDArray[np.bool_]) -> str:
    if base.any():
        return ""
    if metric == "precision":
        return f"class {name!r} is never predicted"
    return f"no film of class {name!r}"


def _discordant(
    truth: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    base: NDArray[np.bool_],
) -> tuple[int, int]:
    right_a, right_b = (first == truth) & base, (second == truth) & base
    return int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))


def _check(
    labels: ArrayLike,
    probabilities: Sequence[ArrayLike],
    class_names: Sequence[str],
    patients: Sequence[str],
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    truth = np.asarray(labels)
    N, K = truth.size, len(class_names)
    if N == 0 or truth.ndim != 1 or len(patients) != N:
        raise InputContractError(
            f"classification: labels have shape {truth.shape} for {len(patients)} patients;"
            " expected one label and one patient for each of at least 1 film"
        )
    if _ALL_CLASSES in class_names or len(set(class_names)) != K:
        raise InputContractError(
            f"classification: class_names {list(class_names)} must be distinct and must not"
            f" contain the reserved word {_ALL_CLASSES!r}"
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= K:
        raise InputContractError(
            f"classification: labels must be integers in [0, {K}); found {truth.min()} to"
            f" {truth.max()} ({truth.dtype})"
        )
    predicted = []
    for table in probabilities:
        values = np.asarray(table, dtype=np.float64)
        if values.shape != (N, K):
            raise InputContractError(
                f"classification: probabilities have shape {values.shape}; expected {(N, K)}"
            )
        bad = ~np.isfinite(values).all(axis=1) | (np.abs(values.sum(axis=1) - 1) > 1e-3)
        if bad.any():
            row = int(np.argmax(bad))
            raise InputContractError(
                f"classification: probabilities of film {row} are {values[row].tolist()}"
                f" ({int(bad.sum())} such films); expected finite values that add up to 1"
            )
        predicted.append(values.argmax(axis=1))
    return truth.astype(np.int64), predicted
