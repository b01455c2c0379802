"""Closed-form classifiers on small images; every answer can be checked by hand.

Networks return ``log p`` as logits, so that the softmax gives back exactly the ``p`` written here.
Class 1 is the class of interest, class 0 the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vgg import make_layers
from torchvision.models.vision_transformer import VisionTransformer

from covid_debug.models.classifier import Classifier

SIDE = 16


@contextmanager
def unchecked() -> Iterator[None]:
    """Switch the tests' run-time type checks off, so that the library's own checks are reached."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


class _Probability(nn.Module):
    """Turn ``p(x)`` of class 1 into two logits whose softmax is ``(1 - p, p)``."""

    def forward(self, images: Tensor) -> Tensor:
        p = self.probability(images).clamp(1e-12, 1 - 1e-12)
        return torch.stack([(1 - p).log(), p.log()], dim=1)

    def probability(self, images: Tensor) -> Tensor:
        raise NotImplementedError


class Additive(_Probability):
    """``p = sum(w * x)`` with non-negative weights that sum to 1."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights / weights.sum())

    def probability(self, images: Tensor) -> Tensor:
        return (images * self.weights).sum(dim=(1, 2, 3))


class Patch(_Probability):
    """``p`` rises smoothly with the mean of one square; nothing else is read."""

    def __init__(self, top: int, left: int, side: int, steepness: float = 12.0) -> None:
        super().__init__()
        self.top, self.left, self.side = top, left, side
        self.steepness = nn.Parameter(torch.tensor(steepness))

    def probability(self, images: Tensor) -> Tensor:
        square = images[..., self.top : self.top + self.side, self.left : self.left + self.side]
        return torch.sigmoid(self.steepness * (square.mean(dim=(1, 2, 3)) - 0.5))


class BothPatches(_Probability):
    """Product of two :class:`Patch` probabilities: an AND."""

    def __init__(self, first: Patch, second: Patch) -> None:
        super().__init__()
        self.first, self.second = first, second

    def probability(self, images: Tensor) -> Tensor:
        return self.first.probability(images) * self.second.probability(images)


class Constant(_Probability):
    """Always the same ``p``, but differentiable."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def probability(self, images: Tensor) -> Tensor:
        return self.p + 0.0 * images.sum(dim=(1, 2, 3))


def formula(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Numbers in [0, 1) from a linear congruence, the same for every torch version."""
    n = 1
    for length in shape:
        n *= length
    values, state = [], seed
    for _ in range(n):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state / 2**31)
    return torch.tensor(values, dtype=torch.float64).view(shape)


class SmallNet(nn.Module):
    """Two convolutions and a linear layer; weights from :func:`formula`; no functional ReLU."""

    def __init__(self, n_classes: int = 3, side: int = SIDE) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(8 * (side // 4) ** 2, n_classes)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                fan_in = max(parameter[0].numel(), 1)
                values = formula(tuple(parameter.shape), seed=i + 1) - 0.5
                parameter.copy_(values * 4.0 / fan_in**0.5)
            self.norm.weight.fill_(1.0)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu1(self.norm(self.conv1(images)))
        hidden = self.pool(self.relu2(self.conv2(hidden)))
        return self.head(self.flatten(hidden))


def wrap(module: nn.Module, side: int = SIDE, n_classes: int = 2) -> Classifier:
    """Wrap a toy as a classifier in evaluation mode."""
    names = tuple(f"class{i}" for i in range(n_classes))
    return Classifier(module, class_names=names, image_size=(side, side)).eval()


def bright_patch_images(
    n: int = 2, side: int = SIDE, top: int = 4, left: int = 4, patch: int = 6
) -> Tensor:
    """Dark speckled images with one bright square, float32 ``(n, 1, side, side)``."""
    images = 0.1 + 0.1 * formula((n, 1, side, side), seed=7)
    images[..., top : top + patch, left : left + patch] += 0.75
    return images.float()


def small_backbone(kind: str, n_classes: int) -> nn.Module:
    """Build torchvision's network of this kind, as deep in stages and as narrow as it can be.

    Args:
        kind: ``"convnext"``, ``"swin"``, ``"vgg"`` or ``"vit"``.
        n_classes: Logits.

    Returns:
        A network for ``(N, 3, 64, 64)``.
    """
    match kind:
        case "convnext":
            blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
            return ConvNeXt(blocks, num_classes=n_classes)
        case "swin":
            ones = [1, 1, 1, 1]
            return SwinTransformer([4, 4], 8, ones, ones, [7, 7], num_classes=n_classes)
        case "vgg":
            features = make_layers([8, "M", 16, "M", 16, 16, "M"], batch_norm=True)
            pool = nn.AdaptiveAvgPool2d(2)
            head = [nn.Linear(64, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, n_classes)]
            return nn.Sequential(features, pool, nn.Flatten(), *head)
        case _:
            return VisionTransformer(64, 16, 1, 2, 8, 16, num_classes=n_classes)
