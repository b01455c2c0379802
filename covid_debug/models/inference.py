"""Class probabilities of many views.

Owns batching and the step from uint8 views to canonical images; gradients belong to scoring.py.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier, evaluating


def to_canonical(views: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Turn uint8 views into canonical images.

    Args:
        views: ``(N, S, S)``, 0 is black; may be a read-only memory map.
        device: Where the images are wanted; the bytes travel, not the floats.

    Returns:
        float32 ``(N, 1, S, S)`` in [0, 1].

    Raises:
        InputContractError: If the views are not uint8 of three axes.
    """
    if views.dtype != np.uint8 or views.ndim != 3:
        raise InputContractError(
            f"models.inference: views are {views.dtype} {views.shape}; expected uint8 (N, S, S)"
        )
    planes = torch.from_numpy(np.array(views, order="C")).to(device)
    return planes[:, None].to(torch.float32).div_(255.0)


def predict_probabilities(
    classifier: Classifier, views: NDArray[np.uint8], *, max_batch: int = 64
) -> NDArray[np.float32]:
    """Return probabilities of uint8 views.

    The classifier is switched to evaluation mode for the call and its flags are restored; another
    thread that needs the same network waits.

    Args:
        classifier: On any device.
        views: ``(N, S, S)`` of the classifier's image size.
        max_batch: Most images in one model call.

    Returns:
        ``(N, K)``, each row sums to 1 unless the classifier has labels; ``(0, K)`` for no views.

    Raises:
        InputContractError: If the views have another shape or type, ``max_batch < 1``, or a
            probability is not finite.
    """
    if max_batch < 1:
        raise InputContractError(f"models.inference: max_batch is {max_batch}; expected >= 1")
    probabilities = np.empty((len(views), classifier.n_classes), dtype=np.float32)
    with evaluating(classifier), torch.inference_mode():
        for start in range(0, len(views), max_batch):
            images = to_canonical(views[start : start + max_batch], classifier.device)
            rows = classifier.to_probabilities(classifier(images))
            probabilities[start : start + len(rows)] = rows.cpu().numpy()
    broken = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(broken):
        raise InputContractError(
            f"models.inference: probabilities of {len(broken)} of {len(views)} views are not"
            f" finite, first is view {broken[0]}; the weights are damaged or training diverged"
        )
    return probabilities
