"""The loss of a batch that several processes share."""

from dataclasses import dataclass

import lightning_fabric
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class JointLoss:
    """The loss of a joint batch, as one process sees it.

    Attributes:
        own: What this process differentiates; the mean over processes of its gradients is the
            gradient of the joint loss.
        value: Weighted mean cross-entropy of the joint batch, in nats; the same on every process.
        n_films: Films of the joint batch.
    """

    own: Tensor
    value: float
    n_films: int


def joint_cross_entropy(
    fabric: lightning_fabric.Fabric, logits: Tensor, target: Tensor, class_weights: Tensor
) -> JointLoss:
    """Return the weighted cross-entropy of the films of all processes.

    A weighted mean is divided by the weights of its films. Each process has other films, so its
    own mean counts by its share of the joint weight.

    Args:
        fabric: Connects the processes, each of which calls this at the same time.
        logits: ``(N, K)`` of this process' films, at least one.
        target: Class index of each.
        class_weights: One per class, > 0.

    Returns:
        The loss; bit by bit the plain one where there is a single process.
    """
    mean = functional.cross_entropy(logits, target, weight=class_weights)
    if fabric.world_size == 1:
        return JointLoss(mean, float(mean.detach()), len(target))
    weight = class_weights[target].sum()
    own = torch.stack([mean.detach() * weight, weight, weight.new_tensor(float(len(target)))])
    totals: Tensor = fabric.all_reduce(own, reduce_op="sum")
    share = weight / totals[1]
    return JointLoss(
        mean * (share * fabric.world_size), float(totals[0] / totals[1]), round(float(totals[2]))
    )
