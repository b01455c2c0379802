"""Scores of all models on the films that they share, and what is made of them over the seeds.

Owns which films and seeds stand side by side in a contrast; every row, difference and answer of a
comparison is one signed sum of scores.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from covid_debug.evaluation.crossed import CrossedEstimate, crossed_estimate
from covid_debug.evaluation.metrics import Key, Scores, compute_scores
from covid_debug.evaluation.predictions import FilmPredictions

CellKey = tuple[str, str]  # arm, version of the test films
Side = tuple[float, ...]  # signs of the terms


class ScoreBank:
    """The answers of all models, and their scores on any of the films.

    Attributes:
        answers: Arm, seed and version of the test films -> answers.
        class_names: Classes in index order.
        seed: Seed of the resamples: equal films have equal resamples.
        n_resamples: Resamples of patients.
    """

    def __init__(
        self,
        predictions: Iterable[FilmPredictions],
        class_names: tuple[str, ...],
        *,
        seed: int,
        n_resamples: int,
    ) -> None:
        """Take the answers; nothing is scored yet."""
        self.answers = {(p.arm, p.seed, p.test_data): p for p in predictions}
        self.class_names = class_names
        self.seed = seed
        self.n_resamples = n_resamples
        self._scores: dict[tuple[object, ...], Scores] = {}

    @property
    def cells(self) -> tuple[CellKey, ...]:
        """Arm and version of every cell, in the order given."""
        return tuple(dict.fromkeys((arm, test) for arm, _, test in self.answers))

    def shared(self, cells: Sequence[CellKey]) -> dict[int, tuple[FilmPredictions, ...]]:
        """Return the answers of some cells, by seed, on the films that all of them have.

        Args:
            cells: Arms and versions.

        Returns:
            Seed -> answers of each cell, for the seeds that all cells have; nothing where there is
            no such seed or film.
        """
        seeds = [
            seed
            for seed in dict.fromkeys(seed for _, seed, _ in self.answers)
            if all((arm, seed, test) in self.answers for arm, test in cells)
        ]
        found = {s: [self.answers[arm, s, test] for arm, test in cells] for s in seeds}
        everywhere = [answer for answers in found.values() for answer in answers]
        if not everywhere:
            return {}
        common = set(everywhere[0].image_ids).intersection(*(a.image_ids for a in everywhere))
        ids = tuple(image_id for image_id in everywhere[0].image_ids if image_id in common)
        if not ids:
            return {}
        return {s: tuple(a.restricted(ids) for a in answers) for s, answers in found.items()}

    def score(self, answer: FilmPredictions) -> Scores:
        """Return the scores of one model on the films of its answers."""
        key = (answer.arm, answer.seed, answer.test_data, answer.image_ids)
        if key not in self._scores:
            self._scores[key] = compute_scores(
                answer.labels,
                answer.probabilities,
                self.class_names,
                answer.patients,
                answer.sources,
                seed=self.seed,
                n_resamples=self.n_resamples,
            )
        return self._scores[key]

    def score_shared(self, cells: Sequence[CellKey]) -> dict[int, tuple[Scores, ...]]:
        """Return the scores of some cells, by seed, on the films that all of them have."""
        return {
            seed: tuple(self.score(answer) for answer in answers)
            for seed, answers in self.shared(cells).items()
        }


def cross_scores(
    by_seed: Mapping[int, Sequence[Scores]],
    signs: Sequence[float],
    key: Key,
    *,
    bounds: tuple[float, float],
) -> CrossedEstimate:
    """Estimate a signed sum of scores over patients and seeds.

    Args:
        by_seed: Seed -> scores of the terms, all on the same films.
        signs: Of the terms.
        key: Class and metric.
        bounds: Possible range of the sum.

    Returns:
        The estimate; undefined with the terms' reason where no seed has a value.
    """
    terms = list(by_seed.values())
    column = terms[0][0].keys.index(key)
    weights = np.asarray(signs)
    values = np.array([[s.values[column] for s in scores] for scores in terms]) @ weights
    replicates = np.stack(
        [np.stack([s.replicates[:, column] for s in scores], 1) @ weights for scores in terms], 1
    )
    base = np.any([s.bases[column] for scores in terms for s in scores], axis=0)
    return crossed_estimate(
        values,
        replicates,
        n=int(base.sum()),
        n_clusters=len(np.unique(terms[0][0].patients[base])),
        bounds=bounds,
    )
