"""Batch-norm statistics in closed form, and norms that processes share."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from covid_debug.training.batch_norm import join_batch_norms, refresh_batch_norm


def test_statistics_become_the_average_over_batches_and_momentum_stays():
    model = nn.Sequential(nn.Identity(), nn.BatchNorm1d(1), nn.Dropout(0.5))
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])]

    refresh_batch_norm(model, batches)

    # Means 1 and 6; unbiased variances 2 and 8.
    torch.testing.assert_close(model[1].running_mean, torch.tensor([3.5]))
    torch.testing.assert_close(model[1].running_var, torch.tensor([5.0]))
    assert model[1].momentum == 0.1
    assert not any(module.training for module in model.modules())


def test_model_without_batch_norm_is_not_run():
    def fail():
        raise AssertionError
        yield

    refresh_batch_norm(nn.Linear(1, 1), fail())


def test_momentum_is_put_back_after_a_failure():
    model = nn.Sequential(nn.BatchNorm1d(1))

    with pytest.raises(ValueError, match="2D or 3D"):
        refresh_batch_norm(model, [torch.zeros(1)])

    assert model[0].momentum == 0.1
    assert not model[0].training


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be the only process of a group; two are in test_training_ranks.py."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)])
def test_a_joint_norm_of_one_process_is_a_plain_one(norm: nn.BatchNorm2d) -> None:
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64) * 3 + 7
    plain, joint = norm.double(), nn.Sequential(copy.deepcopy(norm).double())
    join_batch_norms(joint)

    ways = []
    for model in (plain, joint):
        given = planes.clone().requires_grad_()
        for _ in range(2):
            made = model(given)
        (slope,) = torch.autograd.grad(made.pow(3).sum(), given, create_graph=True)
        (bend,) = torch.autograd.grad(slope.pow(2).sum(), given)
        ways.append([made, slope, bend, *model.state_dict().values(), model.eval()(given)])

    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.usefixtures("alone")
def test_a_joint_norm_averages_plainly_without_momentum() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1))
    join_batch_norms(model)

    refresh_batch_norm(model, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])])

    torch.testing.assert_close(model[0].running_mean, torch.tensor([3.5]))
    torch.testing.assert_close(model[0].running_var, torch.tensor([5.0]))
