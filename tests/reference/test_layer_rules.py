"""DeepLIFT and LRP on whole backbones: right where they are accepted, refused elsewhere."""

import pytest
import torch
import torchvision
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.catalog import build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.captum_network import MaxByReLU
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SIDE, bright_patch_images, formula, small_backbone, unchecked, wrap

SIZE = 64
TARGET = torch.tensor([1])
ACCEPTED = {
    "covidnet": lambda: build_backbone("covidnet", 3, 3, widths=(8, 16), depths=(2, 1)),
    "resnet18_half": lambda: build_backbone("resnet18_half", 3, 3),
    "densenet121": lambda: build_backbone("densenet121", 3, 3),
    "vgg": lambda: small_backbone("vgg", 3),
}
REFUSED = {
    "mobilenet_v3_small": "Hardswish",
    "efficientnet_b0": "SiLU",
    "swin": "LayerNorm",
    "convnext": "LayerNorm",
    "vit": "LayerNorm|MultiheadAttention",
}


def make_classifier(name: str) -> Classifier:
    torch.manual_seed(1)
    if name in ACCEPTED:
        network = ACCEPTED[name]()
    elif "_" in name:
        network = getattr(torchvision.models, name)(num_classes=3)
    else:
        network = small_backbone(name, 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    return Classifier(
        network.eval(),
        class_names=("a", "b", "c"),
        image_size=(SIZE, SIZE),
        mean=0.449,
        std=0.226,
        channels=3,
    ).eval()


def make_image() -> torch.Tensor:
    image = nn.functional.avg_pool2d(formula((1, 1, SIZE, SIZE)).float(), 5, 1, 2)
    image[..., 10:20, 10:30] = 0.9
    return image


@pytest.mark.parametrize("name", ACCEPTED)
def test_deep_lift_sums_to_the_difference_of_logits(name: str) -> None:
    classifier = make_classifier(name)
    image = make_image()

    for baseline in (None, torch.zeros_like(image)):
        with unchecked():  # the type checker cannot be traced
            result = build_explainer("deep_lift").explain(
                classifier, image, TARGET, seeds=[0], baseline=baseline
            )
        expected = result.diagnostics["score_gap"]
        scale = float(result.saliency.abs().sum())
        torch.testing.assert_close(
            result.saliency.sum()[None], expected, rtol=1e-3, atol=1e-4 * scale
        )


@pytest.mark.parametrize("name", ACCEPTED)
def test_lrp_epsilon_of_a_relu_network_is_input_times_gradient(name: str) -> None:
    """Their equality is a theorem (Ancona et al. 2018) for a vanishing epsilon, biases included."""
    classifier = make_classifier(name).double()  # rounding turns a few units near zero on or off
    image = make_image()
    planes = classifier.normalise(image).double().expand(-1, 3, -1, -1).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.module(planes)[0, 1], planes)
    expected = (gradient * planes).detach().sum(dim=1, keepdim=True)

    with unchecked():
        found = build_explainer("lrp", composite="epsilon").explain(
            classifier, image, TARGET, seeds=[0]
        )
    found = found.saliency

    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_network_without_a_right_rule_is_refused_by_name(name: str) -> None:
    with pytest.raises(
        InputContractError, match=rf"deep_lift: .*\({REFUSED[name]}.*integrated_gradients"
    ) as caught:
        build_explainer("deep_lift").explain(make_classifier(name), make_image(), TARGET, seeds=[0])

    assert "\n" not in str(caught.value)


class Pooled(nn.Module):
    """Convolution, ReLU, a mean taken by a method, a head; ``spoil`` is laid on the features."""

    def __init__(self, spoil=lambda features: features) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 2)
        self.spoil = spoil
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(formula(tuple(p.shape), seed=i + 3).float() - 0.4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.spoil(self.relu(self.conv(images))).mean(dim=(2, 3)))


@pytest.mark.parametrize("method", ["deep_lift", "lrp"])
def test_batch_norm_without_running_averages_is_refused(method: str) -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)

    with pytest.raises(InputContractError, match=r"BatchNorm2d"):
        build_explainer(method).explain(
            wrap(
                nn.Sequential(
                    Pooled().conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(4 * SIDE**2, 2)
                ),
                SIDE,
            ),
            bright_patch_images(1),
            TARGET,
            seeds=[0],
        )


def test_deep_lift_of_a_division_by_name_sums_to_the_difference_of_logits() -> None:
    network = Pooled(lambda x: torch.div(x, other=2.0))

    result = build_explainer("deep_lift").explain(
        wrap(network, SIDE), bright_patch_images(1), TARGET, seeds=[0]
    )

    torch.testing.assert_close(result.saliency.sum()[None], result.diagnostics["score_gap"])


def test_lrp_shares_a_functional_mean_by_the_same_rule() -> None:
    images = bright_patch_images(1).requires_grad_()
    classifier = wrap(Pooled(), SIDE)
    (gradient,) = torch.autograd.grad(classifier(images)[0, 1], images)

    found = build_explainer("lrp", composite="epsilon").explain(
        classifier, images, TARGET, seeds=[0]
    )
    found = found.saliency

    torch.testing.assert_close(found, (gradient * images).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "spoil", "named"),
    [
        ("deep_lift", lambda x: x * x.mean(dim=(2, 3), keepdim=True).sigmoid(), "sigmoid"),
        ("deep_lift", lambda x: x * x, "mul"),
        ("deep_lift", lambda x: torch.mul(x, other=x.mean(dim=(2, 3), keepdim=True)), "mul"),
        ("deep_lift", lambda x: torch.div(x, 2.0, rounding_mode="floor"), "div"),
        ("deep_lift", nn.functional.gelu, "gelu"),
        ("lrp", lambda x: x * x, "mul"),
        ("lrp", torch.cos, "cos"),
        ("excitation_backprop", torch.sigmoid, "sigmoid"),
    ],
)
def test_function_without_a_right_rule_is_refused_by_name(method, spoil, named) -> None:
    with pytest.raises(InputContractError, match=rf"{method}: no right rule .*{named}"):
        build_explainer(method).explain(
            wrap(Pooled(spoil), SIDE), bright_patch_images(1), TARGET, seeds=[0]
        )


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d((2, 3), (1, 2), (1, 0)),
    ],
)
def test_maximum_by_relus_is_the_maximum(pool: nn.MaxPool2d) -> None:
    features = formula((2, 3, 9, 12)).float() - 0.5

    torch.testing.assert_close(MaxByReLU(pool)(features), pool(features))
