"""How often the audit's test says "text" for a model of which the truth is known.

Sees evidence, no pixels and no models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.planning import AuditParams
from covid_debug.audit.verdicts import MARGIN, Answer, Evidence, decide, judge_significance
from covid_debug.evaluation.statistics import Estimate, cluster_bootstrap, summarise_replicates
from covid_debug.seeding import derive_seed

EFFECTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Added to the log-odds, in standard deviations of them over the films."""

SHARE_WITH_EFFECT = 0.1
_N_DRAWS = 20
_N_QUARTILES = 4


@dataclass(frozen=True, slots=True)
class Tested:
    """What the test says about one model on each film.

    Attributes:
        p: ``(N,)``, NaN where too few nulls fit.
        q: ``(N,)`` over the films of this model.
        is_driven: ``(N,)`` bool, verdict ``text_driven``.
        quartile: ``(N,)``, 0 to 3, of the nulls' spread within this model.
    """

    p: NDArray[np.float64]
    q: NDArray[np.float64]
    is_driven: NDArray[np.bool_]
    quartile: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of the films of one or several models, each model weighing the same.

    Attributes:
        n_models: Models.
        n_films: Films that could be tested.
        n_patients: Their patients.
        small_p: p at most alpha.
        small_p_by_spread: The same in each quartile of the nulls' spread, small spread first.
        small_q: q at most alpha.
        driven: Verdict ``text_driven``.
        small_p_without_margin: p at most alpha when the least effect is 0.
        small_q_without_margin: q at most alpha when the least effect is 0.
    """

    n_models: int
    n_films: int
    n_patients: int
    small_p: Estimate
    small_p_by_spread: tuple[Estimate, ...]
    small_q: Estimate
    driven: Estimate
    small_p_without_margin: Estimate
    small_q_without_margin: Estimate


@dataclass(frozen=True, slots=True)
class Power:
    """Share of films with a known effect whose q is at most alpha.

    Attributes:
        effect: Added to the log-odds, in standard deviations of them over the films.
        found: The share.
        false: Share of the flagged films that were given no effect; NaN without flags.
    """

    effect: float
    found: float
    false: float


def judge_films(evidence: Sequence[Evidence], params: AuditParams) -> Tested:
    """Test every film of one model, as the audit does.

    Args:
        evidence: Of each film.
        params: Thresholds of the verdict.

    Returns:
        The outcome.
    """
    found = judge_significance(evidence)
    verdicts = [
        decide(
            item,
            significance,
            alpha=params.alpha,
            min_drop=params.min_drop,
            strong_drop=params.strong_drop,
        ).verdict
        for item, significance in zip(evidence, found, strict=True)
    ]
    spread = np.array([np.std(item.null_effects or (math.nan,)) for item in evidence])
    ranks = np.argsort(np.argsort(spread, kind="stable"), kind="stable")
    return Tested(
        np.array([item.p for item in found]),
        np.array([item.q for item in found]),
        np.array([verdict == "text_driven" for verdict in verdicts]),
        ranks * _N_QUARTILES // len(evidence),
    )


def measure_rates(
    models: Sequence[Sequence[Evidence]],
    patients: Sequence[str],
    params: AuditParams,
    *,
    seed: int,
) -> Rates:
    """Count how often the test rejects.

    Args:
        models: Evidence of each model on each of the same ``N`` films.
        patients: ``(N,)`` patient of each film.
        params: Thresholds.
        seed: Of the bootstrap over patients.

    Returns:
        Shares with intervals over patients.
    """
    tested = [judge_films(evidence, params) for evidence in models]
    bare = [judge_films([replace(e, margin=0.0) for e in evidence], params) for evidence in models]
    p, q = np.stack([t.p for t in tested]), np.stack([t.q for t in tested])
    p_bare, q_bare = np.stack([t.p for t in bare]), np.stack([t.q for t in bare])
    quartile = np.stack([t.quartile for t in tested])
    made = ~np.isnan(p)
    alpha = params.alpha

    def share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Estimate:
        return _estimate_share(hits & among, among, patients, seed)

    is_tested = made.any(axis=0)
    return Rates(
        len(models),
        int(is_tested.sum()),
        len(set(np.asarray(patients)[is_tested])),
        share(p <= alpha, made),
        tuple(share(p <= alpha, made & (quartile == k)) for k in range(_N_QUARTILES)),
        share(q <= alpha, made),
        share(np.stack([t.is_driven for t in tested]), made),
        share(p_bare <= alpha, made),
        share(q_bare <= alpha, made),
    )


def _estimate_share(
    hits: NDArray[np.bool_], among: NDArray[np.bool_], patients: Sequence[str], seed: int
) -> Estimate:
    sums = np.stack([hits.sum(axis=0), among.sum(axis=0)], axis=1).astype(np.float64)
    n = int(among.sum())
    if n == 0:
        return Estimate.undefined(0, "no film could be tested")

    def ratio(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            result: NDArray[np.float64] = totals[:, 0] / totals[:, 1]
        return result

    return summarise_replicates(
        float(hits.sum() / n),
        cluster_bootstrap(sums, patients, ratio, seed=seed),
        n=n,
        n_clusters=len(set(np.asarray(patients)[among.any(axis=0)])),
        bounds=(0.0, 1.0),
    )


def measure_power(
    models: Sequence[Sequence[Evidence]], params: AuditParams, *, seed: int
) -> tuple[Power, ...]:
    """Give text a known effect on a tenth of the films and see how many are found.

    The effect is taken from the log-odds of the text-free film: what the model answers to the film
    and to its patches then holds the effect of the text, and what it answers without text does not.
    What the text did before stays.

    Args:
        models: Evidence of each model on each film.
        params: Thresholds.
        seed: Of the choice of films.

    Returns:
        One entry for each of :data:`EFFECTS`, over all models and 20 choices of films.
    """
    return tuple(_measure_power_at(effect, models, params, seed) for effect in EFFECTS)


def _measure_power_at(
    effect: float, models: Sequence[Sequence[Evidence]], params: AuditParams, seed: int
) -> Power:
    n_found = n_given = n_flagged = 0
    for number, evidence in enumerate(models):
        n = max(1, round(SHARE_WITH_EFFECT * len(evidence)))
        for draw in range(_N_DRAWS):
            generator = np.random.default_rng(derive_seed(seed, "power", number, draw))
            given = np.zeros(len(evidence), np.bool_)
            given[generator.choice(len(evidence), n, replace=False)] = True
            changed = [
                add_effect(item, effect) if chosen else item
                for item, chosen in zip(evidence, given, strict=True)
            ]
            q = np.array([item.q for item in judge_significance(changed)])
            n_found += int((q[given] <= params.alpha).sum())
            n_flagged += int((q <= params.alpha).sum())
            n_given += n
    wrong = (n_flagged - n_found) / n_flagged if n_flagged else math.nan
    return Power(effect, n_found / n_given, wrong)


def add_effect(evidence: Evidence, effect: float) -> Evidence:
    """Let the text of a film add to the log-odds.

    Args:
        evidence: Of the film; its margin is that of the audit, above 0.
        effect: In standard deviations of the log-odds over the films.

    Returns:
        The same with lower log-odds of the text-free film. Probabilities and classes stay.
    """
    removed = evidence.text_removed
    added = effect * evidence.margin / MARGIN
    lower = Answer(removed.probability, removed.log_odds - added, removed.predicted_class)
    return replace(evidence, text_removed=lower)
