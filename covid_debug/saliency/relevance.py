"""Relevance propagated back through a traced network, layer by layer, by one backward pass.

Owns which layers are linear, which pass relevance on and which have no rule. Every layer keeps its
outputs; only their derivatives are a rule's, so that an input's relevance is the input times the
gradient, and sums, copies and moves of numbers need no rule of their own.
"""

import operator
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from covid_debug.errors import InputContractError
from covid_debug.saliency.captum_network import Mean, Sum
from covid_debug.saliency.relevance_graph import (
    MULTIPLYING,
    find_live,
    find_norm_before,
    kind_of,
)
from covid_debug.saliency.relevance_layers import (
    ConstantAttention,
    Weighted,
    attend,
    read_batch_norm,
    split_heads,
)
from covid_debug.saliency.relevance_rules import Rule, share, stand_in

_WEIGHTED: Set[object] = {nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear}
_AVERAGING: Set[object] = {nn.AvgPool2d, nn.AdaptiveAvgPool2d, Mean}
_NORMS: Set[object] = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
_PASSING: Set[object] = {
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Tanh,
    nn.Hardtanh, nn.Softsign, functional.gelu, functional.silu, functional.hardswish,
    functional.leaky_relu, functional.elu, torch.tanh, functional.tanh, "tanh",
}  # fmt: skip
"""Functions of one number that are 0 at 0: what goes in has all the relevance of what comes out."""
_MOVING: Set[object] = {
    nn.MaxPool2d, nn.ZeroPad2d, nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d,
    nn.Dropout2d, nn.Dropout3d, torch.flatten, torch.reshape, torch.permute, torch.transpose,
    torch.stack, torch.squeeze, torch.unsqueeze, torch.roll, torch.sum, operator.getitem, getattr,
    operator.sub, operator.isub, torch.sub, operator.neg,
    "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous",
    "size", "sum", "sub", "expand", "chunk", "stochastic_depth", "_patch_merging_pad",
}  # fmt: skip
"""What moves numbers, chooses one or adds them up: its plain derivative is the rule."""
_PLACING: Set[object] = {
    nn.Identity, nn.Dropout, nn.ZeroPad2d, nn.Flatten, torch.flatten, torch.reshape, torch.permute,
    torch.transpose, getattr, "flatten", "reshape", "view", "permute", "transpose", "contiguous",
}  # fmt: skip
"""What may stand in front of the first layer: pixels keep their intensities."""
_ADDING: Set[object] = {operator.add, operator.iadd, torch.add, "add", "add_"}
_JOINING: Set[object] = {torch.cat, torch.concat}
_SCALING: Set[object] = MULTIPLYING | {operator.truediv, torch.div, "div", "div_"}
_ATTENTION = "shifted_window_attention"


@dataclass(frozen=True)
class Composite:
    """Which rule which layers get.

    Attributes:
        convolution: Of convolutions, and of residual sums and averages as linear maps.
        dense: Of linear layers.
        first: ``box``: the rule of a first layer whose inputs have a lowest and a highest value;
            ``low``: of one whose inputs have a lowest value; ``plain``: as any other.
        is_probability: Relevance is the probability 1, dealt out among winners from the last layer
            on without its biases.
        takes_norms: Layer norms and attention may be there: their activations have any sign, and a
            rule that lets only one sign through has numbers there that grow without bound.
    """

    convolution: Rule
    dense: Rule
    first: str = "plain"
    is_probability: bool = False
    takes_norms: bool = False


@dataclass(frozen=True)
class Relevance:
    """What comes back for films.

    Attributes:
        planes: Relevance of what the network sees, ``(N, channels, H, W)``.
        absorbed: Relevance that biases and other constants keep, ``(N,)``.
        logits: Of the film, ``(N, classes)``.
    """

    planes: Tensor
    absorbed: Tensor
    logits: Tensor


