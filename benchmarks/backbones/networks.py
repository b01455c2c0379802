"""The networks of the matrix: torchvision's and the COVID-Net style, with random weights."""

from collections.abc import Callable

import torch
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf
from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from covid_debug.catalog import Catalog
from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.models.covidnet import CovidNet

SIDE = 64
N_CLASSES = 3


def _efficientnet() -> nn.Module:
    blocks, last = _efficientnet_conf("efficientnet_b0", width_mult=0.25, depth_mult=0.34)
    network: nn.Module = EfficientNet(blocks, 0.0, num_classes=N_CLASSES, last_channel=last)
    return network


def _mobilenet() -> nn.Module:
    blocks, last = _mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.25)
    network: nn.Module = MobileNetV3(blocks, last, num_classes=N_CLASSES)
    return network


def _convnext() -> nn.Module:
    sizes = (16, 32, 64, 128)
    blocks = [CNBlockConfig(n, m, 1) for n, m in zip(sizes, (*sizes[1:], None), strict=True)]
    network: nn.Module = ConvNeXt(blocks, layer_scale=0.5, num_classes=N_CLASSES)
    return network


NETWORKS: Catalog[Callable[[], nn.Module]] = Catalog(
    "benchmarks.backbones",
    {
        "covidnet": lambda: CovidNet(N_CLASSES, channels=3, widths=(16, 32, 64), depths=(2, 2, 1)),
        "resnet18": lambda: build_backbone("resnet18_half", N_CLASSES, 3),
        "densenet121": lambda: DenseNet(8, (3, 3, 3, 3), 16, num_classes=N_CLASSES),
        "efficientnet_b0": _efficientnet,
        "mobilenet_v3_small": _mobilenet,
        "convnext_tiny": _convnext,
        "swin_t": lambda: SwinTransformer(
            [4, 4], 16, [2, 2, 2, 2], [1, 2, 4, 8], [7, 7], num_classes=N_CLASSES
        ),
        "vit_b_16": lambda: VisionTransformer(SIDE, 16, 3, 4, 32, 64, num_classes=N_CLASSES),
    },
)
"""The layers of these networks, joined as there; narrower and with fewer blocks."""


def make_films(n: int) -> torch.Tensor:
    """Return blurred noise with a brighter bar, ``(n, 1, SIDE, SIDE)`` in [0, 1].

    No two pixels are equal: at a tie a maximum has no derivative that could be checked.
    """
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(n, 1, SIDE, SIDE, generator=generator)
    films = nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    films[..., 10:20, 10:40] += 0.3
    return films


def make_classifier(name: str) -> Classifier:
    """Return a network of random weights whose logits differ between films.

    Batch norms see a few films and the last layer is scaled, because freshly drawn networks answer
    every film with the same numbers, and then no check could tell right from wrong.
    """
    torch.manual_seed(0)
    network = NETWORKS[name]()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.1)
    planes = (make_films(16) - GRAY_MEAN) / GRAY_STD
    planes = (planes * torch.linspace(0.5, 2, 16)[:, None, None, None]).expand(-1, 3, -1, -1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.normal_(norm.weight, 1, 0.1)
        nn.init.normal_(norm.bias, 0, 0.1)
    with torch.no_grad():
        if norms:
            network.train()(planes)
        spread = network.eval()(planes).std(dim=0).mean()
        last.weight.div_(spread)
        last.bias.div_(spread)
    return Classifier(
        network.eval().requires_grad_(requires_grad=False),
        class_names=[f"class{i}" for i in range(N_CLASSES)],
        image_size=(SIDE, SIDE),
        mean=GRAY_MEAN,
        std=GRAY_STD,
        channels=3,
    ).eval()
