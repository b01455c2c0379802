"""Observations that belong to two crossed kinds of clusters, or to patients and to seeds.

For one kind, and for everything that is made of the replicates, see
:mod:`covid_debug.evaluation.statistics`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import (
    CONFIDENCE,
    Estimate,
    Replicates,
    summarise_replicates,
)

_CHUNK_CELLS = 4_000_000  # resamples x observations held at once: 32 MB
_TINY, _ONE = 1e-12, 1 - 1e-9  # p-values are sought between them
_LEAST = 0.25  # of the symmetric half-width, on the shorter side
UNBOUNDED: Final = (-math.inf, math.inf)
UNIT: Final = (0.0, 1.0)  # bounds of shares


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


@dataclass(frozen=True, slots=True)
class CrossedEstimate:
    """A mean over seeds, with the uncertainty of patients and of seeds.

    Attributes:
        estimate: The mean with its 95 % interval.
        of_patients: Variance ``A`` of the mean by patients and by the noise of single films.
        spread: Variance ``B`` of the mean by what differs between the seeds; 0 for one seed.
        residual: The part ``E`` of either that is noise of single films.
        dof_patients: Degrees of freedom of ``A``.
        n_seeds: Seeds with a value.
        lean: Half-widths below and above in units of the symmetric one.
    """

    estimate: Estimate
    of_patients: float
    spread: float
    residual: float
    dof_patients: float
    n_seeds: int
    lean: tuple[float, float] = (1.0, 1.0)

    @property
    def sd(self) -> float:
        """Standard deviation over the seeds; NaN below two."""
        return math.sqrt(self.spread * self.n_seeds) if self.n_seeds > 1 else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return math.sqrt(self.of_patients + max(self.spread - self.residual, 0.0))

    def half_width(self, level: float) -> float:
        """Return the half-width of the symmetric interval.

        The wider of two: Student's t of the standard error with Satterthwaite's degrees of
        freedom, which is too short where few seeds differ much, and the half-widths of patients
        and of seeds added in quadrature (Howe 1974, *Approximate confidence limits on the mean of
        X + Y*, JASA 69, 789-794), which is too short where the noise of single films rules.

        Args:
            level: 1 - coverage, in (0, 1).
        """
        return self._width(level, self.residual)

    def needed(self, level: float) -> float:
        """Return how far from 0 the mean must lie for a verdict at some level.

        As :meth:`half_width`, but the noise of single films is not taken off the seeds' spread: a
        few seeds agree by chance, and in the tail, where a correction for several questions
        looks, that alone would be twice as common as it should.

        Args:
            level: In (0, 1).
        """
        return self._width(level, 0.0)

    @property
    def dof(self) -> float:
        """Satterthwaite's degrees of freedom behind a verdict; those of patients for one seed."""
        return self.dof_patients if self.n_seeds < 2 else self._dof(0.0)

    @property
    def p_value(self) -> float:
        """Level at which a verdict is just reached; NaN where undefined or from one seed."""
        value = self.estimate.value
        if self.n_seeds < 2 or math.isnan(value):
            return math.nan
        far = abs(value) / self.lean[0 if value > 0 else 1]
        if far <= self.needed(_ONE):
            return 1.0
        if far >= self.needed(_TINY):
            return _TINY
        found = optimize.brentq(
            lambda x: self.needed(math.exp(x)) - far, math.log(_TINY), math.log(_ONE)
        )
        return math.exp(float(found))

    def _width(self, level: float, residual: float) -> float:
        if self.n_seeds == 0:
            return math.nan
        patients = _t(level, self.dof_patients) * math.sqrt(self.of_patients)
        if self.n_seeds == 1:
            return patients
        of_seeds = max(self.spread - residual, 0.0)
        seeds = _t(level, self.n_seeds - 1.0) * math.sqrt(of_seeds)
        whole = _t(level, self._dof(residual)) * math.sqrt(self.of_patients + of_seeds)
        return max(whole, math.hypot(patients, seeds))

    def _dof(self, residual: float) -> float:
        dof_seeds = self.n_seeds - 1.0
        variance = self.of_patients + max(self.spread - residual, 0.0)
        parts = self.of_patients**2 / self.dof_patients + self.spread**2 / dof_seeds
        parts += residual**2 / (self.dof_patients * dof_seeds)
        return max(dof_seeds, variance**2 / parts) if parts > 0 else self.dof_patients


