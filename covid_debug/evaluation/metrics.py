"""Every metric of a classifier, on the films as they are and on resamples of their patients.

Owns the metrics and their denominators; estimates, differences and verdicts are made elsewhere
from what is computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_debug.errors import InputContractError
from covid_debug.evaluation.auc import area_of_sums, precision_of_sums, sum_by_score
from covid_debug.evaluation.statistics import draw_clusters

ALL_CLASSES: Final = "all"
OVERALL_METRICS = (
    *("accuracy", "macro_f1", "balanced_accuracy", "precision", "specificity", "auroc"),
    *("average_precision", "calibration_error", "worst_group_recall"),
)
CLASS_METRICS = (
    *("precision", "recall", "f1", "specificity", "auroc", "average_precision"),
    "calibration_error",
)
SHARES: Final = frozenset({"accuracy", "recall"})  # of right answers among fixed films
MIN_GROUP = 10  # films of a group that may be called the worst
N_BINS = 10  # of the calibration error
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Scores:
    """All metrics of one model on some films.

    Attributes:
        keys: ``M`` pairs of class (or ``"all"``) and metric.
        values: ``(M,)``; NaN where undefined.
        replicates: ``(R, M)`` on resamples of patients; the same draws for the same patients.
        bases: ``(M, N)``, the films in the denominator.
        reasons: ``M`` times empty, or why the metric is undefined.
        right: ``(N,)``, whether the film's class was found.
        patients: ``(N,)`` indices of patients.
    """

    keys: tuple[Key, ...]
    values: NDArray[np.float64]
    replicates: NDArray[np.float64]
    bases: NDArray[np.bool_]
    reasons: tuple[str, ...]
    right: NDArray[np.bool_]
    patients: NDArray[np.int64]


def compute_scores(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    patients: Sequence[str],
    sources: Sequence[str] | None = None,
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Scores:
    """Compute every metric on some films and on resamples of their patients.

    *Macro* metrics (class ``"all"``) are means over the classes with films. AUROC and average
    precision are one class against the rest. The calibration error of a class is the mean over
    films of ``|share of the class - mean probability of the class|`` in 10 bins with equally many
    films (L1, bins fixed by the films, equal probabilities in one bin; an upper-biased estimate:
    about 0.03 to 0.06 for 400 films of a perfectly calibrated model); of all classes, the same of
    the probability of the predicted class and whether it is right. The worst group is the class of
    one source with the lowest recall, among those with at least :data:`MIN_GROUP` films.

    Args:
        labels: ``(N,)`` true class indices.
        probabilities: ``(N, K)`` class probabilities; the largest decides, the first on ties.
        class_names: ``K`` class names.
        patients: ``(N,)`` patient of each film; patients are resampled, not films.
        sources: ``(N,)`` source of each film; None for one source.
        seed: Seed of the draws.
        n_resamples: Number ``R`` of resamples.

    Returns:
        The metrics.

    Raises:
        InputContractError: If lengths, shapes, indices or probabilities do not fit.
    """
    truth, chances = _check(labels, probabilities, class_names, patients)
    K = len(class_names)
    said = chances.argmax(axis=1)
    _, people = np.unique(np.asarray(patients), return_inverse=True)
    people = people.ravel()
    counts = draw_clusters(int(people.max()) + 1, seed=seed, n_resamples=n_resamples)
    weights = np.concatenate([np.ones((1, len(truth))), counts[:, people]])
    of_source = np.zeros(len(truth), dtype=np.int64)
    if sources is not None:
        of_source = np.unique(np.asarray(sources), return_inverse=True)[1].ravel()
    by_class = _measure_classes(truth, said, chances, weights)
    overall = _measure_all(truth, said, chances, of_source * K + truth, weights, by_class)
    table = np.concatenate([overall, *(by_class[:, :, k] for k in range(K))], axis=1)
    keys = list_keys(class_names)
    bases = np.stack([_denominator(key, class_names, truth, said) for key in keys])
    reasons = tuple(
        _explain(*key, base, bool(np.isnan(value)))
        for key, base, value in zip(keys, bases, table[0], strict=True)
    )
    values = np.where([bool(reason) for reason in reasons], np.nan, table[0])
    return Scores(keys, values, table[1:], bases, reasons, said == truth, people)


def list_keys(class_names: Sequence[str]) -> tuple[Key, ...]:
    """Return class and metric of every column of :class:`Scores`."""
    overall = [(ALL_CLASSES, metric) for metric in OVERALL_METRICS]
    return (*overall, *((name, metric) for name in class_names for metric in CLASS_METRICS))


def _measure_classes(
    truth: NDArray[np.int64],
    said: NDArray[np.int64],
    chances: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ``(R, 7, K)``: the metrics of each class, in the order of their names."""
    each = []
    for k in range(chances.shape[1]):
        is_true, is_said = truth == k, said == k
        right, actual, named = (weights @ x for x in (is_true & is_said, is_true, is_said))
        with np.errstate(divide="ignore", invalid="ignore"):
            total = weights.sum(axis=1)
            f1 = np.where(actual > 0, 2 * right / (actual + named), np.nan)
            specificity = 1 - (named - right) / np.where(total > actual, total - actual, np.nan)
            table = [right / named, right / actual, f1, specificity]
        sums = sum_by_score(chances[:, k], is_true, weights)
        table += [area_of_sums(*sums), precision_of_sums(*sums)]
        table.append(_calibration_error(chances[:, k], is_true, weights))
        table[-1][actual == 0] = np.nan
        each.append(np.stack(table, axis=1))
    return np.stack(each, axis=2)