def propagate(
    name: str,
    traced: fx.GraphModule,
    planes: Tensor,
    targets: Tensor,
    composite: Composite,
    bounds: tuple[Tensor, Tensor],
    *,
    against: bool = False,
) -> Relevance:
    """Propagate the targets' logits, or the probability 1, back to the planes.

    Args:
        name: Method, for the message.
        traced: Made by :func:`.captum_network.trace_with_modules`.
        planes: What the network sees, ``(N, channels, H, W)``.
        targets: Class index per film.
        composite: The rules.
        bounds: Least and largest value of each channel, ``(1, channels, 1, 1)``.
        against: Begin with what speaks against the target, for a contrast.

    Returns:
        Their relevance.

    Raises:
        InputContractError: If a layer or function has no rule.
    """
    ends = [x.expand_as(planes) for x in bounds]
    leaves = [x.detach().clone().requires_grad_() for x in (planes, *ends)]
    walk = _Walk(traced, composite, (leaves[1], leaves[2]), against=against)
    with torch.enable_grad():
        logits = walk.run(leaves[0])
        score = logits.gather(1, targets[:, None])[:, 0]
    if walk.unruled:
        more = f" and {len(walk.unruled) - 1} more" if len(walk.unruled) > 1 else ""
        raise InputContractError(
            f"{name}: no right rule for {walk.unruled[0]}{more} of this network; use"
            " integrated_gradients, input_x_gradient, occlusion or igos_pp"
        )
    begin = torch.ones_like(score)
    if composite.is_probability:
        begin = 1 / score.detach()
    inputs = [*leaves, *walk.constants]
    gradients = torch.autograd.grad(score, inputs, begin, allow_unused=True)
    shares = [
        torch.zeros_like(leaf) if gradient is None else leaf.detach() * gradient
        for leaf, gradient in zip(inputs, gradients, strict=True)
    ]
    absorbed = torch.zeros_like(score)
    for part in shares[3:]:
        absorbed = absorbed + part.reshape(len(score), -1).sum(dim=1)
    return Relevance(shares[0] + shares[1] + shares[2], absorbed.detach(), logits.detach())


