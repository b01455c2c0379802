"""The loss of several processes is that of one process on the joint batch."""

import pytest
import torch
from torch.nn import functional

from covid_debug.training.loss import joint_cross_entropy

WEIGHTS = torch.tensor([1.0, 5.0, 0.5])


class FakeFabric:
    """One of several processes; the sums over all of them are known beforehand."""

    def __init__(self, n_ranks: int, totals: torch.Tensor) -> None:
        self.world_size = n_ranks
        self._totals = totals

    def all_reduce(self, data: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        return self._totals


def measure(labels: torch.Tensor, n_ranks: int) -> tuple[torch.Tensor, float]:
    """Return the averaged gradient (what DDP makes of the ranks' gradients) and the loss."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(labels), 4, generator=generator)
    weight = torch.randn(4, 3, generator=generator, requires_grad=True)
    rows = functional.cross_entropy(features @ weight, labels, weight=WEIGHTS, reduction="none")
    totals = torch.stack(
        [rows.sum().detach(), WEIGHTS[labels].sum(), torch.tensor(float(len(labels)))]
    )
    gradients, losses = [], []
    for rank in range(n_ranks):
        share = slice(rank, None, n_ranks)
        fabric = FakeFabric(n_ranks, totals)
        joint = joint_cross_entropy(fabric, features[share] @ weight, labels[share], WEIGHTS)
        gradients.append(torch.autograd.grad(joint.own, weight)[0])
        losses.append(joint.value)
        assert joint.n_films == len(labels)
    assert len(set(losses)) == 1
    return torch.stack(gradients).mean(dim=0), losses[0]


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 0, 1, 0, 1, 2, 2], [0, 0, 1, 2, 2, 1, 0], [1, 0], [1, 1, 1, 2, 0]],
    ids=["one_class_a_rank", "odd", "one_film_a_rank", "short"],
)
def test_two_ranks_have_the_gradient_and_loss_of_one(labels: list[int]) -> None:
    target = torch.tensor(labels)
    gradient, loss = measure(target, 1)

    joint_gradient, joint_loss = measure(target, 2)

    torch.testing.assert_close(joint_gradient, gradient)
    assert joint_loss == pytest.approx(loss)


def test_one_process_has_the_plain_weighted_loss_bit_by_bit() -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    plain = functional.cross_entropy(logits, target, weight=WEIGHTS)
    totals = torch.tensor([float("nan")] * 3)

    joint = joint_cross_entropy(FakeFabric(1, totals), logits, target, WEIGHTS)

    assert torch.equal(joint.own, plain)
    assert joint.value == float(plain)
    assert joint.n_films == 7
