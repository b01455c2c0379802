"""Classifier: normalisation, channel expansion and what it refuses."""

import pytest
import torch
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier

NAMES = ("normal", "COVID-19")


class ChannelSums(nn.Module):
    """Two logits: the sum of each of two planes."""

    def forward(self, planes):
        return planes.sum(dim=(2, 3))[:, :2]


def build(module=None, **kwargs):
    arguments = {"class_names": NAMES, "image_size": (4, 4), "channels": 2} | kwargs
    return Classifier(module or ChannelSums(), **arguments)


def test_forward_normalises_and_expands_gray():
    classifier = build(mean=(0.5, 0.25), std=(0.5, 0.25))

    logits = classifier(torch.ones(1, 1, 4, 4))

    torch.testing.assert_close(logits, torch.tensor([[16 * 1.0, 16 * 3.0]]))


def test_mean_given_once_serves_every_channel():
    assert build(mean=0.5).mean == (0.5, 0.5)


def test_probe_restores_training_flags():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2))
    module[1].eval()

    Classifier(module, class_names=NAMES, image_size=(4, 4))

    assert [child.training for child in module] == [True, False, True]
    assert int(module[1].num_batches_tracked) == 0


def test_log_probabilities_and_constant_outputs_are_accepted():
    class Constant(nn.Module):
        def forward(self, planes):
            return planes.new_full((len(planes), 2), 0.5)

    build(Constant())
    build(nn.Sequential(nn.Flatten(), nn.Linear(32, 2), nn.LogSoftmax(dim=1)))


def test_state_is_the_networks_own():
    assert list(build(nn.Sequential(nn.Flatten(), nn.Linear(32, 2))).state_dict()) == [
        "module.1.weight",
        "module.1.bias",
    ]


def test_softmax_layer_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 2), nn.Softmax(dim=1))

    with pytest.raises(InputContractError, match="ends in Softmax"):
        build(module)


def test_functional_softmax_is_refused():
    class Probabilities(ChannelSums):
        def forward(self, planes):
            return super().forward(planes * torch.arange(2.0)[None, :, None, None]).softmax(dim=1)

    with pytest.raises(InputContractError, match="sum to 1"):
        build(Probabilities())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_names": ("a",)}, "class_names"),
        ({"class_names": ("a", "a")}, "class_names"),
        ({"image_size": (0, 4)}, "image_size"),
        ({"std": 0.0}, "std is"),
        ({"mean": (1.0, 2.0, 3.0)}, "mean has 3 numbers for 2 channels"),
        ({"class_names": ("a", "b", "c")}, r"returns \(2, 2\) for 2 images and 3 class names"),
        ({"module": nn.Conv2d(3, 2, 4)}, r"fails on an input of shape \(2, 2, 4, 4\)"),
    ],
)
def test_bad_argument_is_named(kwargs, message):
    with pytest.raises(InputContractError, match=message):
        build(**kwargs)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 1, 5, 4), (1, 4, 4)])
def test_forward_refuses_other_shapes(shape):
    with pytest.raises(InputContractError, match=r"expected \(N, 1, 4, 4\)"):
        build()(torch.zeros(shape))
