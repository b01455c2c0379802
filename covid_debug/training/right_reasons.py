"""Right for the right reasons: no slope of the output inside the text [ross2017right]."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class WithSlopes(nn.Module):
    """A classifier that tells, beside the logits, how they hang on its input.

    Both come out of one forward pass, for a wrapper that averages gradients over processes counts
    passes, and one for mixed precision lets nobody else ask for gradients.
    """

    def __init__(self, classifier: nn.Module) -> None:
        """Wrap a classifier."""
        super().__init__()
        self.classifier = classifier

    def forward(self, take: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and slopes.

        Args:
            take: Returns the images ``(N, 1, H, W)``; Fabric would round a tensor.

        Returns:
            ``(N, K)``, and what :func:`compute_slopes` returns.
        """
        images = take().contiguous().requires_grad_()
        logits = self.classifier(images).float()
        with torch.autocast(images.device.type, enabled=False):
            return logits, compute_slopes(logits, images)


def compute_slopes(logits: Tensor, images: Tensor) -> Tensor:
    """Return ``d/dx_nd sum_k log p_nk``, which can be differentiated again.

    Args:
        logits: ``(N, K)`` of the images.
        images: ``(N, 1, H, W)`` with ``requires_grad``.

    Returns:
        ``(N, 1, H, W)``.
    """
    (slopes,) = torch.autograd.grad(logits.log_softmax(dim=1).sum(), images, create_graph=True)
    return slopes


def compute_wrong_reasons(slopes: Tensor, text: Tensor) -> Tensor:
    """Return the mean over films of the squared input gradients inside the text.

    Implements the second term of Equation (1) of [ross2017right]:
    ``sum_d (A_nd d/dx_nd sum_k log p_nk)**2``, with A 1 inside the text and 0 elsewhere; averaged
    over the films n instead of summed, as the loss is.

    Args:
        slopes: ``(N, 1, H, W)``, see :func:`compute_slopes`.
        text: ``(N, 1, H, W)``; 1 inside the text.

    Returns:
        One number, >= 0, that can be differentiated again; 0 without text.
    """
    return (text * slopes).square().sum() / len(slopes)
