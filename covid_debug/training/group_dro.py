"""GroupDRO: the loss leans on the group that is learnt worst [sagawa2020dro]."""

from collections.abc import Callable

import torch
from torch import Tensor


class GroupDro:
    """Weights of the groups, raised where the loss is high.

    Implements Algorithm 1 of [sagawa2020dro] on batches that hold several groups: with L_g the
    mean loss of the films of group g in the batch, ``q_g <- q_g exp(step L_g)``, normalised to
    sum 1, and the network descends on ``sum_g q_g L_g``. A group without a film keeps its weight
    up to the normalisation.

    Attributes:
        weights: ``(G,)`` the q, starting equal; they sum to 1.
    """

    def __init__(
        self,
        n_groups: int,
        step: float,
        device: torch.device | str = "cpu",
        add_up: Callable[[Tensor], Tensor] = lambda own: own,
    ) -> None:
        """Start with equal weights.

        Args:
            n_groups: Number of groups.
            step: Step size of the weights.
            device: Where the losses are.
            add_up: Sums a tensor over the processes that share the batches.
        """
        self.weights = torch.full((n_groups,), 1 / n_groups, device=device)
        self._step = step
        self._add_up = add_up

    def compute(self, losses: Tensor, groups: Tensor) -> Tensor:
        """Raise the weights by a batch and return what is minimised on it.

        Args:
            losses: ``(N,)`` loss of each film, in nats.
            groups: ``(N,)`` number of each film's group.

        Returns:
            The weighted sum of the groups' mean losses; of several processes that share the batch,
            each one's part of it.
        """
        zeros = losses.new_zeros(len(self.weights))
        counts = self._add_up(zeros.index_add(0, groups, torch.ones_like(losses)))
        means = zeros.index_add(0, groups, losses) / counts.clamp(min=1)
        raised = self.weights * torch.exp(self._step * self._add_up(means.detach().clone()))
        self.weights = raised / raised.sum()
        return (self.weights * means).sum()
