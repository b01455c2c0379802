"""Batch norms of a training: one batch for all processes, and statistics that fit the weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covid_debug.training.sharing import add_up


class JointBatchNorm(_BatchNorm):
    """Normalises by the mean and variance of a batch that several processes share.

    In training it is batch normalisation of the joint batch, its gradient too, apart from the
    order of sums. ``torch.nn.SyncBatchNorm`` is not taken: it refuses a CPU and cannot be
    differentiated twice, as ``right_reasons`` needs. Processes share a sum of D + 1 numbers and
    one of D for D channels, as many again on the way back.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Take any number of axes, as the norm that it replaces has checked its own."""

    def forward(self, planes: Tensor) -> Tensor:
        """Return the normalised planes ``(N, D, ...)``, N >= 1 on every process."""
        if not self.training:
            return super().forward(planes)
        axes, shape = [0, *range(2, planes.ndim)], [1, -1] + [1] * (planes.ndim - 2)
        exact = planes.to(torch.promote_types(planes.dtype, torch.float32))
        n_own = exact.new_tensor([planes.numel() / planes.shape[1]])
        sums = add_up(torch.cat([exact.sum(axes), n_own]))  # torch.var_mean takes 20 times as long
        n = sums[-1].detach()
        mean = sums[:-1] / n
        centred = exact - mean.view(shape)
        variance = add_up(centred.square().sum(axes)) / n
        self._remember(mean.detach(), variance.detach() * n / (n - 1))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        normal = centred * scale.view(shape)
        if self.bias is not None:
            normal = normal + self.bias.view(shape)
        return normal.to(planes.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:  # torch's name for the plain average
            share = 1 / float(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def join_batch_norms(model: nn.Module) -> None:
    """Let every batch norm of a model see the joint batch; names and weights stay."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = JointBatchNorm


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace running statistics by the average over batches at the present weights.

    Running averages lag behind weights that change quickly, and the lag compounds over a deep
    network: early epochs then look useless on validation films although they are not. Implements
    PreciseBN [wu2021rethinking] by plain averaging. Everything except batch normalisation runs in
    evaluation mode; the model is left in evaluation mode.

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
