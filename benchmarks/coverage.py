"""Simulated arms that err in known ways: how often does an interval cover the truth?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from covid_debug.evaluation.crossed import crossed_estimate
from covid_debug.evaluation.power import Spread, plan_smallest_effect
from covid_debug.evaluation.questions import ALPHA
from covid_debug.evaluation.statistics import draw_clusters
from covid_debug.progress import Listener

Table = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class World:
    """How two arms err. Right answers come from a latent normal variable above 0.

    Attributes:
        name: What it is called.
        n_patients: Patients of the class.
        films: Films of a patient: 1, or geometric with this mean.
        share: Share of right answers of the first arm.
        gain: How much more the second arm gets right.
        film: Standard deviation of a film's difficulty, the same for all models; the noise of a
            single model on a single film has 1.
        arm: The same, of what is alike for all seeds of an arm.
        patient: Share of these variances that the films of a patient have in common.
        seed: Standard deviation between trainings.
    """

    name: str
    n_patients: int
    films: float
    share: float
    film: float
    arm: float
    patient: float
    seed: float
    gain: float = 0.0

    def draw(
        self, n_seeds: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return right answers ``(N, 2, S)`` of both arms, and patients ``(N,)``."""
        sizes = np.ones(self.n_patients, dtype=np.int64)
        if self.films > 1:
            sizes = rng.geometric(1 / self.films, self.n_patients)
        patients = np.repeat(np.arange(self.n_patients), sizes)
        N = len(patients)

        def effect(spread: float, *shape: int) -> NDArray[np.float64]:
            common = rng.normal(size=(self.n_patients, *shape))[patients]
            own = rng.normal(size=(N, *shape))
            return spread * (math.sqrt(self.patient) * common + math.sqrt(1 - self.patient) * own)

        latent = effect(self.film, 1, 1) + effect(self.arm, 2, 1)
        latent = latent + rng.normal(size=(N, 2, n_seeds))
        latent += self.seed * rng.normal(size=(1, 2, n_seeds))
        spread = math.sqrt(self.film**2 + self.arm**2 + self.seed**2 + 1)
        means = spread * special.ndtri(np.array([self.share, self.share + self.gain]))
        return (latent + means[:, None] > 0).astype(np.float64), patients


_USUAL = World("usual", 300, 1.27, 0.75, film=1.5, arm=0.3, patient=0.7, seed=0.0)
WORLDS = (
    _USUAL,
    replace(_USUAL, name="usual, seeds differ", seed=0.15),
    replace(_USUAL, name="usual, seeds differ much", seed=0.3),
    replace(_USUAL, name="arms differ in their films", arm=1.0, seed=0.15),
    replace(_USUAL, name="few films, recall near 1", n_patients=30, share=0.95, seed=0.15),
    replace(_USUAL, name="films of a patient alike", films=3.0, patient=1.0, arm=0.6, seed=0.15),
)


def old_interval(
    by_seed: NDArray[np.float64], replicates: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the interval of before: films' half-widths averaged, t over seeds, in quadrature."""
    tails = np.quantile(replicates, [0.025, 0.975], axis=0)
    below, above = (by_seed - tails[0]).mean(), (tails[1] - by_seed).mean()
    S, mean = len(by_seed), float(by_seed.mean())
    spread = float(stats.t.ppf(0.975, S - 1)) * by_seed.std(ddof=1) / math.sqrt(S)
    return mean - math.hypot(below, spread), mean + math.hypot(above, spread)


def measure_coverage(
    worlds: Sequence[World], seeds: Sequence[int], n_trials: int, seed: int, listener: Listener
) -> Table:
    """Draw data again and again and count how often the truth lies in the interval.

    Args:
        worlds: How the arms err.
        seeds: Numbers of trainings of each arm.
        n_trials: Draws a world and number.
        seed: Seed of the draws.
        listener: Told how far it is.

    Returns:
        A row a world, number and quantity: the second arm alone, and its difference to the first.
    """
    rows: Table = []
    with listener.progress("coverage") as progress:
        for world in worlds:
            for n_seeds in seeds:
                rows += _cover(world, n_seeds, n_trials, np.random.default_rng(seed))
                progress(len(rows) // 2, len(worlds) * len(seeds))
    return rows


def _cover(
    world: World, n_seeds: int, n_trials: int, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    found: dict[str, list[tuple[float, ...]]] = {"share": [], "difference": []}
    for trial in range(n_trials):
        right, patients = world.draw(n_seeds, rng)
        people = np.unique(patients, return_inverse=True)[1].ravel()
        n_clusters = int(people.max()) + 1
        weights = draw_clusters(n_clusters, seed=trial, n_resamples=300)[:, people]
        total = weights.sum(axis=1, keepdims=True)
        by_arm = [(weights @ right[:, a] / total, right[:, a].mean(axis=0)) for a in (0, 1)]
        both = {
            "share": (*by_arm[1], world.share + world.gain, (0.0, 1.0)),
            "difference": (
                *(b - a for a, b in zip(*by_arm, strict=True)),
                *(world.gain, (-1.0, 1.0)),
            ),
        }
        for name, (replicates, by_seed, truth, bounds) in both.items():
            crossed = crossed_estimate(
                by_seed, replicates, n=len(people), n_clusters=n_clusters, bounds=bounds
            )
            new = crossed.estimate
            old = old_interval(by_seed, replicates)
            found[name].append(
                (
                    *(low <= truth <= high for low, high in ((new.low, new.high), old)),
                    *(new.value > 0 and crossed.p_value <= ALPHA, old[0] > 0),
                    *((high - low) / 2 for low, high in ((new.low, new.high), old)),
                )
            )
    for name, results in found.items():
        means = np.mean(results, axis=0)
        yield {
            "world": world.name,
            "seeds": n_seeds,
            "quantity": name,
            "coverage": round(float(means[0]), 3),
            "coverage, old": round(float(means[1]), 3),
            "improved": round(float(means[2]), 3),
            "improved, old": round(float(means[3]), 3),
            "half-width": round(float(means[4]), 3),
            "half-width, old": round(float(means[5]), 3),
        }


def measure_plan(n_trials: int, seed: int, listener: Listener) -> Table:
    """Count how often an effect of the planned size is shown, for designs of several sizes.

    The differences of a patient and a seed are normal, as :class:`Spread` has them.

    Args:
        n_trials: Draws a design.
        seed: Seed of the draws.
        listener: Told how far it is.

    Returns:
        A row a design.
    """
    rows: Table = []
    spread, rng = Spread(), np.random.default_rng(seed)
    designs = [(150, 3), (300, 3), (300, 5), (1000, 5)]
    with listener.progress("planned effects") as progress:
        for n_patients, n_seeds in designs:
            effect = plan_smallest_effect(n_patients, n_seeds)
            shown = 0
            for trial in range(n_trials):
                table = effect + spread.patients * rng.normal(size=(n_patients, 1))
                table = table + spread.seeds * rng.normal(size=n_seeds)
                table = table + spread.films * rng.normal(size=(n_patients, n_seeds))
                weights = draw_clusters(n_patients, seed=trial, n_resamples=300)
                found = crossed_estimate(
                    table.mean(axis=0),
                    weights @ table / n_patients,
                    n=n_patients,
                    n_clusters=n_patients,
                    bounds=(-1.0, 1.0),
                )
                shown += found.estimate.value > 0 and found.p_value <= ALPHA
            rows.append(
                {
                    "patients": n_patients,
                    "seeds": n_seeds,
                    "smallest effect, points": round(100 * effect, 1),
                    "shown": round(shown / n_trials, 3),
                }
            )
            progress(len(rows), len(designs))
    return rows