def _measure_all(
    truth: NDArray[np.int64],
    said: NDArray[np.int64],
    chances: NDArray[np.float64],
    groups: NDArray[np.int64],
    weights: NDArray[np.float64],
    by_class: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ``(R, 9)``: the overall metrics, in the order of their names."""
    column = {metric: i for i, metric in enumerate(CLASS_METRICS)}
    recall = by_class[:, column["recall"]]
    n_present = np.sum(~np.isnan(recall), axis=1)

    def mean(metric: str) -> NDArray[np.float64]:
        values = by_class[:, column[metric]]
        missing = np.any(np.isnan(values) & ~np.isnan(recall), axis=1)
        total = np.nansum(np.where(np.isnan(recall), np.nan, values), axis=1)
        return np.where(missing, np.nan, total / n_present)

    right = said == truth
    accuracy = weights @ right / weights.sum(axis=1)
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    member = index.ravel()[:, None] == np.arange(len(names))[sizes >= MIN_GROUP]
    with np.errstate(divide="ignore", invalid="ignore"):
        of_group = weights @ (member & right[:, None]) / (weights @ member)
    lost = np.isnan(of_group).all(axis=1)
    worst = (
        np.where(lost, np.nan, np.nanmin(np.where(lost[:, None], 0, of_group), axis=1))
        if (of_group.shape[1])
        else np.full(len(weights), np.nan)
    )
    metrics = [accuracy, mean("f1"), mean("recall"), mean("precision"), mean("specificity")]
    metrics += [mean("auroc"), mean("average_precision")]
    metrics += [_calibration_error(chances.max(axis=1), right, weights), worst]
    return np.stack(metrics, axis=1)


def _calibration_error(
    chances: NDArray[np.float64], happened: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    # Equal chances share a bin: the order of the films must not matter.
    bins = np.searchsorted(np.sort(chances), chances) * N_BINS // len(chances)
    gaps = (happened - chances)[:, None] * (bins[:, None] == np.arange(N_BINS))
    error: NDArray[np.float64] = np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
    return error


def _denominator(
    key: Key, class_names: Sequence[str], truth: NDArray[np.int64], said: NDArray[np.int64]
) -> NDArray[np.bool_]:
    name, metric = key
    if name == ALL_CLASSES or metric in {"auroc", "average_precision", "calibration_error"}:
        return np.ones(truth.size, dtype=bool)
    k = list(class_names).index(name)
    if metric == "specificity":
        return np.asarray(truth != k)
    return np.asarray((said if metric == "precision" else truth) == k)


def _explain(name: str, metric: str, base: NDArray[np.bool_], is_nan: bool) -> str:
    """Return why a metric is undefined, or nothing."""
    if base.any() and not is_nan:
        return ""
    if name == ALL_CLASSES:
        is_worst = metric == "worst_group_recall"
        few = f"no class of a source has {MIN_GROUP} films"
        return few if is_worst else "not defined for every class with films"
    others = f"no film of another class than {name!r}"
    reasons = {"precision": f"class {name!r} is never predicted", "specificity": others}
    if metric == "auroc" and base.any():
        return f"all films or none are of class {name!r}"
    return reasons.get(metric, f"no film of class {name!r}")


def _check(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    patients: Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    truth = np.asarray(labels)
    N, K = truth.size, len(class_names)
    if N == 0 or truth.ndim != 1 or len(patients) != N:
        raise InputContractError(
            f"classification: labels have shape {truth.shape} for {len(patients)} patients;"
            " expected one label and one patient for each of at least 1 film"
        )
    if ALL_CLASSES in class_names or len(set(class_names)) != K:
        raise InputContractError(
            f"classification: class_names {list(class_names)} must be distinct and must not"
            f" contain the reserved word {ALL_CLASSES!r}"
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= K:
        raise InputContractError(
            f"classification: labels must be integers in [0, {K}); found {truth.min()} to"
            f" {truth.max()} ({truth.dtype})"
        )
    values = np.asarray(probabilities, dtype=np.float64)
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
    return truth.astype(np.int64), values