class _Walk(fx.Interpreter):
    """Runs a network whose layers have the derivatives of their rules."""

    def __init__(
        self,
        traced: fx.GraphModule,
        composite: Composite,
        bounds: tuple[Tensor, Tensor],
        *,
        against: bool,
    ) -> None:
        super().__init__(traced, garbage_collect_values=False)
        self.traced, self.composite, self.bounds = traced, composite, bounds
        self.against = against
        self.live = find_live(traced)
        weighted = [node for node in traced.graph.nodes if self._kind(node) in _WEIGHTED]
        self.last = weighted[-1] if weighted else None
        self.constants: list[Tensor] = []
        self.unruled: list[str] = []
        if composite.first != "plain" and not any(self._is_first(node) for node in weighted):
            self.unruled.append("its first layer, which has no weights,")

    def _kind(self, node: fx.Node) -> object:
        return kind_of(self.traced, node)

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401
        if n not in self.live:
            with torch.no_grad():
                return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        varying = [x for x in _tensors((args, kwargs)) if x.requires_grad]
        if not varying or n.op in {"placeholder", "output"}:
            return super().run_node(n)
        rule = self._find_rule(n, len(varying))
        if rule is None:
            kind = self._kind(n)
            where = n.target if n.op == "call_module" else n.name
            self.unruled.append(f"'{where}' ({getattr(kind, '__name__', kind)})")
            return super().run_node(n)
        return rule(n, *args, **kwargs)

    def _find_rule(self, n: fx.Node, n_varying: int) -> Callable[..., Any] | None:
        kind = self._kind(n)
        name = getattr(kind, "__name__", "")
        own: dict[object, Callable[..., Any]] = {
            Sum: self._add_any, nn.LayerNorm: self._layer_norm,
            nn.MultiheadAttention: self._attend, functional.layer_norm: self._norm_function,
        }  # fmt: skip
        is_batch_norm = kind in _NORMS and self.fetch_attr(str(n.target)).running_mean is not None
        if (
            not self.composite.takes_norms
            and (kind in own or name == _ATTENTION)
            and kind is not Sum
        ):
            return None
        if kind in own:
            return own[kind]
        for kinds, rule in (
            (_WEIGHTED, self._weigh), (_AVERAGING, self._average), (_PASSING, self._pass_on),
            (_ADDING, self._add_any), (_JOINING, self._join),
        ):  # fmt: skip
            if kind in kinds:
                return rule
        if is_batch_norm:
            return self._pass_on if self.composite.is_probability else self._batch_norm
        if name == _ATTENTION:
            return self._attend_windows
        is_plain = kind in _MOVING or name in _MOVING or (kind in _SCALING and n_varying == 1)
        return self._plain if is_plain else None

    def _plain(self, n: fx.Node, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return getattr(self, n.op)(n.target, args, kwargs)

    def _pass_on(self, n: fx.Node, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        with torch.no_grad():
            value = self._plain(n, *args, **kwargs)
        return stand_in(share(args[0], value), value)

    def _keep(self, constant: Tensor, n: int) -> Tensor:
        """Return a constant of which the relevance is counted, for each of ``n`` films."""
        leaf = constant.detach().expand(n, *constant.shape[1:]).clone().requires_grad_()
        self.constants.append(leaf)
        return leaf

    def _rule(self, rule: Rule, parts: tuple[Tensor, Tensor], constant: Tensor | None) -> Tensor:
        """Apply a rule to a layer's parts and its bias, which takes its share of the relevance."""
        positive, negative = parts
        output = positive + negative
        if constant is not None:
            output = output + constant
            if not self.composite.is_probability:
                n_axes = output.ndim - constant.ndim  # of tokens, between films and features
                kept = self._keep(constant[(slice(None), *[None] * n_axes)], len(output))
                positive = positive + kept.clamp(min=0)
                negative = negative + kept.clamp(max=0)
        return stand_in(rule(positive, negative, output.detach()), output)

    def _add_any(self, _n: fx.Node, first: Any, second: Any) -> Tensor:  # noqa: ANN401
        varying, other = (first, second) if _varies(first) else (second, first)
        if not _varies(other):
            constant = torch.as_tensor(other, dtype=varying.dtype, device=varying.device)
            kept: Tensor = varying + self._keep(constant.expand_as(varying), len(varying))
            return kept
        positive = varying.clamp(min=0) + other.clamp(min=0)
        negative = varying.clamp(max=0) + other.clamp(max=0)
        return self._rule(self.composite.convolution, (positive, negative), None)

    def _join(self, n: fx.Node, tensors: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        kept = [x if x.requires_grad else self._keep(x, len(x)) for x in tensors]
        joined: Tensor = self._plain(n, kept, *args, **kwargs)
        return joined

    def _average(self, n: fx.Node, values: Tensor) -> Tensor:
        parts = self._plain(n, values.clamp(min=0)), self._plain(n, values.clamp(max=0))
        return self._rule(self.composite.convolution, parts, None)

    def _batch_norm(self, n: fx.Node, values: Tensor) -> Tensor:
        scale, shift = read_batch_norm(self.fetch_attr(str(n.target)), values)
        return values * scale + self._keep(shift, len(values))

    def _layer_norm(self, n: fx.Node, values: Tensor) -> Tensor:
        norm = self.fetch_attr(str(n.target))
        shape, weight, bias = norm.normalized_shape, norm.weight, norm.bias
        return self._norm_function(n, values, shape, weight, bias, norm.eps)

    def _norm_function(
        self, _n: fx.Node, values: Tensor, shape: Any, weight: Any = None, bias: Any = None,  # noqa: ANN401
        eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        """Take the deviation for a constant [ali2022]; the mean is a linear map."""
        axes = tuple(range(-len(shape), 0))
        spread = values.detach().var(dim=axes, keepdim=True, unbiased=False)
        result = (values - values.mean(dim=axes, keepdim=True)) / (spread + eps).sqrt()
        result = result if weight is None else result * weight
        return result if bias is None else result + self._keep(bias.expand_as(values), len(values))

    def _weigh(self, n: fx.Node, values: Tensor) -> Tensor:
        layer = Weighted(self.fetch_attr(str(n.target)))
        before = find_norm_before(self.traced, n)
        if n is self.last and self.composite.is_probability:
            return self._begin(layer, values)
        if self._is_first(n) and self.composite.first != "plain":
            low, high = (self._place(n.all_input_nodes[0], x) for x in self.bounds)
            return self._begin_at_bounds(layer, values, low, high)
        is_dense = self._kind(n) is nn.Linear
        rule = self.composite.dense if is_dense else self.composite.convolution
        if before is not None and not self.composite.is_probability:
            return self._weigh_behind_norm(layer, before, rule)
        return self._rule(rule, layer.split(values), layer.bias)

    def _is_first(self, n: fx.Node) -> bool:
        before = n.all_input_nodes[0]
        while self._kind(before) in _PLACING and len(before.all_input_nodes) == 1:
            before = before.all_input_nodes[0]
        return before.op == "placeholder"

    def _place(self, n: fx.Node, bound: Tensor) -> Tensor:
        """Return a bound of each pixel where a node has the pixels."""
        if n.op == "placeholder":
            return bound
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        placed: Tensor = self._plain(
            n, self._place(n.all_input_nodes[0], bound), *args[1:], **kwargs
        )
        return placed

    def _weigh_behind_norm(
        self, layer: Weighted, before: tuple[fx.Node, fx.Node], rule: Rule
    ) -> Tensor:
        # W relu(s x + b) is W h s x + W h b, with h = 1 where the ReLU is open: so the norm's shift
        # is a bias of the layer behind it, as where norms are folded.
        norm, last = before
        values = self.env[norm.all_input_nodes[0]]
        scale, shift = read_batch_norm(self.fetch_attr(str(norm.target)), values)
        is_open = torch.ones_like(values) if last is norm else (self.env[last] > 0).to(values)
        with torch.no_grad():
            constant = layer.shift(layer.call(is_open * shift, layer.weight))
        return self._rule(rule, layer.split(values * scale * is_open), constant)

    def _begin_at_bounds(
        self, layer: Weighted, values: Tensor, low: Tensor, high: Tensor
    ) -> Tensor:
        """Share by ``x w - l w+ - h w-`` [montavon2017], or by what is above ``l``."""
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        with torch.no_grad():
            output = layer.shift(layer.call(values, layer.weight))
        if self.composite.first == "box":
            by = layer.call(values, layer.weight) - layer.call(low, up) - layer.call(high, down)
            return stand_in(share(by, output), output)
        parts = layer.call(values - low, up), layer.call(values - low, down)
        return stand_in(self.composite.convolution(*parts, output), output)

    def _begin(self, layer: Weighted, values: Tensor) -> Tensor:
        positive, negative = layer.split(values)
        output = layer.shift(positive + negative)
        return stand_in(share(negative if self.against else positive, output), output)

    def _attend(self, n: fx.Node, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> Any:  # noqa: ANN401
        """Take the attention's weights for constants [ali2022]."""
        layer: nn.MultiheadAttention = self.fetch_attr(str(n.target))
        if not (query is key is value) or not layer.batch_first or kwargs.get("need_weights", True):
            self.unruled.append(f"'{n.target}' (MultiheadAttention, but no plain self-attention)")
            return self._plain(n, query, key, value, **kwargs)
        said = functional.linear(value, layer.in_proj_weight.chunk(3)[2])
        said = said + self._keep(layer.in_proj_bias.chunk(3)[2].expand_as(said), len(said))
        mixed = (attend(layer, query) @ split_heads(said, layer.num_heads)).transpose(1, 2)
        out = Weighted(layer.out_proj)
        return self._rule(self.composite.dense, out.split(mixed.flatten(2)), out.bias), None

    def _attend_windows(self, n: fx.Node, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with ConstantAttention(self._keep):
            return self._plain(n, *args, **kwargs)


def _varies(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _tensors(arguments: Any) -> list[Tensor]:  # noqa: ANN401
    found: list[Tensor] = []
    fx.node.map_aggregate(arguments, lambda x: found.append(x) if isinstance(x, Tensor) else None)
    return found
