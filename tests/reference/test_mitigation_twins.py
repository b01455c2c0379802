"""Countermeasures against their slow twins."""

import math

import numpy as np
import pytest
import torch
from mitigation_twin import distance_correlation_twin, group_dro_twin, wrong_reasons_twin
from torch import nn

from covid_debug.training.group_dro import GroupDro
from covid_debug.training.matching import compute_source_dependence
from covid_debug.training.right_reasons import compute_slopes, compute_wrong_reasons


def test_group_dro_follows_its_twin():
    rng = np.random.default_rng(0)
    batches = [
        [(float(rng.exponential()), int(rng.integers(4))) for _ in range(6)] for _ in range(12)
    ]

    dro = GroupDro(5, 0.3)  # the fifth group never comes
    dro.weights = dro.weights.double()
    minimised = [
        float(dro.compute(torch.tensor(losses, dtype=torch.float64), torch.tensor(groups)))
        for losses, groups in (zip(*batch, strict=True) for batch in batches)
    ]

    expected, weights = group_dro_twin(batches, 5, 0.3)
    assert minimised == pytest.approx(expected, rel=1e-6)
    assert dro.weights.tolist() == pytest.approx(weights, rel=1e-6)


def test_group_dro_gives_each_film_the_weight_of_its_group():
    losses = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64, requires_grad=True)
    dro = GroupDro(2, math.log(2))
    dro.weights = dro.weights.double()

    dro.compute(losses, torch.tensor([0, 0, 1])).backward()

    # Both groups have the mean loss 2, so the weights stay one half.
    torch.testing.assert_close(losses.grad, torch.tensor([0.25, 0.25, 0.5]).double())


@pytest.mark.parametrize("seed", range(3))
def test_distance_correlation_follows_its_twin(seed):
    rng = np.random.default_rng(seed)
    features, sources = rng.normal(size=(9, 5)), rng.integers(3, size=9)
    features[sources == 1] += seed
    classes = torch.zeros(9, dtype=torch.long)

    # Single precision, as the training has it.
    found = compute_source_dependence(torch.from_numpy(features), classes, torch.tensor(sources))

    expected = distance_correlation_twin(features.tolist(), sources.tolist())
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_source_dependence_is_the_mean_over_classes_that_can_tell():
    rng = np.random.default_rng(3)
    features = torch.from_numpy(rng.normal(size=(15, 2)))
    classes = torch.tensor([0] * 5 + [1] * 4 + [2] * 3 + [3] * 3)
    sources = torch.tensor([0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 2, 2, 2])

    found = compute_source_dependence(features, classes, sources)

    parts = [slice(0, 5), slice(5, 9)]  # the others have too few films, or one source
    expected = [
        distance_correlation_twin(features[part].tolist(), sources[part].tolist()) for part in parts
    ]
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-5)


def test_source_dependence_is_one_where_features_are_the_source_and_nothing_without_sources():
    sources = torch.tensor([0, 0, 0, 1, 1, 1])
    features = torch.nn.functional.one_hot(sources).float()
    classes = torch.zeros(6, dtype=torch.long)

    assert float(compute_source_dependence(features, classes, sources)) == pytest.approx(1)
    assert float(compute_source_dependence(features, classes, 0 * sources)) == 0
    assert float(compute_source_dependence(0 * features, classes, sources)) == 0


def test_source_dependence_is_zero_on_average_where_nothing_is_told():
    generator = torch.Generator().manual_seed(0)
    classes, sources = torch.zeros(8, dtype=torch.long), torch.tensor([0, 1] * 4)

    found = torch.stack(
        [
            compute_source_dependence(torch.randn(8, 64, generator=generator), classes, sources)
            for _ in range(300)
        ]
    )

    assert abs(float(found.mean())) < 4 * float(found.std()) / 300**0.5  # 1 in 16 000 by chance


def test_wrong_reasons_follow_their_twin():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    images = torch.rand(4, 1, 3, 3, generator=generator, dtype=torch.float64)
    text = (torch.rand(4, 1, 3, 3, generator=generator) > 0.5).double()
    text[3] = 0

    images.requires_grad_()
    found = compute_wrong_reasons(compute_slopes(network(images), images), text)

    def sum_logs(flat):
        with torch.no_grad():
            logits = network(torch.tensor(flat, dtype=torch.float64).view(1, 1, 3, 3))
        return float(logits.log_softmax(dim=1).sum())

    flat = images.detach().flatten(1).tolist()
    assert float(found.detach()) == pytest.approx(
        wrong_reasons_twin(sum_logs, flat, text.flatten(1).tolist()), rel=1e-6
    )
    torch.autograd.backward(found)
    assert all(float(p.grad.abs().sum()) > 0 for p in network[1].parameters())
