"""Which films make up each batch.

COVID-Net's batch re-balancing [wang2020covidnet] without its side effects: no film is overwritten,
no black image pads the last batch.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import InputContractError
from covid_debug.seeding import derive_seed

Indices = NDArray[np.int64]


class BalancedBatches:
    """Batches in which a fixed share belongs to the target class.

    An epoch shows every film of the other classes exactly once, in batches whose sizes differ by
    one at most. Films of the target class are drawn without replacement, cyclically over batches
    and epochs: no film comes again before all others came once, apart from the few that would
    stand twice in one batch. Everything follows from the seed.

    Attributes:
        n_batches: Batches per epoch.
        n_films: Films per epoch, repeats of the target class included.
        smallest: Films in the smallest batch.
    """

    def __init__(
        self,
        labels: Indices,
        *,
        target_class: int,
        target_share: float | None,
        batch_size: int,
        seed: int,
    ) -> None:
        """Prepare the draws.

        Args:
            labels: Class index of each film.
            target_class: Class whose share is fixed.
            target_share: Its share of each batch, in (0, 1); at least one film per batch, and no
                more than there are. None shuffles all films alike.
            batch_size: Films per batch, at least 2.
            seed: Of the order.

        Raises:
            InputContractError: If the share or the batch size is out of range, or a share is asked
                for and all or none of the films belong to the target class.
        """
        if batch_size < 2:
            raise InputContractError(f"training: batch_size is {batch_size}; expected at least 2")
        if target_share is not None and not 0 < target_share < 1:
            raise InputContractError(
                f"training: target_share is {target_share}; expected a share in (0, 1) or none"
            )
        is_target = labels == target_class
        if target_share is not None and (is_target.all() or not is_target.any()):
            raise InputContractError(
                f"training: {int(is_target.sum())} of {len(labels)} films belong to the target"
                " class; expected films on both sides, or no target_share"
            )
        self._targets = np.flatnonzero(is_target) if target_share is not None else labels[:0]
        self._others = np.flatnonzero(~is_target | (target_share is None))
        wanted = 0 if target_share is None else max(round(batch_size * target_share), 1)
        self._n_targets = min(wanted, len(self._targets), batch_size - 1)
        self.n_batches = -(-len(self._others) // (batch_size - self._n_targets))
        self.n_films = len(self._others) + self.n_batches * self._n_targets
        self.smallest = len(self._others) // self.n_batches + self._n_targets
        self._seed = seed
        self._order = np.random.default_rng(derive_seed(seed, "target order"))
        self._queue: list[int] = []

    def draw_epoch(self, epoch: int) -> Iterator[Indices]:
        """Yield the batches of an epoch; epochs are drawn in order, each once.

        Args:
            epoch: Number of the epoch, part of the seed.

        Yields:
            Film indices of one batch, shuffled.
        """
        rng = np.random.default_rng(derive_seed(self._seed, "epoch", epoch))
        for others in np.array_split(rng.permutation(self._others), self.n_batches):
            batch = np.concatenate([others, self._next_targets()])
            yield rng.permutation(batch).astype(np.int64)

    def _next_targets(self) -> Indices:
        drawn, self._queue = self._queue[: self._n_targets], self._queue[self._n_targets :]
        if len(drawn) < self._n_targets:
            fresh = self._order.permutation(self._targets).tolist()
            # A film that is already in this batch waits until the others of the round came.
            fresh = [film for film in fresh if film not in drawn] + drawn
            missing = self._n_targets - len(drawn)
            drawn, self._queue = drawn + fresh[:missing], fresh[missing:]
        return np.array(drawn, dtype=np.int64)
