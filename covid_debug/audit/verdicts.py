"""From intervened predictions to calibrated verdicts with reasons.

Owns the test, its null and the rule. It sees probabilities only, never pixels or models.

**The test.** One question a film: does its text move the prediction? The effect is the fall of the
target's log-odds when the text is removed, because on that scale a saturated probability still
moves. Its null are the falls at matched text-free patches of the same film. With ``K`` patches a
rank within one film cannot be smaller than ``1 / (K + 1)``, which no correction for many films
survives. Therefore each fall is standardised by its own film's nulls (each null by the *other*
nulls of its film, the text by one null fewer than there are, so that both are treated alike) and
compared with the standardised nulls of **all** audited films::

    z = (fall - margin - mean of reference nulls) / (sd of reference nulls + rounding)
    p = 2 (1 + number of null z >= z) / (1 + number of null z), at most 1

and the same with all signs reversed where the log-odds rise. The direction is the fall's sign, and
only that side counts: a fall that is smaller than at the patches is no effect of text. The factor 2
is for either sign. A ``z`` from few nulls has heavier tails than one from many, so each is brought
to one scale by Student's t with the degrees of freedom of its spread. Benjamini and Hochberg's
procedure over the audited films gives q: one family, one hypothesis a film.

**The margin.** Patches are matched in shape and place, not in energy: on real films the removal of
text changes several times the gray levels that the removal of a patch changes, so a model that
cannot read answers to it more as well. A test of "no effect at all" would call that a finding on a
third of the films. Therefore the test is one of a *minimum effect*: the null hypothesis is that
text moves the log-odds by no more than ``MARGIN`` times their standard deviation over the films,
beyond what matched patches do. ``covid-debug bench audit --size`` measures what is left: the rate
of small p on models that cannot read. (Nulls of the text's own energy were tried and lose the power
against models that take any bright mark for their text: docs/decisions/0003-audit-null.md.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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

MARGIN = 0.25
"""Least effect that is tested for, in standard deviations of the log-odds over the films."""

FRAGILE_SHARE = 0.5
"""Share of matched patches that change the class from which on a film counts as fragile."""

_TINY = 1e-30
_LEAST_SPREAD = 1e-3  # log-odds; rounding of float32 probabilities
_TIE = 1e-9  # scores that differ by less are equal


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
        margin: Least effect that is tested for, in log-odds, see :func:`compute_margins`.
    """

    target: str
    film: Answer
    text_removed: Answer
    text_revealed: Answer
    baseline: Answer
    null_removed: tuple[Answer, ...]
    margin: float = 0.0

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
    def effect(self) -> float:
        """Fall of the target's log-odds when the text is removed."""
        return self.film.log_odds - self.text_removed.log_odds

    @property
    def null_effects(self) -> tuple[float, ...]:
        """Fall of the target's log-odds when each matched patch is removed."""
        return tuple(self.film.log_odds - answer.log_odds for answer in self.null_removed)

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
        p: P-value, doubled for either sign, that removing the text moves the target's log-odds by
            more than the margin beyond what matched patches do in the same direction.
        q: Its false discovery rate over the audited films.
        n_exceeded: Matched patches of the same film that move the log-odds less, in the text's
            direction.
    """

    p: float
    q: float
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


def compute_margins(film_log_odds: ArrayLike) -> NDArray[np.float64]:
    """Return the least effect that is tested for, for each class.

    Args:
        film_log_odds: ``(N, K)`` log-odds of every class on the films as they are.

    Returns:
        ``(K,)`` in log-odds: :data:`MARGIN` standard deviations; 0 for fewer than two films.
    """
    rows = np.asarray(film_log_odds, dtype=np.float64)
    if len(rows) < 2:
        return np.zeros(rows.shape[1])
    margins: NDArray[np.float64] = MARGIN * rows.std(axis=0, ddof=1)
    return margins


def calibrated_p_values(
    effects: ArrayLike, null_effects: Sequence[ArrayLike], margins: ArrayLike
) -> NDArray[np.float64]:
    """Return two-sided p-values of effects against the pooled, standardised nulls.

    Args:
        effects: ``(M,)`` effect of the text of each film.
        null_effects: For each film, the effects at its matched patches.
        margins: ``(M,)`` least effect that is tested for, >= 0, on the same scale.

    Returns:
        ``(M,)`` values in (0, 1]; 1 for an effect that is smaller than at the patches, or 0; NaN
        for a film with fewer than :data:`MIN_NULLS` patches.
    """
    observed = np.asarray(effects, dtype=np.float64)
    margin = np.asarray(margins, dtype=np.float64)
    nulls = [np.asarray(values, dtype=np.float64) for values in null_effects]
    usable = [i for i, values in enumerate(nulls) if len(values) >= MIN_NULLS]
    p = np.full(observed.shape, np.nan)
    if not usable:
        return p
    pooled = np.sort(np.concatenate([_standardise_nulls(nulls[i]) for i in usable]))
    for i in usable:
        reference = nulls[i][:-1]
        centre, spread = reference.mean(), reference.std(ddof=1) + _LEAST_SPREAD
        if observed[i] > 0:
            z = (observed[i] - margin[i] - centre) / spread
            n_beyond = pooled.size - int(
                np.searchsorted(pooled, _to_scores(z, reference.size) - _TIE, side="left")
            )
        elif observed[i] < 0:
            z = (observed[i] + margin[i] - centre) / spread
            n_beyond = int(
                np.searchsorted(pooled, _to_scores(z, reference.size) + _TIE, side="right")
            )
        else:
            n_beyond = pooled.size
        p[i] = min(1.0, 2 * (1 + n_beyond) / (1 + pooled.size))
    return p


def judge_significance(evidence: Sequence[Evidence | None]) -> list[Significance]:
    """Compare every film's effect with the nulls of all films.

    Args:
        evidence: Evidence of each film, None where it failed.

    Returns:
        One entry a film; NaN for films that failed or have too few nulls.
    """
    effects = [np.nan if item is None else item.effect for item in evidence]
    nulls = [() if item is None else item.null_effects for item in evidence]
    margins = [0.0 if item is None else item.margin for item in evidence]
    p_values = calibrated_p_values(effects, nulls, margins)
    q_values = benjamini_hochberg(p_values)
    return [
        Significance(float(p), float(q), sum(abs(effect) > np.sign(effect) * null for null in own))
        for p, q, effect, own in zip(p_values, q_values, effects, nulls, strict=True)
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
    at least ``min_drop`` lost. ``inconclusive``: the class changes or at least ``min_drop`` is
    lost, but not beyond what matched patches do, or the film has no room for them.
    ``not_text_driven``: everything else, also where text pushes *away* from the class; the
    direction tells.

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
    is_beyond = significance.q <= alpha
    reasons = [_describe_removal(evidence, significance, alpha, is_relevant=is_relevant)]
    verdict: Verdict = "not_text_driven"
    if np.isnan(significance.p):
        reasons.append(
            f"only {len(evidence.null_removed)} matched patches fit on the film, {MIN_NULLS} are"
            " needed: no null to compare with"
        )
        verdict = "inconclusive"
    elif is_beyond and is_relevant and evidence.effect > 0:
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
                f"low confidence ({evidence.film.probability:.2f}): the change is not proved to"
                " be beyond what matched patches do"
            )
        else:
            reasons.append("the change is not proved to be beyond what matched patches do")
    if evidence.is_sufficient:
        reasons.append(
            f"the text alone, on an empty film, is predicted {evidence.target}"
            f" ({evidence.baseline.probability:.2f} -> {evidence.text_revealed.probability:.2f})"
        )
    direction: Direction = "none"
    if is_beyond:
        direction = "towards" if evidence.effect > 0 else "away"
    if direction == "away":
        reasons.append(f"the text pushes away from {evidence.target}: without it p rises")
    return Conclusion(verdict, direction, tuple(reasons))


def _standardise_nulls(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the score of each null relative to the other nulls of its film."""
    K = values.size
    others = np.broadcast_to(values, (K, K))[~np.eye(K, dtype=bool)].reshape(K, K - 1)
    spread = others.std(axis=1, ddof=1) + _LEAST_SPREAD
    return _to_scores((values - others.mean(axis=1)) / spread, K - 1)


