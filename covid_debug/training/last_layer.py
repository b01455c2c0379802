"""Last-layer retraining (DFR): the features stay, what reads them is fitted anew.

Implements Deep Feature Reweighting [kirichenko2023last] on validation films: a logistic
regression on films drawn so that every group counts the same, averaged over several draws. Two
deviations: the penalty is quadratic and of one weight instead of chosen on half of the films, and
classes weigh the same, because here a class may lack a source.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities
from covid_debug.seeding import derive_seed
from covid_debug.training.mitigation import Labels, Views

Features = NDArray[np.float64]

N_DRAWS = 10
_C = 1.0  # inverse weight of the penalty, on standardised features


def find_last_layer(network: nn.Module) -> nn.Linear:
    """Return the layer that makes the logits.

    Raises:
        InputContractError: If the network has no linear layer.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputContractError(
            "mitigation: the network has no linear layer; matching and last_layer need one"
        )
    return layers[-1]


@contextmanager
def catch_features(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what goes into the last layer; one ``(N, D)`` a call of the network."""
    caught: list[Tensor] = []
    handle = find_last_layer(network).register_forward_pre_hook(
        lambda _, given: caught.append(given[0])
    )
    try:
        yield caught
    finally:
        handle.remove()


def refit_last_layer(
    classifier: Classifier, views: Views, labels: Labels, groups: Labels, *, seed: int
) -> None:
    """Fit the last layer anew on group-balanced films.

    Args:
        classifier: Changed in place.
        views: ``(N, S, S)`` of the validation films.
        labels: Class index of each; every class at least once.
        groups: Number of each film's group.
        seed: Of the draws.
    """
    with catch_features(classifier.module) as caught:
        predict_probabilities(classifier, views)
    features = torch.cat(caught).double().cpu().numpy()
    weight, bias = fit_balanced(features, labels, groups, seed=seed)
    layer = find_last_layer(classifier.module)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))


def fit_balanced(
    features: Features, labels: Labels, groups: Labels, *, seed: int
) -> tuple[Features, Features]:
    """Average logistic regressions over draws in which every group has the smallest one's size.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` class index.
        groups: ``(N,)`` number of the group.
        seed: Of the draws.

    Returns:
        Weight ``(K, D)`` and bias ``(K,)`` of a linear layer on the features as they are.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (features - mean) / spread
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    size = min(len(films) for films in members)
    weights, biases = [], []
    for draw in range(N_DRAWS):
        rng = np.random.default_rng(derive_seed(seed, "last layer", draw))
        films = np.concatenate([rng.choice(each, size, replace=False) for each in members])
        model = LogisticRegression(C=_C, class_weight="balanced", max_iter=1000)
        model.fit(scaled[films], labels[films])
        rows, offsets = model.coef_, model.intercept_
        if len(rows) == 1:  # of two classes scikit-learn tells the second against the first
            rows = np.concatenate([-rows, rows]) / 2
            offsets = np.concatenate([-offsets, offsets]) / 2
        weights.append(rows)
        biases.append(offsets)
    weight = np.mean(weights, axis=0) / spread
    return weight, np.mean(biases, axis=0) - weight @ mean
