"""Batch-norm statistics that belong to the weights that are validated.

Running averages lag behind weights that change quickly, and the lag compounds over a deep network:
early epochs then look useless on validation films although they are not.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace running statistics by the average over batches at the present weights.

    Implements PreciseBN [wu2021rethinking] by plain averaging. Everything except batch
    normalisation runs in evaluation mode; the model is left in evaluation mode.

    Args:
        model: Changed in place; nothing happens without batch normalisation.
        batches: Inputs of the model.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    model.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's name for the plain average
        norm.train()
    try:
        for batch in batches:
            model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()
