"""Batches in which every source of a class comes equally often."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from covid_debug.seeding import derive_seed
from covid_debug.training.batches import BalancedBatches, Indices

T = TypeVar("T")


class SourceBatches:
    """The batches of a plain recipe, with each film exchanged for one of the same class.

    The classes' shares are those of the recipe. Within a class the sources take turns, in an order
    drawn anew each round, and within a source the films do: no film of a group comes again before
    all others of it came. Films of a small group come often; no weight makes more of them.

    Attributes:
        n_batches: Batches per epoch.
        n_films: Films per epoch.
        smallest: Films in the smallest batch.
    """

    def __init__(
        self, plain: BalancedBatches, labels: Indices, sources: Sequence[str], *, seed: int
    ) -> None:
        """Prepare the draws.

        Args:
            plain: Decides how many films of which class a batch holds.
            labels: Class index of each film.
            sources: Source of each film.
            seed: Of the order.
        """
        self.n_batches = plain.n_batches
        self.n_films = plain.n_films
        self.smallest = plain.smallest
        self._plain = plain
        self._labels = labels
        rng = np.random.default_rng(derive_seed(seed, "source order"))
        members: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for film, (label, source) in enumerate(zip(labels.tolist(), sources, strict=True)):
            members[label][source].append(film)
        self._turns = {
            label: _in_rounds([_in_rounds(films, rng) for films in by_source.values()], rng)
            for label, by_source in members.items()
        }

    def draw_epoch(self, epoch: int) -> Iterator[Indices]:
        """Yield the batches of an epoch; epochs are drawn in order, each once.

        Args:
            epoch: Number of the epoch.

        Yields:
            Film indices of one batch.
        """
        for batch in self._plain.draw_epoch(epoch):
            classes = self._labels[batch].tolist()
            yield np.array([next(next(self._turns[label])) for label in classes], np.int64)


def _in_rounds(items: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """Yield items for ever, in rounds of an order of their own."""
    while True:
        for place in rng.permutation(len(items)):
            yield items[place]