def crossed_estimate(
    by_seed: ArrayLike,
    replicates: ArrayLike,
    *,
    n: int,
    n_clusters: int,
    bounds: tuple[float, float],
) -> CrossedEstimate:
    """Estimate a mean over seeds that were tested on the same patients.

    Random effects of patients and of seeds, crossed, and what is left: the two-way layout of the
    analysis of variance (Searle, Casella and McCulloch 1992, *Variance components*, chapter 4),
    with variances from the bootstrap, so that the quantity may be any metric. Of the mean over
    ``S`` seeds, with ``P`` patients:

    - ``A``, variance of the replicates' mean over the seeds: patients and residual;
    - ``B = sd(by_seed)^2 / S``: seeds and residual;
    - ``E``, variance of each seed's replicates without their mean, ``/ (S - 1)``: the residual.

    The variance is ``A + max(B - E, 0)``, the half-width :meth:`CrossedEstimate.half_width`. A
    share gets it on the scale of log-odds, which keeps it in range and covers near 1; the ends of
    other quantities lie apart as those of the percentile interval do. From one seed ``A`` alone: an
    interval of this one model.

    Args:
        by_seed: ``(S,)`` value of each seed; NaN where undefined, and then left out.
        replicates: ``(R, S)`` bootstrap over patients, the *same* patients in a row.
        n: Films in the denominator.
        n_clusters: Patients ``P`` behind them.
        bounds: Possible range of the quantity.

    Returns:
        The mean with its interval; undefined where no seed has a value.

    Raises:
        InputContractError: If the shapes do not fit.
    """
    seen, table = np.asarray(by_seed, np.float64), np.asarray(replicates, np.float64)
    if seen.ndim != 1 or table.ndim != 2 or table.shape[1] != len(seen):
        raise InputContractError(
            f"crossed_estimate: replicates have shape {table.shape} for {len(seen)} seeds;"
            " expected (R, S) for (S,)"
        )
    table = table[:, ~np.isnan(seen)]
    seen = seen[~np.isnan(seen)]
    table = table[~np.isnan(table).any(axis=1)]
    if len(seen) == 0 or len(table) < 2 or n_clusters == 0:
        return _undefined(n, "not defined on these films")
    S, few = len(seen), n_clusters / max(1, n_clusters - 1)  # the bootstrap divides by P
    of_mean = table.mean(axis=1)
    plain = summarise_replicates(
        float(of_mean.mean()), of_mean, n=n, n_clusters=n_clusters, bounds=UNBOUNDED
    )
    residual = 0.0
    if S > 1:
        residual = few * float((table - of_mean[:, None]).var(axis=0, ddof=1).mean()) / (S - 1)
    return _cross(seen, plain, few * float(of_mean.var(ddof=1)), residual, n_clusters, bounds)


def add_seeds(
    by_seed: ArrayLike,
    over_patients: Estimate,
    *,
    residual: float = 0.0,
    n_clusters: int,
    bounds: tuple[float, float],
) -> Estimate:
    """Widen the interval of a mean over seeds by the spread of the seeds.

    :func:`crossed_estimate` where there are no replicates of each seed.

    Args:
        by_seed: The quantity of each seed.
        over_patients: Their mean, with its interval over patients.
        residual: The variance ``E``; 0 counts the noise of single films twice and errs on the wide
            side.
        n_clusters: Patients behind the interval.
        bounds: Possible range of the quantity.

    Returns:
        The mean with both uncertainties.
    """
    if not over_patients.is_defined:
        return over_patients
    variance = spread_of(over_patients) ** 2
    seen = np.asarray(by_seed, np.float64)
    seen = seen[~np.isnan(seen)]
    found = _cross(seen, over_patients, variance, residual, n_clusters, bounds).estimate
    return replace(found, value=over_patients.value)


def spread_of(estimate: Estimate) -> float:
    """Return the standard error that a 95 % interval of normal ends stands for."""
    return (estimate.high - estimate.low) / 2 / _t(1 - CONFIDENCE, math.inf)


def _cross(
    seen: NDArray[np.float64],
    plain: Estimate,
    of_patients: float,
    residual: float,
    n_clusters: int,
    bounds: tuple[float, float],
) -> CrossedEstimate:
    """Put the parts together; ``plain`` says how far the ends lie from the replicates' mean."""
    S, mean = len(seen), float(seen.mean())
    below, above = plain.value - plain.low, plain.high - plain.value
    normal = _t(1 - CONFIDENCE, math.inf)
    if plain.reason or of_patients <= 0:  # every resample gave the same value
        of_patients = max(of_patients, ((below + above) / 2 / normal) ** 2)
    spread = float(seen.var(ddof=1)) / S if S > 1 else 0.0
    residual = residual if S > 2 else 0.0  # two seeds agree by chance too often to take it off
    apart = (below + above) / 2
    lean = _lean(below / apart) if apart > 0 else (1.0, 1.0)
    dof = max(1.0, n_clusters - 1.0)
    found = CrossedEstimate(plain, of_patients, spread, residual, dof, S, lean)
    half = found.half_width(1 - CONFIDENCE)
    if bounds == UNIT and 0 < mean < 1:
        odds, half = math.log(mean / (1 - mean)), half / (mean * (1 - mean))
        low, high = float(special.expit(odds - half)), float(special.expit(odds + half))
    elif plain.reason and spread <= residual:
        low, high = max(bounds[0], plain.low), min(bounds[1], plain.high)
    else:
        low, high = max(bounds[0], mean - lean[0] * half), min(bounds[1], mean + lean[1] * half)
    return replace(found, estimate=Estimate(mean, low, high, plain.n, plain.reason))


def _lean(below: float) -> tuple[float, float]:
    """Return both sides; where nearly all resamples are alike one side alone would be none."""
    kept = min(max(below, _LEAST), 2 - _LEAST)
    return kept, 2 - kept


def _undefined(n: int, reason: str) -> CrossedEstimate:
    nothing = Estimate.undefined(n, reason)
    return CrossedEstimate(nothing, math.nan, math.nan, math.nan, math.nan, 0)


def _t(level: float, dof: float) -> float:
    """Return Student's two-sided quantile."""
    return (
        float(special.stdtrit(dof, 1 - level / 2))
        if math.isfinite(dof)
        else float(special.ndtri(1 - level / 2))
    )
