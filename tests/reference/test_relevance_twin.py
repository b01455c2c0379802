"""LRP's composites and excitation backprop against loops over units, and in closed form."""

import pytest
import torch
from relevance_twin import connect_convolution, connect_dense, connect_means, explain, fold
from torch import nn

from covid_debug.models.classifier import Classifier
from covid_debug.saliency.catalog import build_explainer
from tests.toys import formula, unchecked

SIDE, MEAN, STD = 5, 0.4, 0.25


class Block(nn.Module):
    """Convolution and ReLU, convolution and batch norm beside a skip, ReLU, mean, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            tensors = [*self.parameters(), self.norm.running_mean]
            for i, tensor in enumerate(tensors):
                tensor.copy_(formula(tuple(tensor.shape), seed=i + 3) - 0.45)
            self.norm.running_var.copy_(formula((3,), seed=99) + 0.5)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.conv1(planes))
        merged = torch.relu(self.norm(self.conv2(first)) + first)
        return self.head(merged.mean(dim=(2, 3)))

    def list_layers(self):
        norm = self.norm
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        numbers = [x.tolist() for x in (self.conv2.weight, self.conv2.bias, scale, shift)]
        return (
            connect_convolution(self.conv1.weight.tolist(), self.conv1.bias.tolist(), SIDE, SIDE),
            connect_convolution(*fold(*numbers), SIDE, SIDE),
            connect_means(3, SIDE**2),
            connect_dense(self.head.weight.tolist(), self.head.bias.tolist()),
        )


def explain_twice(method, rules, top, begin, target=1, **params):
    network = Block().double().eval()
    images = formula((1, 1, SIDE, SIDE), seed=11).float()
    classifier = Classifier(
        network, class_names=("a", "b"), image_size=(SIDE, SIDE), mean=MEAN, std=STD
    ).eval()
    with unchecked():
        found = build_explainer(method, **params).explain(
            classifier, images, torch.tensor([target]), seeds=[0]
        )
    pixels = (images.double() - classifier.get_buffer("_mean")) / classifier.get_buffer("_std")
    ends = [[(end - MEAN) / STD] * SIDE**2 for end in (0.0, 1.0)]
    expected = explain(
        network.list_layers(), pixels.flatten().tolist(), *ends, target, rules, top, begin
    )
    return found, torch.tensor(expected, dtype=torch.float64).view(1, 1, SIDE, SIDE)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(
    ("composite", "rules"),
    [
        ("epsilon", ("epsilon", "epsilon")),
        ("epsilon_plus", ("plus", "plus")),
        ("epsilon_alpha2_beta1", ("alpha2_beta1", "alpha2_beta1")),
        ("epsilon_gamma_box", ("box", "gamma")),
    ],
)
def test_composites_are_the_papers_equations(composite, rules, target) -> None:
    found, expected = explain_twice(
        "lrp", rules, "epsilon", None, target=target, composite=composite
    )

    torch.testing.assert_close(found.saliency.double(), expected, rtol=1e-5, atol=1e-6)
    total = found.saliency.sum() + found.diagnostics["absorbed"][0]
    torch.testing.assert_close(total, found.target_score[0].float(), rtol=1e-5, atol=1e-5)


def test_excitation_backprop_is_the_papers_equation() -> None:
    rules = ("excitation_above_low", "excitation")
    found, expected = explain_twice("excitation_backprop", rules, "for", 1.0, contrastive=False)

    torch.testing.assert_close(found.saliency.double(), expected, rtol=1e-5, atol=1e-7)
    assert float(found.saliency.min()) >= 0
    torch.testing.assert_close(
        found.diagnostics["unreached"], 1 - found.saliency.sum().view(1), rtol=0, atol=1e-6
    )


def test_the_contrast_takes_off_what_speaks_against_the_class() -> None:
    rules = ("excitation_above_low", "excitation")
    found, winning = explain_twice("excitation_backprop", rules, "for", 1.0, contrastive=True)
    _, losing = explain_twice("excitation_backprop", rules, "against", 1.0)

    torch.testing.assert_close(found.saliency.double(), winning - losing, rtol=1e-4, atol=1e-7)
