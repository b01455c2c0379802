"""Rules of relevance in closed form, folding that changes no output, and whole backbones."""

import threading

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf

from covid_debug.errors import ExplanationError, InputContractError
from covid_debug.models.catalog import build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.base import Explanation
from covid_debug.saliency.captum_network import trace_with_modules
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.relevance_graph import canonise
from tests.toys import formula, small_backbone, unchecked

COMPOSITES = ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box")
SIDE = 64


def make_efficientnet() -> nn.Module:
    blocks, last = _efficientnet_conf("efficientnet_b0", width_mult=0.25, depth_mult=0.34)
    return EfficientNet(blocks, 0.0, num_classes=3, last_channel=last)


NETWORKS = {
    "covidnet": lambda: build_backbone("covidnet", 3, 3, widths=(8, 16), depths=(2, 1)),
    "resnet18_half": lambda: build_backbone("resnet18_half", 3, 3),
    "densenet": lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=3),
    "vgg": lambda: small_backbone("vgg", 3),
    "mobilenet": lambda: torchvision.models.mobilenet_v3_small(width_mult=0.25, num_classes=3),
    "efficientnet": make_efficientnet,
    "convnext": lambda: small_backbone("convnext", 3),
    "swin": lambda: small_backbone("swin", 3),
    "vit": lambda: small_backbone("vit", 3),
}
OF_TOKENS = ("convnext", "swin", "vit")


def make_classifier(name: str) -> Classifier:
    """Every norm and bias has a number of its own, so that none can be forgotten."""
    torch.manual_seed(3)
    network = NETWORKS[name]()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    for parameter in network.parameters():
        if parameter.ndim < 4:
            nn.init.normal_(parameter, float(parameter.ndim == 1), 0.2)
    return Classifier(
        network.eval(), class_names=("a", "b", "c"), image_size=(SIDE, SIDE), mean=0.449,
        std=0.226, channels=3,
    ).eval()  # fmt: skip


def make_images(n: int = 1) -> torch.Tensor:
    images = nn.functional.avg_pool2d(formula((n, 1, SIDE, SIDE)).float(), 5, 1, 2)
    images[..., 10:20, 10:30] = 0.9
    return images


def explain(classifier: Classifier, images: torch.Tensor, method: str, **params) -> Explanation:
    with unchecked():  # the type checker cannot be traced
        return build_explainer(method, **params).explain(
            classifier, images, torch.ones(len(images), dtype=torch.int64),
            seeds=range(len(images)),
        )  # fmt: skip


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_and_what_biases_keep_are_the_logit(name: str, composite: str) -> None:
    classifier, images = make_classifier(name), make_images(2)
    if name in OF_TOKENS and composite in {"epsilon_plus", "epsilon_alpha2_beta1"}:
        with pytest.raises(InputContractError, match=r"no right rule for .*(ayer_?[Nn]orm)"):
            explain(classifier, images, "lrp", composite=composite)
        return

    found = explain(classifier, images, "lrp", composite=composite)

    logits = classifier(images).detach()[:, 1]
    total = found.saliency.sum(dim=(1, 2, 3)) + found.diagnostics["absorbed"]
    size = float(found.saliency.abs().sum() + found.diagnostics["absorbed"].abs().sum())
    torch.testing.assert_close(total, logits, rtol=1e-3, atol=1e-5 * size)
    assert float(found.diagnostics["absorbed"].abs().min()) > 0


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in OF_TOKENS])
def test_excitation_deals_out_one_probability(name: str) -> None:
    found = explain(make_classifier(name), make_images(2), "excitation_backprop", contrastive=False)

    assert float(found.saliency.min()) >= 0
    sums = found.saliency.sum(dim=(1, 2, 3))
    torch.testing.assert_close(sums, 1 - found.diagnostics["unreached"], rtol=0, atol=1e-4)
    assert float(sums.min()) > 0.2


