"""Right for the right reasons: no slope of the output inside the text [ross2017right]."""

import torch
from torch import Tensor


def compute_wrong_reasons(logits: Tensor, images: Tensor, text: Tensor) -> Tensor:
    """Return the mean over films of the squared input gradients inside the text.

    Implements the second term of Equation (1) of [ross2017right]:
    ``sum_d (A_nd d/dx_nd sum_k log p_nk)**2``, with A 1 inside the text and 0 elsewhere; averaged
    over the films n instead of summed, as the loss is.

    Args:
        logits: ``(N, K)`` of the images.
        images: ``(N, 1, H, W)`` with ``requires_grad``.
        text: ``(N, 1, H, W)``; 1 inside the text.

    Returns:
        One number, >= 0, that can be differentiated again; 0 without text.
    """
    (slopes,) = torch.autograd.grad(logits.log_softmax(dim=1).sum(), images, create_graph=True)
    return (text * slopes).square().sum() / len(images)
