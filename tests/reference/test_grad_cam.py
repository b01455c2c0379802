"""Grad-CAM by hand, where its maps lie, and which layer is taken."""

import pytest
import torch
import torchvision
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.feature_maps import find_target_layer
from tests.toys import SIDE, Patch, SmallNet, bright_patch_images, formula, small_backbone, wrap


def explain(network: nn.Module, layer: str, images: torch.Tensor, **params):
    classifier = wrap(network, images.shape[-1])
    targets = torch.ones(len(images), dtype=torch.int64)
    explainer = build_explainer("grad_cam", target_layer=layer, **params)
    return explainer.explain(classifier, images, targets, seeds=[0] * len(images))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(formula(tuple(p.shape), seed=i + 3).float() - 0.4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.conv1(images))
        merged = torch.relu(first + torch.relu(self.conv2(first)))
        return self.head(merged.mean(dim=(2, 3)))


def test_grad_cam_by_hand() -> None:
    network, images = Residual(), bright_patch_images(2)
    result = explain(network, "conv2", images, sign="signed")
    first = torch.relu(network.conv1(images))
    activation = network.conv2(first).detach().requires_grad_()
    merged = torch.relu(first + torch.relu(activation))
    logit = network.head(merged.mean(dim=(2, 3)))[:, 1].sum()
    (gradient,) = torch.autograd.grad(logit, activation)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True)

    torch.testing.assert_close(result.saliency, expected.detach())


class Overwriting(Residual):
    """DenseNet's way: a function behind the layer writes into its output."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.conv2(torch.relu(self.conv1(images)))
        return self.head(nn.functional.relu(features, inplace=True).mean(dim=(2, 3)))


def test_features_that_are_overwritten_behind_the_layer_are_its_own() -> None:
    network, images = Overwriting(), bright_patch_images(2)
    result = explain(network, "conv2", images, sign="signed")
    activation = network.conv2(torch.relu(network.conv1(images))).detach().requires_grad_()
    logit = network.head(torch.relu(activation).mean(dim=(2, 3)))[:, 1].sum()
    (gradient,) = torch.autograd.grad(logit, activation)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True)

    assert bool((activation < 0).any())
    torch.testing.assert_close(result.saliency, expected.detach())


class Cells(nn.Module):
    """Averages of 4 x 4 pixels are the only features; ``last`` puts their channel last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.turned = nn.LayerNorm(1, elementwise_affine=False, eps=1e9) if last else nn.Identity()
        self.last = last

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.pool(images)
        if self.last:
            cells = cells.permute(0, 2, 3, 1) + 0 * self.turned(cells.permute(0, 2, 3, 1))
        total = cells.sum(dim=(1, 2, 3))
        return torch.stack([-total, total], dim=1)


def test_a_bright_cell_is_shown_where_it_lies() -> None:
    """Half-pixel centres: a cell of pixels 4 to 7 peaks at 5.5; aligned corners put it at 5."""
    images = torch.zeros(1, 1, 16, 16)
    images[..., 4:8, 8:12] = 1.0

    map_ = explain(Cells(last=False), "pool", images).saliency[0, 0]

    rows, columns = map_.sum(dim=1), map_.sum(dim=0)
    places = torch.arange(16.0)
    assert float((rows * places).sum() / rows.sum()) == pytest.approx(5.5, abs=1e-4)
    assert float((columns * places).sum() / columns.sum()) == pytest.approx(9.5, abs=1e-4)


class LastChannels(nn.Module):
    """A stage in the manner of Swin: rows, columns, channels."""

    def __init__(self, n_channels: int, *, with_convolution: bool = False) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, n_channels, 4, stride=4)
        self.stage = nn.Sequential(nn.LayerNorm(n_channels), nn.Linear(n_channels, n_channels))
        if with_convolution:
            self.stage.append(nn.Conv2d(4, 4, 1))
        self.act = nn.GELU()
        self.head = nn.Linear(n_channels, 2)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(formula(tuple(p.shape), seed=i + 3).float() - 0.4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.act(self.stage(self.embed(images).permute(0, 2, 3, 1)))
        return self.head(cells.mean(dim=(1, 2)))


@pytest.mark.parametrize("n_channels", [6, 4])
def test_features_with_channels_last_are_turned(n_channels: int) -> None:
    """With 4 channels on 4 x 4 cells only the parts of the layer tell the axes apart."""
    network, images = LastChannels(n_channels), bright_patch_images(1)
    with torch.no_grad():
        activation = network.stage(network.embed(images).permute(0, 2, 3, 1))
    activation.requires_grad_()
    logit = network.head(network.act(activation).mean(dim=(1, 2)))[:, 1].sum()
    (gradient,) = torch.autograd.grad(logit, activation)
    cells = (gradient.mean(dim=(1, 2), keepdim=True) * activation).sum(dim=3)[:, None].detach()
    expected = nn.functional.interpolate(cells, size=(SIDE, SIDE), mode="bilinear")

    found = explain(network, "stage", images, sign="signed").saliency

    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        (LastChannels(6), "act"),
        (LastChannels(4), "act"),
        (LastChannels(4, with_convolution=True), "stage"),
    ],
)
def test_a_layer_whose_axes_cannot_be_told_apart_is_refused(network, layer) -> None:
    with pytest.raises(InputContractError, match=f"'{layer}' has output .* cannot be told"):
        explain(network, layer, bright_patch_images(1))


@pytest.mark.parametrize("layer", ["", "layer9"])
def test_grad_cam_needs_a_layer_that_exists(layer: str) -> None:
    with pytest.raises(InputContractError, match="its top layers are: conv1"):
        explain(Residual(), layer, bright_patch_images(1))


