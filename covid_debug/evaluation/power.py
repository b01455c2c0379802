"""The smallest effect that a comparison can show.

Owns the power of the primary questions, from a design before the run and from its variances after.
"""

import math
from dataclasses import dataclass

from scipy import optimize, stats

from covid_debug.errors import InputContractError
from covid_debug.evaluation.crossed import CrossedEstimate
from covid_debug.evaluation.questions import ALPHA
from covid_debug.evaluation.statistics import Estimate

POWER = 0.8


@dataclass(frozen=True, slots=True)
class Spread:
    """How a difference of two arms spreads, for planning.

    The defaults are those of the balanced accuracy, cleaned minus original and minus placebo, in
    the run on 382 real test films of 304 patients (three seeds of each arm), rounded up.

    Attributes:
        patients: Standard deviation of the difference of one film of one patient, the same for
            every seed.
        films: The same for what is new with every seed.
        seeds: Standard deviation of the difference between trainings with other seeds.
    """

    patients: float = 0.05
    films: float = 0.3
    seeds: float = 0.02


def smallest_effect(found: CrossedEstimate, level: float) -> float:
    """Return the effect that data of this spread show in 80 of 100 cases.

    The standard error is itself estimated, so the distance to the threshold follows Student's
    noncentral t.

    Args:
        found: What was measured.
        level: Level of the test, e.g. 0.05 / number of questions.

    Returns:
        The effect; NaN where undefined.
    """
    error = found.standard_error
    half = found.needed(level)
    if not math.isfinite(half) or error == 0:
        return half
    threshold = half / error
    at = optimize.brentq(
        lambda x: float(stats.nct.sf(threshold, found.dof, x)) - POWER, 0, 3 * threshold + 10
    )
    return float(at) * error


def plan_smallest_effect(
    n_patients: int, n_seeds: int, n_questions: int = 1, spread: Spread | None = None
) -> float:
    """Return the smallest effect that a design can show, before it is run.

    Args:
        n_patients: Patients of the test films, at least 2.
        n_seeds: Trainings of each arm.
        n_questions: Questions that the p-values are corrected for.
        spread: How differences spread; None for that of the real films.

    Returns:
        Effect on a share (0.05 = 5 points) that is shown in 80 of 100 cases; NaN for one seed,
        which gives no verdict.

    Raises:
        InputContractError: If a number is too small.
    """
    if n_patients < 2 or n_seeds < 1 or n_questions < 1:
        raise InputContractError(
            f"plan_smallest_effect: {n_patients} patients, {n_seeds} seeds, {n_questions}"
            " questions; expected at least 2, 1 and 1"
        )
    if n_seeds == 1:
        return math.nan
    has = spread or Spread()
    residual = has.films**2 / n_patients / n_seeds
    of_patients = has.patients**2 / n_patients + residual
    nothing = Estimate.undefined(0, "planned")
    planned = CrossedEstimate(
        nothing,
        of_patients,
        has.seeds**2 / n_seeds + residual,
        residual,
        n_patients - 1.0,
        n_seeds,
    )
    return smallest_effect(planned, ALPHA / n_questions)
