"""Layers as linear maps with parts of either sign.

Owns the sums of positive and of negative contributions; what is done with them is a rule's.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Weighted:
    """A convolution or a linear layer as a function of its inputs and weights.

    Attributes:
        weight: Its weights.
        bias: Its bias, to be laid on outputs; None without one.
    """

    def __init__(self, layer: nn.Module) -> None:
        """Take over a layer; it stays as it is."""
        self.layer = layer
        self.weight = cast("Tensor", layer.weight).detach()
        bias = cast("Tensor | None", layer.bias)
        n_axes = self.weight.ndim - 2
        self.bias = None if bias is None else bias.detach().view(1, -1, *[1] * n_axes)

    def call(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return the layer's answer without a bias to values, with other weights."""
        if isinstance(self.layer, nn.Linear):
            return functional.linear(values, weight)
        convolve = cast("Any", self.layer)._conv_forward  # noqa: SLF001 - padding modes
        return cast("Tensor", convolve(values, weight, None))

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of the positive and of the negative products, without a bias."""
        up, down = self.weight.clamp(min=0), self.weight.clamp(max=0)
        high = values.clamp(min=0)
        positive, negative = self.call(high, up), self.call(high, down)
        if bool((values < 0).any()):
            low = values.clamp(max=0)
            positive = positive + self.call(low, down)
            negative = negative + self.call(low, up)
        return positive, negative

    def shift(self, outputs: Tensor) -> Tensor:
        """Return outputs with the bias."""
        return outputs if self.bias is None else outputs + self.bias


def read_batch_norm(norm: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm with running averages, to be laid on values."""
    part = cast("Any", norm)
    scale = (part.running_var + part.eps).rsqrt()
    scale = scale if part.weight is None else scale * part.weight
    shift = -part.running_mean * scale
    shift = shift if part.bias is None else shift + part.bias
    shape = (1, -1, *[1] * (like.ndim - 2))
    return scale.detach().view(shape), shift.detach().view(shape)


def split_heads(values: Tensor, n: int) -> Tensor:
    """Return ``(N, heads, tokens, size)`` of ``(N, tokens, heads * size)``."""
    return values.view(*values.shape[:2], n, -1).transpose(1, 2)


def attend(layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    """Return the weights of self-attention ``(N, heads, tokens, tokens)``, as constants."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    with torch.no_grad():
        asked, offered = (
            split_heads(functional.linear(tokens, weights[i], biases[i]), layer.num_heads)
            for i in (0, 1)
        )
        scale = (layer.embed_dim // layer.num_heads) ** -0.5
        return torch.softmax(asked @ offered.transpose(-1, -2) * scale, dim=-1)


class ConstantAttention(TorchFunctionMode):
    """Takes softmaxes for constants; ``keep`` is given the biases of linear functions."""

    def __init__(self, keep: Any) -> None:  # noqa: ANN401
        """Keep the function."""
        super().__init__()
        self.keep = keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func is functional.linear:
            values, weight, bias = (*args, kwargs.get("bias"))[:3]
            total = functional.linear(values, weight)
            return total if bias is None else total + self.keep(bias.expand_as(total), len(total))
        result = func(*args, **kwargs)
        return result.detach() if func is functional.softmax else result