def test_grad_cam_refuses_a_layer_without_maps() -> None:
    with pytest.raises(InputContractError, match="no spatial output"):
        explain(Residual(), "head", bright_patch_images(1))


def make_classifier(name: str) -> Classifier:
    torch.manual_seed(0)
    if name in {"swin", "vit"}:
        network = small_backbone(name, 2)
        if name == "vit":  # torchvision's head is zero, so nothing would have a gradient
            nn.init.normal_(network.heads.head.weight)
    else:
        network = getattr(torchvision.models, name)(num_classes=2)
    return Classifier(
        network.eval(),
        class_names=("a", "b"),
        image_size=(64, 64),
        channels=3,
    ).eval()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("mobilenet_v3_small", "features"),
        ("swin", "permute"),
        ("vit", "encoder.layers.encoder_layer_0.ln_1"),
    ],
)
def test_the_last_layer_with_maps_is_found(name: str, layer: str) -> None:
    assert find_target_layer(make_classifier(name)) == layer


def test_left_out_the_layer_is_found_and_said() -> None:
    classifier, image = make_classifier("resnet18").train(), formula((1, 1, 64, 64)).float()
    before = [buffer.clone() for buffer in classifier.buffers()]
    target = torch.ones(1, dtype=torch.int64)

    found = build_explainer("grad_cam").explain(classifier, image, target, seeds=[0])

    named = build_explainer("grad_cam", target_layer="layer4")
    assert found.params["target_layer"] == "layer4"
    assert torch.equal(found.saliency, named.explain(classifier, image, target, seeds=[0]).saliency)
    assert all(torch.equal(a, b) for a, b in zip(classifier.buffers(), before, strict=True))
    assert found.n_evaluations == 3 + 1  # to find the layer


def test_a_class_token_is_left_out_and_the_others_are_laid_out_row_by_row() -> None:
    classifier, image = make_classifier("vit"), formula((1, 1, 64, 64)).float()
    layer = "encoder.layers.encoder_layer_0.ln_1"
    kept: list[torch.Tensor] = []
    norm = classifier.module.get_submodule(layer)
    handle = norm.register_forward_hook(lambda _m, _i, output: kept.append(output))
    logit = classifier(image.clone().requires_grad_())[0, 1]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    weights = gradient[:, 1:].mean(dim=1, keepdim=True)
    cells = (weights * kept[0][:, 1:]).sum(dim=2).view(1, 1, 4, 4).detach()
    expected = nn.functional.interpolate(cells, size=(64, 64), mode="bilinear")

    found = build_explainer("grad_cam", sign="signed").explain(
        classifier, image, torch.ones(1, dtype=torch.int64), seeds=[0]
    )

    assert found.params["target_layer"] == layer
    torch.testing.assert_close(found.saliency, expected)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("encoder.layers.encoder_layer_0.mlp.1", r"no spatial output \(shape \(1, 18, 16\)\)"),
        ("encoder.layers.encoder_layer_0.ln_1", "has 18 tokens, .* do not make one grid"),
    ],
)
def test_tokens_that_make_no_grid_are_refused(layer: str, message: str) -> None:
    """A second extra token, as distilled transformers have it."""
    classifier, image = make_classifier("vit"), formula((1, 1, 64, 64)).float()
    network = classifier.module
    network.class_token = nn.Parameter(torch.zeros(1, 2, 8))
    network.encoder.pos_embedding = nn.Parameter(torch.zeros(1, 18, 8))
    target = torch.ones(1, dtype=torch.int64)

    with pytest.raises(InputContractError, match=message):
        build_explainer("grad_cam", target_layer=layer).explain(
            classifier, image, target, seeds=[0]
        )
    with pytest.raises(InputContractError, match=r"behind 'conv_proj'.* works on tokens"):
        build_explainer("grad_cam").explain(classifier, image, target, seeds=[0])


def test_no_layer_is_found_where_none_is_right() -> None:
    with pytest.raises(InputContractError, match="no layer with a spatial output"):
        find_target_layer(wrap(Patch(4, 4, 6)))
    constant = make_classifier("vit")
    nn.init.zeros_(constant.module.heads.head.weight)
    with pytest.raises(InputContractError, match=r"behind 'conv_proj'.* have no gradient"):
        find_target_layer(constant)


def test_a_small_network_has_its_last_pooling() -> None:
    assert find_target_layer(wrap(SmallNet(3), SIDE, 3)) == "pool"


@pytest.mark.parametrize("layer", ["features.1", "features.7"])
def test_stages_of_swin_give_maps_of_their_cells(layer: str) -> None:
    classifier = make_classifier("swin")
    image = nn.functional.avg_pool2d(formula((1, 1, 64, 64)).float(), 5, 1, 2)

    result = build_explainer("grad_cam", target_layer=layer, sign="signed").explain(
        classifier, image, torch.ones(1, dtype=torch.int64), seeds=[0]
    )

    n_cells = 16 if layer == "features.1" else 2
    cells = nn.functional.interpolate(
        nn.functional.adaptive_avg_pool2d(result.saliency, n_cells), size=64, mode="nearest"
    )
    shared = float(
        ((cells - cells.mean()) ** 2).sum() / ((result.saliency - cells.mean()) ** 2).sum()
    )
    assert shared > 0.5


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_script_takes_no_hooks_and_is_refused_in_one_line_with_a_remedy():
    script = torch.jit.trace(SmallNet(3).eval(), torch.zeros(1, 1, SIDE, SIDE))

    with pytest.raises(InputContractError, match=r"TorchScript.*; use occlusion or rise"):
        find_target_layer(wrap(script, SIDE, 3))
