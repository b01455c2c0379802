"""From intervened predictions to calibrated verdicts with reasons.

Owns the test, its null and the rule. It sees probabilities only, never pixels or models.

**The test.** The evidence that text pushes a film towards the target class is the fall of the
target's log-odds when the text is removed, because on that scale a saturated probability still
moves. Its null are the falls at matched text-free patches of the same film. With ``K`` patches a
rank within one film cannot be smaller than ``1 / (K + 1)``, which no correction for many films
survives. Therefore each fall is standardised by its own film's nulls (each null by the *other*
nulls of its film, the text by one null fewer than there are, so that both are treated alike) and
compared with the standardised nulls of **all** audited films::

    z = (fall - mean of reference nulls) / (sd of reference nulls + s0)
    p = (1 + number of null z >= text z) / (1 + number of null z)

``s0`` is the median sd over films; it keeps a film whose nulls do not move at all from turning a
negligible fall into a large z. The assumption is that, after standardisation, films share one null
distribution; the rank within the film is reported beside it. Benjamini and Hochberg's procedure
over the audited films gives q. With ``K >= 1 / alpha`` a single text-driven film among any number
of films can be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_debug.evaluation.statistics import benjamini_hochberg

Verdict = Literal["text_driven", "text_sensitive", "not_text_driven", "inconclusive"]
# Severity order: what a reviewer should see first.
VERDICTS: tuple[Verdict, ...] = (
    "text_driven",
    "text_sensitive",
    "inconclusive",
    "not_text_driven",
)
Direction = Literal["towards", "away", "none"]

MIN_NULLS = 4
"""Fewest matched patches from which a spread can be estimated."""

FRAGILE_SHARE = 0.5
"""Share of matched patches that change the class from which on a film counts as fragile."""

_TINY = 1e-30
_LEAST_SPREAD = 1e-4  # log-odds; rounding of float32 probabilities


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says about one view: the target's probability and log-odds, and a class."""

    probability: float
    log_odds: float
    predicted_class: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Answers for one film under the interventions.

    Attributes:
        target: Name of the audited class, which the film is predicted as.
        film: The film as it is.
        text_removed: Without its text.
        text_revealed: Only the text on the baseline.
        baseline: The film with everything removed, normally its blur.
        null_removed: Without each matched patch.
        null_revealed: Only each matched patch on the baseline.
    """

    target: str
    film: Answer
    text_removed: Answer
    text_revealed: Answer
    baseline: Answer
    null_removed: tuple[Answer, ...]
    null_revealed: tuple[Answer, ...]

    @property
    def drop(self) -> float:
        """Fall of the target probability when the text is removed; negative when it rises."""
        return self.film.probability - self.text_removed.probability

    @property
    def changes_class(self) -> bool:
        """Tell whether the film leaves the target class without its text."""
        return self.text_removed.predicted_class != self.target

    @property
    def is_sufficient(self) -> bool:
        """Tell whether the text alone makes the baseline the target class."""
        return self.text_revealed.predicted_class == self.target != self.baseline.predicted_class

    @property
    def null_flip_share(self) -> float:
        """Share of matched patches whose removal changes the class; 0 without patches."""
        if not self.null_removed:
            return 0.0
        n_changed = sum(answer.predicted_class != self.target for answer in self.null_removed)
        return n_changed / len(self.null_removed)


@dataclass(frozen=True, slots=True)
class Significance:
    """What the null says about one film; NaN where it could not be tested.

    Attributes:
        p_towards: One-sided p-value that removing the text lowers the target's odds.
        q_towards: Its false discovery rate over the audited films.
        p_away: One-sided p-value that removing the text raises the target's odds.
        q_away: Its false discovery rate.
        p_revealed: One-sided p-value that the text alone raises the odds on the baseline.
        q_revealed: Its false discovery rate.
        n_exceeded: Matched patches of the same film whose removal lowers the odds less.
    """

    p_towards: float
    q_towards: float
    p_away: float
    q_away: float
    p_revealed: float
    q_revealed: float
    n_exceeded: int


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A verdict, which way the text pushes, and why, in sentences."""

    verdict: Verdict
    direction: Direction
    reasons: tuple[str, ...]