def test_excitation_refuses_layer_norms() -> None:
    with pytest.raises(InputContractError, match="excitation_backprop: no right rule"):
        explain(make_classifier("vit"), make_images(), "excitation_backprop")


def make_dense(weight: list[float], bias: float = 0.0) -> Classifier:
    """One dense layer on a film of two pixels, without normalisation; class 0 is 0."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0, 0.0], weight]))
        network[1].bias.copy_(torch.tensor([0.0, bias]))
    return Classifier(network, class_names=("a", "b"), image_size=(1, 2)).eval()


def test_epsilon_gives_every_input_its_contribution() -> None:
    film = torch.tensor([[[[0.5, 1.0]]]])

    found = explain(make_dense([4.0, -1.0], 0.5), film, "lrp", composite="epsilon")

    torch.testing.assert_close(found.saliency.flatten(), torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(found.diagnostics["absorbed"], torch.tensor([0.5]))


class Pixels(nn.Module):
    """Logits ``(0, w . x + b)`` by a convolution over a film of two pixels."""

    def __init__(self, weight: list[float], bias: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, (1, 2))
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[[[0.0, 0.0]]], [[weight]]]))
            self.conv.bias.copy_(torch.tensor([0.0, bias]))

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.conv(planes).flatten(1)


@pytest.mark.parametrize(
    ("composite", "expected", "absorbed"),
    [  # contributions 2 and -1, bias 1: output 2
        ("epsilon_plus", [4 / 3, 0.0], 2 / 3),
        ("epsilon_alpha2_beta1", [8 / 3, -2.0], 4 / 3),
        ("epsilon_gamma_box", [4 / 3, 2 / 3], 0.0),  # x w - h w-: 2, and -1 + 2
    ],
)
def test_rules_of_a_convolution(composite, expected, absorbed) -> None:
    film = torch.tensor([[[[0.5, 0.5]]]])
    network = Pixels([4.0, -2.0], 1.0)
    classifier = Classifier(network, class_names=("a", "b"), image_size=(1, 2)).eval()

    found = explain(classifier, film, "lrp", composite=composite)

    torch.testing.assert_close(found.saliency.flatten(), torch.tensor(expected))
    torch.testing.assert_close(found.diagnostics["absorbed"], torch.tensor([absorbed]))


def test_canonised_networks_have_the_same_logits() -> None:
    for name in NETWORKS:
        classifier, images = make_classifier(name), make_images(2)
        with unchecked():
            network = trace_with_modules("test", classifier.module)
            canonise(network)

        planes = classifier.normalise(images).expand(-1, 3, -1, -1)
        torch.testing.assert_close(network(planes), classifier(images), rtol=1e-4, atol=1e-4)


def test_folding_leaves_no_norm_behind_a_convolution_and_no_two_linear_convolutions() -> None:
    with unchecked():
        network = trace_with_modules("test", make_classifier("covidnet").module)
    canonise(network)

    kinds = {
        node: type(network.get_submodule(str(node.target)))
        for node in network.graph.nodes
        if node.op == "call_module"
    }
    pairs = [(kinds.get(node.all_input_nodes[0]), kind) for node, kind in kinds.items()]
    assert nn.BatchNorm2d not in kinds.values()
    assert (nn.Conv2d, nn.Conv2d) not in pairs


class Normed(nn.Module):
    """DenseNet's order: norm, ReLU, convolution; the ReLU is open everywhere."""

    def __init__(self, *, folded: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(2, 3, 1)
        self.stem, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.relu, self.conv, self.head = nn.ReLU(), conv, nn.Linear(3, 2)
        with torch.no_grad():
            for i, tensor in enumerate([*self.parameters(), self.norm.running_mean]):
                tensor.copy_(formula(tuple(tensor.shape), seed=i + 2).float() - 0.4)
            self.norm.bias.fill_(9.0)
            if folded:
                scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
                shift = self.norm.bias - self.norm.running_mean * scale
                conv.bias += conv.weight[:, :, 0, 0] @ shift
                conv.weight *= scale.view(1, 2, 1, 1)
        self.folded = folded

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        features = self.stem(planes)
        features = features if self.folded else self.relu(self.norm(features))
        return self.head(torch.relu(self.conv(features)).mean(dim=(2, 3)))


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_gamma_box"])
def test_norm_in_front_of_a_convolution_is_as_good_as_folded_by_hand(composite: str) -> None:
    film = formula((1, 1, 8, 8), seed=5).float()
    maps = []
    for folded in (False, True):
        network = Normed(folded=folded)
        network.stem = nn.Sequential(network.stem, nn.MaxPool2d(1))  # nothing folds into it
        classifier = Classifier(network, class_names=("a", "b"), image_size=(8, 8)).eval()
        maps.append(explain(classifier, film, "lrp", composite=composite).saliency)

    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-5)


