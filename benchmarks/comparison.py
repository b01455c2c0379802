"""How often the interval of a comparison covers the truth, and how often a verdict is wrong.

Simulated films for coverage and power; real predictions with their arms exchanged, and equal
trainings on phantoms, for verdicts where there is nothing to find.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from covid_debug.evaluation.comparing import answer_questions
from covid_debug.evaluation.crossed import crossed_estimate
from covid_debug.evaluation.predictions import FilmPredictions
from covid_debug.evaluation.questions import QUESTION_NAMES, choose_question
from covid_debug.evaluation.scoring import ScoreBank
from covid_debug.evaluation.statistics import draw_clusters
from covid_debug.progress import Listener

ARMS = ("original", "cleaned", "placebo")
_FAIR = ("no evidence", "not measured")
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

    def draw(self, n_seeds: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
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
        means = spread * stats.norm.ppf([self.share, self.share + self.gain])
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
            new = crossed_estimate(
                by_seed, replicates, n=len(people), n_clusters=n_clusters, bounds=bounds
            ).estimate
            old = old_interval(by_seed, replicates)
            found[name].append(
                (
                    *(low <= truth <= high for low, high in ((new.low, new.high), old)),
                    *(low > 0 for low in (new.low, old[0])),
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
            "above 0": round(float(means[2]), 3),
            "above 0, old": round(float(means[3]), 3),
            "half-width": round(float(means[4]), 3),
            "half-width, old": round(float(means[5]), 3),
        }


def read_answers(path: Path) -> tuple[list[FilmPredictions], tuple[str, ...]]:
    """Read ``predictions.csv`` of a comparison, and its classes."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = tuple(key[2:] for key in rows[0] if key.startswith("p_"))
    by_model: dict[tuple[str, int, str], list[dict[str, str]]] = {}
    for row in rows:
        by_model.setdefault((row["train_data"], int(row["seed"]), row["test_data"]), []).append(row)
    answers = []
    for (arm, seed, test), own in by_model.items():
        chances = np.array([[float(row[f"p_{name}"]) for name in names] for row in own])
        answers.append(
            FilmPredictions(
                arm,
                seed,
                test,
                tuple(row["image_id"] for row in own),
                tuple(row["patient_id"] for row in own),
                tuple(row["source"] for row in own),
                np.array([names.index(row["label"]) for row in own], dtype=np.int64),
                (chances / chances.sum(axis=1, keepdims=True)).astype(np.float32),
                len(own),
            )
        )
    return answers, names


def exchange_arms(
    answers: Sequence[FilmPredictions], rng: np.random.Generator, *, by_seed: bool
) -> list[FilmPredictions]:
    """Deal the arms out anew for every patient, so that no arm is better than another.

    Args:
        answers: Of the arms, all on the same films in the same order.
        rng: Of the draws; all versions of the films are dealt alike.
        by_seed: Whether seeds are dealt independently; else all alike, which keeps what the seeds
            of an arm have in common on a patient.

    Returns:
        As many answers of as many arms.
    """
    table = {(a.arm, a.seed, a.test_data): a for a in answers}
    arms = list(dict.fromkeys(a.arm for a in answers))
    patients = np.unique(answers[0].patients)
    place = np.searchsorted(patients, answers[0].patients)
    dealt = []
    order = np.argsort(rng.random((len(patients), len(arms))), axis=1)
    for seed in dict.fromkeys(a.seed for a in answers):
        if by_seed:
            order = np.argsort(rng.random((len(patients), len(arms))), axis=1)
        for test in dict.fromkeys(a.test_data for a in answers):
            stack = np.stack([table[arm, seed, test].probabilities for arm in arms], axis=1)
            for k, arm in enumerate(arms):
                chosen = stack[np.arange(len(place)), order[place, k]]
                dealt.append(replace(table[arm, seed, test], probabilities=chosen))
    return dealt


def draw_trainings(
    answers: Sequence[FilmPredictions], n_seeds: int, rng: np.random.Generator
) -> list[FilmPredictions]:
    """Call some of many equal trainings the seeds of three arms."""
    pool = list(dict.fromkeys(a.seed for a in answers))
    chosen = rng.permutation(pool)[: n_seeds * len(ARMS)]
    names = {int(s): (ARMS[i % len(ARMS)], i // len(ARMS)) for i, s in enumerate(chosen)}
    return [
        replace(a, arm=names[a.seed][0], seed=names[a.seed][1]) for a in answers if a.seed in names
    ]


def count_verdicts(
    comparisons: Iterator[list[FilmPredictions]],
    class_names: tuple[str, ...],
    n: int,
    listener: Listener,
) -> dict[str, object]:
    """Answer the questions of comparisons in which there is nothing to find.

    Returns:
        How many had a verdict other than "no evidence", after Holm and without it, and questions
        that were asked.
    """
    n_wrong = n_single = n_asked = 0
    n_each = dict.fromkeys(QUESTION_NAMES, 0)
    with listener.progress("null comparisons") as progress:
        for done, answers in enumerate(comparisons, start=1):
            bank = ScoreBank(answers, class_names, seed=done, n_resamples=300)
            asked = [choose_question(name, bank.cells) for name in QUESTION_NAMES]
            found = answer_questions(bank, asked)
            n_wrong += any(one.verdict not in _FAIR for one in found)
            n_single += any(one.p <= 0.05 for one in found)
            n_asked = sum(one.verdict != "not measured" for one in found)
            for one in found:
                n_each[one.question.name] += one.p <= 0.05
            progress(done, n)
    low, high = stats.binomtest(n_wrong, n).proportion_ci(method="wilson")
    return {
        "comparisons": n,
        "questions": n_asked,
        "a wrong verdict": f"{n_wrong} ({100 * low:.1f} to {100 * high:.1f} %)",
        "without Holm": n_single,
        **{f"p <= .05: {name}": count for name, count in n_each.items()},
    }