def log_odds(probabilities: ArrayLike, target: int) -> NDArray[np.float64]:
    """Return the log-odds of a class from ``(..., K)`` probabilities.

    The odds are taken against the sum of the other classes, which float32 still resolves when the
    target's own probability is rounded to 1.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    rest = np.delete(p, target, axis=-1).sum(axis=-1)
    odds: NDArray[np.float64] = np.log(p[..., target] + _TINY) - np.log(rest + _TINY)
    return odds


def calibrated_p_values(
    effects: ArrayLike, null_effects: Sequence[ArrayLike]
) -> NDArray[np.float64]:
    """Return one-sided p-values of effects against the pooled, standardised nulls.

    Args:
        effects: ``(M,)`` effect at the text of each film; larger = more against the null.
        null_effects: For each film, the effects at its matched patches.

    Returns:
        ``(M,)`` values in (0, 1]; NaN for a film with fewer than :data:`MIN_NULLS` patches.
    """
    observed = np.asarray(effects, dtype=np.float64)
    nulls = [np.asarray(values, dtype=np.float64) for values in null_effects]
    usable = np.array([len(values) >= MIN_NULLS for values in nulls], dtype=bool)
    p = np.full(observed.shape, np.nan)
    if not usable.any():
        return p
    spreads = [float(values.std(ddof=1)) for values, ok in zip(nulls, usable, strict=True) if ok]
    floor = max(float(np.median(spreads)), _LEAST_SPREAD)
    pooled = np.sort(
        np.concatenate(
            [
                _standardise_nulls(values, floor)
                for values, ok in zip(nulls, usable, strict=True)
                if ok
            ]
        )
    )
    for i in np.flatnonzero(usable):
        reference = nulls[i][:-1]
        z = (observed[i] - reference.mean()) / (reference.std(ddof=1) + floor)
        n_as_large = pooled.size - int(np.searchsorted(pooled, z - 1e-9, side="left"))
        p[i] = (1 + n_as_large) / (1 + pooled.size)
    return p


def judge_significance(evidence: Sequence[Evidence | None]) -> list[Significance]:
    """Compare every film's effects with the nulls of all films.

    Args:
        evidence: Evidence of each film, None where it failed.

    Returns:
        One entry a film; NaN for films that failed or have too few nulls.
    """
    drops: list[float] = []
    null_drops: list[list[float]] = []
    gains: list[float] = []
    null_gains: list[list[float]] = []
    for item in evidence:
        if item is None:
            drops.append(np.nan)
            gains.append(np.nan)
            null_drops.append([])
            null_gains.append([])
            continue
        film, nothing = item.film.log_odds, item.baseline.log_odds
        drops.append(film - item.text_removed.log_odds)
        gains.append(item.text_revealed.log_odds - nothing)
        null_drops.append([film - answer.log_odds for answer in item.null_removed])
        null_gains.append([answer.log_odds - nothing for answer in item.null_revealed])
    towards = calibrated_p_values(drops, null_drops)
    away = calibrated_p_values(np.negative(drops), [np.negative(x) for x in null_drops])
    revealed = calibrated_p_values(gains, null_gains)
    q = [benjamini_hochberg(p) for p in (towards, away, revealed)]
    return [
        Significance(
            p_towards=float(towards[i]),
            q_towards=float(q[0][i]),
            p_away=float(away[i]),
            q_away=float(q[1][i]),
            p_revealed=float(revealed[i]),
            q_revealed=float(q[2][i]),
            n_exceeded=sum(null < drop for null in nulls),
        )
        for i, (drop, nulls) in enumerate(zip(drops, null_drops, strict=True))
    ]


def decide(
    evidence: Evidence,
    significance: Significance,
    *,
    alpha: float,
    min_drop: float,
    strong_drop: float,
) -> Conclusion:
    """Give a film its verdict.

    ``text_driven``: beyond the null (``q <= alpha``), and without the text the film leaves the
    class or loses at least ``strong_drop``. ``text_sensitive``: beyond the null, class kept, and
    at least ``min_drop`` lost; or the text alone turns the baseline into the class, beyond
    what matched patches do. ``inconclusive``: the class changes or at least ``min_drop`` is lost,
    but no more than at matched patches, or the film has no room for them.
    ``not_text_driven``: everything else.

    Args:
        evidence: Probabilities under the interventions.
        significance: P- and q-values.
        alpha: False discovery rate.
        min_drop: Smallest relevant fall of the probability, in [0, 1].
        strong_drop: Fall that counts as driven even if the class is kept, in [0, 1].

    Returns:
        Verdict, direction, and the reasons in sentences.
    """
    is_relevant = evidence.changes_class or evidence.drop >= min_drop
    reasons = [_describe_removal(evidence, significance, alpha, is_relevant=is_relevant)]
    verdict: Verdict = "not_text_driven"
    if np.isnan(significance.p_towards):
        reasons.append(
            f"only {len(evidence.null_removed)} matched patches fit on the film, {MIN_NULLS} are"
            " needed: no null to compare with"
        )
        verdict = "inconclusive"
    elif significance.q_towards <= alpha and is_relevant:
        is_driven = evidence.changes_class or evidence.drop >= strong_drop
        verdict = "text_driven" if is_driven else "text_sensitive"
    elif is_relevant:
        verdict = "inconclusive"
        if evidence.null_flip_share >= FRAGILE_SHARE:
            reasons.append(
                f"the prediction is fragile: {evidence.null_flip_share:.0%} of the matched patches"
                " change the class too"
            )
        elif evidence.film.probability < 0.5:
            reasons.append(
                f"low confidence ({evidence.film.probability:.2f}): the change is not beyond what"
                " matched patches do"
            )
        else:
            reasons.append("the change is not beyond what matched patches do")
    if evidence.is_sufficient:
        beyond = significance.q_revealed <= alpha
        reasons.append(
            f"the text alone, on an empty film, is predicted {evidence.target}"
            f" ({evidence.baseline.probability:.2f} -> {evidence.text_revealed.probability:.2f}),"
            f" {'beyond' if beyond else 'not beyond'} matched patches"
        )
        if beyond and verdict == "not_text_driven":
            verdict = "text_sensitive"
    direction: Direction = "none"
    if significance.q_towards <= alpha:
        direction = "towards"
    elif significance.q_away <= alpha:
        direction = "away"
        reasons.append(f"the text pushes away from {evidence.target}: without it p rises")
    return Conclusion(verdict, direction, tuple(reasons))


def _standardise_nulls(values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Return each null relative to the other nulls of its film."""
    K = values.size
    others = np.broadcast_to(values, (K, K))[~np.eye(K, dtype=bool)].reshape(K, K - 1)
    z: NDArray[np.float64] = (values - others.mean(axis=1)) / (others.std(axis=1, ddof=1) + floor)
    return z


def _describe_removal(
    evidence: Evidence, significance: Significance, alpha: float, *, is_relevant: bool
) -> str:
    change = (
        f"becomes {evidence.text_removed.predicted_class}"
        if evidence.changes_class
        else f"stays {evidence.target}"
    )
    sentence = (
        f"without the text it {change} (p {evidence.film.probability:.2f} ->"
        f" {evidence.text_removed.probability:.2f})"
    )
    if np.isnan(significance.p_towards):
        return sentence
    n_nulls = len(evidence.null_removed)
    sentence += (
        f"; larger than at {significance.n_exceeded} of {n_nulls} matched patches,"
        f" q = {significance.q_towards:.3f}"
    )
    if significance.q_towards <= alpha:
        too_small = f": beyond them, but a fall of {evidence.drop:.2f} is too small to count"
        return sentence if is_relevant else sentence + too_small
    if significance.p_towards <= alpha or significance.n_exceeded == n_nulls:
        sentence += ": not enough after correction for all audited films"
    return sentence