class Gated(nn.Module):
    """A convolution times a gate that is a sigmoid of its own mean."""

    def __init__(self, *, gated: bool) -> None:
        super().__init__()
        self.conv, self.head, self.gated = nn.Conv2d(1, 3, 3), nn.Linear(3, 2), gated
        with torch.no_grad():
            for i, tensor in enumerate(self.parameters()):
                tensor.copy_(formula(tuple(tensor.shape), seed=i + 2).float() - 0.4)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.conv(planes))
        if self.gated:
            features = features * torch.sigmoid(features.mean(dim=(2, 3), keepdim=True))
        return self.head(features.mean(dim=(2, 3)))


def test_a_gate_is_a_constant() -> None:
    film = formula((1, 1, 8, 8), seed=5).float()
    gated = Gated(gated=True)
    plain = Gated(gated=False)
    gate = torch.relu(gated.conv(film)).mean(dim=(2, 3)).sigmoid().detach()
    with torch.no_grad():
        plain.head.weight *= gate

    maps = [
        explain(
            Classifier(network, class_names=("a", "b"), image_size=(8, 8)).eval(), film, "lrp"
        ).saliency
        for network in (gated, plain)
    ]

    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", ["", "0.0"])
@pytest.mark.parametrize("method", ["lrp", "excitation_backprop", "guided_backprop", "deep_lift"])
def test_a_copy_that_lost_a_patched_method_is_refused(method: str, part: str) -> None:
    classifier = make_classifier("vgg")
    layer = classifier.module.get_submodule(part)
    plain = layer.forward
    layer.forward = lambda features: 3 * plain(features)
    if part and method in {"guided_backprop", "deep_lift"}:
        explain(classifier, make_images(), method)  # they call the layer itself
        return

    with pytest.raises(ExplanationError, match=rf"{method}: the traced copy's logits are off"):
        explain(classifier, make_images(), method)


def test_two_threads_with_networks_of_their_own_get_the_maps_that_one_gets() -> None:
    classifiers, images = [make_classifier("covidnet"), make_classifier("densenet")], make_images()
    expected = [explain(classifier, images, "lrp").saliency for classifier in classifiers]
    found: dict[int, torch.Tensor] = {}

    def run(i: int) -> None:
        found[i] = explain(classifiers[i], images, "lrp").saliency

    for _ in range(2):
        threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        torch.testing.assert_close([found.pop(0), found.pop(1)], expected, rtol=1e-4, atol=1e-6)


def test_a_first_layer_that_has_no_bounds_is_refused() -> None:
    network = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 2, 4), nn.Flatten())
    classifier = Classifier(network, class_names=("a", "b"), image_size=(8, 8)).eval()

    with pytest.raises(InputContractError, match="no right rule for its first layer, which has no"):
        explain(classifier, torch.rand(1, 1, 8, 8), "lrp", composite="epsilon_gamma_box")


def test_unknown_composites_are_named() -> None:
    with unchecked(), pytest.raises(InputContractError, match="composite is 'flat'"):
        build_explainer("lrp", composite="flat")
