"""Observations that belong to two crossed kinds of clusters, and to seeds as well.

For one kind, and for everything that is made of the replicates, see
:mod:`covid_debug.evaluation.statistics`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate, Replicates, pool_seeds

_CHUNK_CELLS = 4_000_000  # resamples x observations held at once: 32 MB


def two_way_bootstrap(
    contributions: ArrayLike,
    rows: Sequence[str] | NDArray[np.generic],
    columns: Sequence[str] | NDArray[np.generic],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Replicates:
    """Resample two crossed kinds of clusters and recompute a statistic of sums.

    For observations that belong to two patients, as when the marker of one is laid on the film of
    another. Both kinds are drawn whole and independently, and an observation counts as often as
    the product of its two draws: the pigeonhole bootstrap (Owen 2007, *The pigeonhole bootstrap*,
    Annals of Applied Statistics 1, 386-411). Its variance is at least about the true one; what is
    noise of single observations it counts up to three times.

    Args:
        contributions: ``(N, D)``, what each observation adds to the ``D`` sums.
        rows: ``(N,)`` first cluster of each observation, e.g. the recipient's patient.
        columns: ``(N,)`` second cluster, e.g. the donor's patient.
        statistic: Maps ``(R, D)`` sums to ``(R, ...)`` values; NaN where undefined.
        seed: Seed of the draws.
        n_resamples: Number ``R`` of resamples.

    Returns:
        ``(R, ...)`` values of the statistic.

    Raises:
        InputContractError: If lengths differ, nothing was given or ``n_resamples`` is below 1.
    """
    values = np.asarray(contributions, dtype=np.float64)
    if values.ndim != 2 or not len(values) == len(rows) == len(columns) or len(values) == 0:
        raise InputContractError(
            f"two_way_bootstrap: contributions have shape {values.shape} for {len(rows)} rows and"
            f" {len(columns)} columns; expected (N, D) with N of each and N >= 1"
        )
    if n_resamples < 1:
        raise InputContractError(f"two_way_bootstrap: n_resamples = {n_resamples}; expected >= 1")
    generator = np.random.default_rng(seed)
    indices = [np.unique(np.asarray(c), return_inverse=True)[1].ravel() for c in (rows, columns)]
    chunk = max(1, _CHUNK_CELLS // len(values))
    parts = []
    for start in range(0, n_resamples, chunk):
        n = min(chunk, n_resamples - start)
        weights = np.ones((n, len(values)))
        for index in indices:
            n_clusters = int(index.max()) + 1
            even = np.full(n_clusters, 1 / n_clusters)
            weights *= generator.multinomial(n_clusters, even, size=n)[:, index]
        parts.append(statistic(weights @ values))
    return np.concatenate(parts)


def add_seeds(
    by_seed: ArrayLike, over_patients: Estimate, *, bounds: tuple[float, float]
) -> Estimate:
    """Widen the interval of a mean over seeds by the spread of the seeds.

    Args:
        by_seed: The quantity of each seed.
        over_patients: Their mean, with its interval over patients.
        bounds: Possible range of the quantity.

    Returns:
        The mean with both uncertainties, see
        :func:`covid_debug.evaluation.statistics.pool_seeds`.
    """
    below = over_patients.value - over_patients.low
    above = over_patients.high - over_patients.value
    each = [
        Estimate(float(value), float(value) - below, float(value) + above, over_patients.n)
        for value in np.asarray(by_seed, dtype=np.float64)
    ]
    pooled = pool_seeds(each, bounds=bounds)
    return Estimate(pooled.mean, pooled.low, pooled.high, over_patients.n, over_patients.reason)