def _to_scores(z: ArrayLike, n_reference: int) -> NDArray[np.float64]:
    """Return standard normal scores of deviations in estimated standard deviations.

    A new Gaussian draw lies ``z`` estimated standard deviations from the mean of ``n`` others;
    ``z / sqrt(1 + 1 / n)`` is Student's t with ``n - 1`` degrees of freedom. Rising in ``z``, so
    ranks among films with equally many nulls stay.
    """
    t = np.asarray(z, dtype=np.float64) / np.sqrt(1 + 1 / n_reference)
    tail = stats.t.sf(np.abs(t), n_reference - 1)
    scores: NDArray[np.float64] = np.sign(t) * stats.norm.isf(tail)
    return scores


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
    if np.isnan(significance.p):
        return sentence
    n_nulls = len(evidence.null_removed)
    sentence += (
        f"; larger than at {significance.n_exceeded} of {n_nulls} matched patches,"
        f" q = {significance.q:.3f}"
    )
    if significance.q <= alpha:
        too_small = f": beyond them, but a fall of {evidence.drop:.2f} is too small to count"
        return sentence if is_relevant or evidence.effect < 0 else sentence + too_small
    if significance.p <= alpha or significance.n_exceeded == n_nulls:
        sentence += ": not enough after correction for all audited films"
    return sentence
