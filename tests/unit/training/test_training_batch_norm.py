"""Batch-norm statistics in closed form."""

import pytest
import torch
from torch import nn

from covid_debug.training.batch_norm import refresh_batch_norm


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
