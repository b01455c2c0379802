"""Classifier: normalisation, channel expansion and what it refuses."""

import pytest
import torch
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from tests.toys import unchecked

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

    with pytest.raises(InputContractError, match="ends in a softmax"):
        build(module)


class Ending(nn.Module):
    """A small network with a function behind its last layer."""

    def __init__(self, end, n_classes=2):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(32, n_classes)
        self.end = end

    def forward(self, planes):
        return self.end(self.linear(planes.flatten(1)))


@pytest.mark.parametrize(
    "end",
    [
        torch.sigmoid,
        nn.functional.hardsigmoid,
        lambda z: z.softmax(dim=1),
        lambda z: torch.sigmoid(z).clamp(1e-6, 1 - 1e-6)[:, :],
        lambda z: torch.stack([torch.sigmoid(z), torch.sigmoid(-z)]).mean(dim=0),
        lambda z: torch.stack([z, -z], dim=2).softmax(dim=2)[:, :, 0],
    ],
    ids=["sigmoid", "hardsigmoid", "softmax", "clamped", "ensemble", "softmax_per_label"],
)
def test_functional_probabilities_are_refused(end):
    with pytest.raises(InputContractError, match="returns probabilities"):
        build(Ending(end))


@pytest.mark.parametrize(
    "end",
    [
        lambda z: 1 / (1 + (-z).exp()),
        lambda z: z.exp() / z.exp().sum(dim=1, keepdim=True),
        torch.no_grad()(torch.sigmoid),
    ],
    ids=["sigmoid_by_hand", "softmax_by_hand", "sigmoid_without_graph"],
)
def test_probabilities_that_the_graph_does_not_show_are_refused(end):
    with pytest.raises(InputContractError, match="returns probabilities"):
        build(Ending(end))


def test_refused_multi_label_network_is_told_how_to_explain_one_label():
    names = tuple(f"finding{i}" for i in range(18))

    for multi_label in (False, True):
        with pytest.raises(InputContractError, match=r"ends in a sigmoid.*multi_label=True"):
            build(Ending(torch.sigmoid, 18), class_names=names, multi_label=multi_label)


@pytest.mark.parametrize("n_labels", [1, 3])
def test_a_labels_probability_is_the_sigmoid_of_its_logit(n_labels):
    names = tuple(f"finding{i}" for i in range(n_labels))
    classifier = build(Ending(lambda z: z, n_labels), class_names=names, multi_label=True)
    logits = 20 * classifier(torch.rand(3, 1, 4, 4)).detach()

    torch.testing.assert_close(classifier.to_probabilities(logits), logits.sigmoid())
    torch.testing.assert_close(classifier.to_log_probabilities(logits), logits.sigmoid().log())
    assert float(classifier.to_log_probabilities(logits - 1e4).max()) < -9e3
    with pytest.raises(InputContractError, match="audit: the classifier has labels"):
        classifier.require_classes("audit")


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_one_output_is_refused_with_the_way_to_one_label(shape):
    with unchecked(), pytest.raises(InputContractError, match=r"\(N, K\) and pass multi_label"):
        build(Ending(lambda z: z.view(shape), 1))


def test_a_gate_registered_last_is_no_probability():
    class Gated(Ending):
        def __init__(self):
            super().__init__(lambda z: z)
            self.gate = nn.Sigmoid()

        def forward(self, planes):
            hidden = planes.flatten(1)
            return super().forward(hidden * self.gate(hidden))

    build(Gated())


@pytest.mark.parametrize("low", [0.0, 0.2])
def test_small_logits_in_the_unit_interval_are_accepted(low):
    """An untrained network, or one with layer norm, may give nothing else on the probes."""
    build(Ending(lambda z: low + 0.5 * z.detach().clamp(-1, 1).abs()))


def test_logarithm_of_a_sigmoid_is_accepted():
    build(Ending(lambda z: torch.sigmoid(z).log()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_gets_its_planes_in_its_own_precision(dtype):
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 2)).to(dtype)
    images = torch.rand(3, 1, 4, 4)

    logits = build(network, mean=0.25)(images)

    expected = network((images - 0.25).expand(-1, 2, -1, -1).to(dtype))
    assert logits.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(logits, expected, check_dtype=False)


def test_a_network_of_half_precision_that_fails_is_told_so():
    network = nn.Sequential(nn.Flatten(), nn.Linear(31, 2)).half()

    with pytest.raises(InputContractError, match=r"torch.float16.*or call \.float\(\)"):
        build(network)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_names": ("a",)}, "class_names"),
        ({"class_names": ("a", "a")}, "class_names"),
        ({"image_size": (0, 4)}, "image_size"),
        ({"std": 0.0}, "std is"),
        ({"std": "x"}, "std is 'x'; expected a finite number"),
        ({"mean": float("nan")}, "mean is nan; expected a finite number"),
        ({"mean": None}, "mean is None; expected a finite number"),
        ({"image_size": 8}, "image_size is 8 and channels"),
        ({"image_size": (8.5, 8)}, r"image_size is \(8.5, 8\) and channels"),
        ({"image_size": (0, 8)}, r"image_size is \(0, 8\) and channels"),
        ({"channels": 1.0}, "channels 1.0; expected"),
        ({"mean": (1.0, 2.0, 3.0)}, "mean has 3 numbers for 2 channels"),
        ({"class_names": ("a", "b", "c")}, r"returns \(2, 2\) for 2 images and 3 class names"),
        ({"module": nn.Conv2d(3, 2, 4)}, r"fails on an input of shape \(2, 2, 4, 4\)"),
    ],
)
def test_bad_argument_is_named(kwargs, message):
    with unchecked(), pytest.raises(InputContractError, match=message):
        build(**kwargs)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 1, 5, 4), (1, 4, 4)])
def test_forward_refuses_other_shapes(shape):
    with pytest.raises(InputContractError, match=r"expected \(N, 1, 4, 4\)"):
        build()(torch.zeros(shape))
