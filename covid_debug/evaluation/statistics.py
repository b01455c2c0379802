"""Intervals, tests and resampling for counts that come in clusters.

Owns the statistics that every statement about a model is made with; knows nothing about films,
classes or models. Every resampling is seeded and draws whole clusters (patients), because two
films of one patient are not two independent observations.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from covid_debug.errors import InputContractError
from covid_debug.records_json import Number

Replicates = NDArray[np.float64]

CONFIDENCE = 0.95  # two-sided coverage of every interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: Point estimate; NaN where the quantity is not defined.
        low: Lower end of the interval; NaN where undefined.
        high: Upper end of the interval; NaN where undefined.
        n: Observations that the estimate rests on (films in its denominator).
        reason: Empty, or why the value is undefined or the interval is of another kind.
    """

    value: Number
    low: Number
    high: Number
    n: int
    reason: str = ""

    @classmethod
    def undefined(cls, n: int, reason: str) -> "Estimate":
        """Return an estimate without a value, with the reason."""
        return cls(math.nan, math.nan, math.nan, n, reason)

    @property
    def is_defined(self) -> bool:
        """Tell whether there is a value."""
        return not math.isnan(self.value)


def wilson_interval(k: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate a proportion with Wilson's score interval.

    Args:
        k: Successes, ``0 <= k <= n``.
        n: Trials.
        confidence: Two-sided coverage, in (0, 1).

    Returns:
        ``k / n`` with its interval; undefined for ``n = 0``.

    Raises:
        InputContractError: If the counts or the confidence are impossible.
    """
    if not 0 <= k <= n:
        raise InputContractError(
            f"wilson_interval: k = {k} of n = {n} is impossible; expected 0 <= k <= n"
        )
    if not 0 < confidence < 1:
        raise InputContractError(f"wilson_interval: confidence = {confidence}; expected (0, 1)")
    if n == 0:
        return Estimate.undefined(0, "no observations")
    interval = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    return Estimate(k / n, float(interval.low), float(interval.high), n)


def bound_share_above(
    hits: Sequence[bool] | NDArray[np.bool_], clusters: Sequence[str] | NDArray[np.generic]
) -> float:
    """Bound from above the share of hits among observations that come in clusters.

    Clopper and Pearson's one-sided bound [clopper1934use] on effective numbers: the share is kept,
    the number of observations becomes the smaller of two. Kish's ``(sum m)^2 / sum m^2`` over the
    cluster sizes ``m`` [kish1965survey] is what is left if all observations of a cluster are one;
    ``p (1 - p) / var(p)``, with the variance over clusters, is what is left if hits gather in large
    clusters [korn1998confidence]. With one observation a cluster they are all of them, or one less.

    Args:
        hits: ``(N,)``, True where an observation counts.
        clusters: ``(N,)`` cluster of each observation, e.g. its patient.

    Returns:
        Upper end of the one-sided 95 % interval, in (0, 1]; 1 for no observation, which says
        nothing.

    Raises:
        InputContractError: If the lengths differ.
    """
    y = np.asarray(hits, dtype=np.float64)
    if y.shape != (len(clusters),):
        raise InputContractError(
            f"bound_share_above: {y.shape} hits for {len(clusters)} clusters; expected one each"
        )
    if y.size == 0:
        return 1.0
    sums = _sum_by_cluster(np.stack([y, np.ones_like(y)], axis=1), clusters)
    k, m = sums[:, 0], sums[:, 1]
    share, n_clusters = float(y.mean()), len(sums)
    n = float(m.sum() ** 2 / (m**2).sum())
    variance = float(((k - share * m) ** 2).sum() / m.sum() ** 2)
    if variance > 0 and n_clusters > 1:
        n = min(n, share * (1 - share) / (variance * n_clusters / (n_clusters - 1)))
    if share >= 1:
        return 1.0
    return float(stats.beta.ppf(CONFIDENCE, share * n + 1, n - share * n))


def mcnemar_exact(b: int, c: int) -> float:
    """Test whether two paired classifiers err equally often.

    Args:
        b: Pairs that only the first got right.
        c: Pairs that only the second got right.

    Returns:
        Two-sided exact binomial p-value in (0, 1]; 1 when no pair is discordant.

    Raises:
        InputContractError: If a count is negative.
    """
    if b < 0 or c < 0:
        raise InputContractError(f"mcnemar_exact: counts ({b}, {c}) must not be negative")
    return float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Turn p-values into q-values (false discovery rate, Benjamini and Hochberg 1995).

    Args:
        p_values: Values in [0, 1]; NaN marks a test that was not made and takes no part.

    Returns:
        Smallest false discovery rate at which each test is rejected, same order; NaN stays NaN.

    Raises:
        InputContractError: If a value lies outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64).ravel()
    made = ~np.isnan(p)
    if np.any((p[made] < 0) | (p[made] > 1)):
        raise InputContractError("benjamini_hochberg: p_values must be in [0, 1] or NaN")
    q = np.full_like(p, np.nan)
    if made.any():
        q[made] = stats.false_discovery_control(p[made])
    return q


def cluster_bootstrap(
    contributions: ArrayLike,
    clusters: Sequence[str] | NDArray[np.generic],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Replicates:
    """Resample whole clusters and recompute a statistic of sums.

    Every statistic of this project (accuracy, recall, F1, differences of them) is a function of
    sums over films, so a resample is one row of cluster counts times the sums by cluster, and all
    resamples are one matrix product. The order of the films does not matter.

    Args:
        contributions: ``(N, D)``, what each film adds to the ``D`` sums.
        clusters: ``(N,)`` cluster of each film, e.g. its patient.
        statistic: Maps ``(R, D)`` sums to ``(R, ...)`` values; NaN where undefined.
        seed: Seed of the draws.
        n_resamples: Number ``R`` of resamples.

    Returns:
        ``(R, ...)`` values of the statistic.

    Raises:
        InputContractError: If lengths differ, nothing was given or ``n_resamples`` is below 1.
    """
    values = np.asarray(contributions, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(clusters) or len(values) == 0:
        raise InputContractError(
            f"cluster_bootstrap: contributions have shape {values.shape} for {len(clusters)}"
            " clusters; expected (N, D) with N = number of clusters' entries and N >= 1"
        )
    if n_resamples < 1:
        raise InputContractError(f"cluster_bootstrap: n_resamples = {n_resamples}; expected >= 1")
    sums = _sum_by_cluster(values, clusters)
    n_clusters = len(sums)
    counts = draw_clusters(n_clusters, seed=seed, n_resamples=n_resamples)
    return statistic(counts @ sums)


def draw_clusters(n_clusters: int, *, seed: int, n_resamples: int) -> NDArray[np.float64]:
    """Draw whole clusters with replacement.

    Args:
        n_clusters: Clusters to draw from, and to draw.
        seed: Seed of the draws.
        n_resamples: Number ``R`` of resamples.

    Returns:
        ``(R, n_clusters)``, how often each was drawn; equal seeds and numbers give equal draws.
    """
    generator = np.random.default_rng(seed)
    counts = np.empty((n_resamples, n_clusters))
    for row in counts:
        row[:] = np.bincount(generator.integers(n_clusters, size=n_clusters), minlength=n_clusters)
    return counts


def _sum_by_cluster(
    values: NDArray[np.float64], clusters: Sequence[str] | NDArray[np.generic]
) -> NDArray[np.float64]:
    """Return the rows of ``(N, D)`` values added up by cluster, clusters in sorted order."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    index = index.ravel()
    sums = np.zeros((int(index.max()) + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def summarise_replicates(
    value: float,
    replicates: Replicates,
    *,
    n: int,
    n_clusters: int,
    bounds: tuple[float, float],
) -> Estimate:
    """Make an estimate from its bootstrap replicates (percentile interval).

    Where every replicate is equal, for example a recall of 10 out of 10, the percentile interval
    would have no width and claim certainty. It is then widened on both sides by the upper Wilson
    bound of 0 out of ``n_clusters``, which for a proportion of 0 or 1 is Wilson's interval over
    clusters; ``reason`` says so.

    Args:
        value: Point estimate; NaN gives an undefined estimate.
        replicates: ``(R,)``; NaN replicates (resamples without the class) are left out.
        n: Films in the denominator.
        n_clusters: Clusters behind those films.
        bounds: Possible range of the quantity, for clipping.

    Returns:
        The estimate.
    """
    defined = replicates[~np.isnan(replicates)]
    if math.isnan(value) or defined.size == 0 or n_clusters == 0:
        return Estimate.undefined(n, "not defined on these films")
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(x) for x in np.quantile(defined, [tail, 1 - tail]))
    reason = ""
    if float(np.ptp(defined)) < 1e-12:
        width = wilson_interval(0, n_clusters).high
        low, high = value - width, value + width
        reason = "every resample gave the same value; Wilson bound over patients"
    low, high = min(low, value), max(high, value)
    return Estimate(value, max(low, bounds[0]), min(high, bounds[1]), n, reason)


def paired_bootstrap_difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    clusters: Sequence[str] | NDArray[np.generic],
    *,
    seed: int,
) -> Estimate:
    """Estimate the mean of ``b - a`` over films that both arms have seen.

    Args:
        values_a: ``(N,)`` value of the first arm on each film.
        values_b: ``(N,)`` value of the second arm on the same films.
        clusters: ``(N,)`` patient of each film.
        seed: Seed of the resampling.

    Returns:
        Mean difference with its percentile interval; undefined for no films.

    Raises:
        InputContractError: If the lengths differ.
    """
    a = np.asarray(values_a, dtype=np.float64)
    b = np.asarray(values_b, dtype=np.float64)
    if not a.shape == b.shape == (len(clusters),):
        raise InputContractError(
            f"paired_bootstrap_difference: shapes {a.shape}, {b.shape} and {len(clusters)}"
            " clusters differ; expected one value of each arm for every film"
        )
    if a.size == 0:
        return Estimate.undefined(0, "no films")
    paired = np.stack([b - a, np.ones_like(a)], axis=1)
    replicates = cluster_bootstrap(
        paired, clusters, lambda sums: sums[:, 0] / sums[:, 1], seed=seed, n_resamples=1000
    )
    return summarise_replicates(
        float(np.mean(b - a)),
        replicates,
        n=a.size,
        n_clusters=len(set(map(str, clusters))),
        bounds=(-math.inf, math.inf),
    )
