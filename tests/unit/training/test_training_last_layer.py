"""The last layer, fitted anew on group-balanced films."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities
from covid_debug.training.last_layer import (
    catch_features,
    find_last_layer,
    fit_balanced,
    refit_last_layer,
)


def draw_features(n_shortcut_breakers=20):
    """Return two features, the class with noise and a shortcut that is nearly the class."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    shortcut = labels.copy()
    breakers = np.concatenate(
        [np.arange(n_shortcut_breakers), 399 - np.arange(n_shortcut_breakers)]
    )
    shortcut[breakers] = 1 - shortcut[breakers]
    features = np.stack([labels + rng.normal(0, 0.8, 400), shortcut + rng.normal(0, 0.05, 400)], 1)
    return 10 * features + 3, labels, 2 * labels + shortcut


def test_balanced_groups_take_the_shortcut_away():
    features, labels, groups = draw_features()

    plain = LogisticRegression().fit((features - features.mean(0)) / features.std(0), labels)
    weight, _ = fit_balanced(features, labels, groups, seed=0)

    spread = features.std(axis=0)
    assert plain.coef_[0, 1] > plain.coef_[0, 0]
    told = (weight[1] - weight[0]) * spread
    assert abs(told[1]) < 0.4 * told[0]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_layer_gives_the_regressions_own_answers(n_classes):
    rng = np.random.default_rng(1)
    labels = np.arange(60) % n_classes
    features = rng.normal(labels[:, None], 1, (60, 4)) * [1, 5, 0.1, 0] + 2  # one says nothing

    weight, bias = fit_balanced(features, labels, labels, seed=0)

    spread = np.where(features.std(0) > 0, features.std(0), 1)
    scaled = (features - features.mean(0)) / spread
    model = LogisticRegression(max_iter=1000).fit(scaled, labels)  # balanced: every draw is all
    logits = torch.from_numpy(features @ weight.T + bias)
    np.testing.assert_allclose(logits.softmax(1).numpy(), model.predict_proba(scaled), atol=2e-3)


@pytest.mark.parametrize("arch", ["covidnet", "resnet18_half", "densenet121", "mobilenet_v3_small"])
def test_the_last_layer_is_the_one_that_makes_the_logits(arch):
    assert find_last_layer(build_backbone(arch, 3)).out_features == 3


def test_only_the_last_layer_changes():
    torch.manual_seed(0)
    network = build_backbone("covidnet", 3, stem_width=4, widths=(8,), depths=(1,))
    classifier = Classifier(
        network, class_names=("a", "b", "c"), image_size=(16, 16), mean=GRAY_MEAN, std=GRAY_STD
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labels = np.arange(30) % 3
    views = np.random.default_rng(0).integers(0, 90, (30, 16, 16)).astype(np.uint8)
    views += (70 * labels[:, None, None]).astype(np.uint8)

    refit_last_layer(classifier, views, labels, labels, seed=0)

    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"head.2.weight", "head.2.bias"}
    assert (predict_probabilities(classifier, views).argmax(axis=1) == labels).mean() > 0.8


def test_features_are_caught_and_the_network_is_left_alone():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
    with catch_features(network) as caught:
        network(torch.ones(5, 1, 2, 2))
    network(torch.ones(5, 1, 2, 2))

    assert [tuple(each.shape) for each in caught] == [(5, 2)]


def test_a_network_without_a_linear_layer_is_refused():
    with pytest.raises(InputContractError, match="no linear layer; matching and last_layer need"):
        find_last_layer(nn.Conv2d(1, 1, 1))
