"""Models that cannot read, because nothing taught them to."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, build_backbone
from covid_debug.models.classifier import Classifier

Views = NDArray[np.uint8]
Predict = Callable[[Views], NDArray[np.float32]]
"""Maps ``(N, S, S)`` views to ``(N, K)`` probabilities."""

_THUMBNAIL = 8


def draw_network(
    class_names: Sequence[str], image_size: int, seed: int, *, halve: bool = False
) -> Classifier:
    """Return a ResNet18 with random weights.

    Args:
        class_names: Classes in index order.
        image_size: Side of the views in pixels.
        seed: Of the weights.
        halve: Whether it sees the view at half its size, at a quarter of the cost.

    Returns:
        The classifier, in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_backbone("resnet18", len(class_names))
    if halve:
        network = nn.Sequential(nn.AvgPool2d(2), network)
    return Classifier(
        network,
        class_names=class_names,
        image_size=(image_size, image_size),
        mean=(GRAY_MEAN,),
        std=(GRAY_STD,),
    ).eval()


def draw_thumbnail(n_classes: int, seed: int) -> Predict:
    """Return a linear model with random weights that sees 8 x 8 pixels of the view.

    Args:
        n_classes: Number of classes.
        seed: Of the weights.

    Returns:
        The model.
    """
    weights = np.random.default_rng(seed).normal(size=(_THUMBNAIL**2, n_classes))

    def predict(views: Views) -> NDArray[np.float32]:
        size = (_THUMBNAIL, _THUMBNAIL)
        small = [cv2.resize(view, size, interpolation=cv2.INTER_AREA).ravel() for view in views]
        logits = torch.from_numpy((np.stack(small) / 255) @ weights)
        return np.asarray(logits.softmax(dim=1).numpy(), np.float32)

    return predict
