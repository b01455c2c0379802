"""What processes that share every batch tell each other.

Film ``i`` of a batch belongs to process ``i % n``, so each has its share without asking.
"""

import lightning_fabric
import torch
from torch import Tensor, distributed
from torch.nn import functional


def gather_rows(fabric: lightning_fabric.Fabric, own: Tensor, n_rows: int) -> Tensor:
    """Return one row a film of the whole batch, in its order.

    Args:
        fabric: Connects the processes, each of which calls this at the same time.
        own: ``(n, D)`` of this process' films.
        n_rows: Films of the batch.

    Returns:
        ``(n_rows, D)``, in which this process' rows alone can be differentiated: the gradients of
        all processes add up to that of the batch. With one process ``own`` itself.
    """
    rank, n_ranks = fabric.global_rank, fabric.world_size
    if n_ranks == 1:
        return own
    n_padded = -(-n_rows // n_ranks)
    padded = functional.pad(own, (0, 0, 0, n_padded - len(own))).contiguous()
    by_rank = [torch.empty_like(padded) for _ in range(n_ranks)]
    distributed.all_gather(by_rank, padded.detach())
    by_rank[rank] = padded
    return torch.stack(by_rank, dim=1).flatten(0, 1)[:n_rows]


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs, and can be differentiated."""

    @staticmethod
    def forward(_: object, own: Tensor) -> Tensor:
        total = own.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return add_up(gradient)


def add_up(own: Tensor) -> Tensor:
    """Return the sum of every process' numbers; all call this at the same time."""
    total: Tensor = _Sum.apply(own)
    return total
