"""A private copy of a network in the form that Captum's hook-based methods need.

Owns tracing and the replacement of functions by modules; the caller's network is never touched.
"""

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from covid_debug.errors import InputContractError
from covid_debug.models.foreign import ForeignNetwork
from covid_debug.models.tracing import trace

_RELU_FUNCTIONS: set[object] = {nn.functional.relu, nn.functional.relu_, torch.relu, torch.relu_}
_ADD_FUNCTIONS: set[object] = {operator.add, operator.iadd, torch.add}


class Sum(nn.Module):
    """Addition as a module, so that relevance can be shared between its two inputs."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the sum."""
        return first + second


class Mean(nn.Module):
    """A mean over fixed axes as a module, so that relevance can be shared between its inputs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Keep the arguments of ``Tensor.mean``."""
        super().__init__()
        self.args, self.kwargs = args, kwargs

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean."""
        return features.mean(*self.args, **self.kwargs)


class MaxByReLU(nn.Module):
    """Max pooling as a tournament of ``max(a, b) = b + relu(a - b)``.

    The rescale rule on these ReLUs gives contributions that sum to the difference, also where
    windows overlap; Captum's own rule for max pooling loses contributions there and wherever the
    winner of the baseline has the same value on the film.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        """Take over the windows of a pooling without dilation."""
        super().__init__()
        self.ceil_mode = pool.ceil_mode
        self.size, self.stride, self.padding = (
            (value, value) if isinstance(value, int) else tuple(value)
            for value in (pool.kernel_size, pool.stride, pool.padding)
        )
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(self.size[0] * self.size[1] - 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the same as the pooling."""
        spans: list[int] = []
        pads: list[int] = []
        with torch.no_grad():
            pooled = nn.functional.max_pool2d(
                features, self.size, self.stride, self.padding, ceil_mode=self.ceil_mode
            )
        for axis in (0, 1):
            span = (pooled.shape[axis - 2] - 1) * self.stride[axis] + 1
            behind = span + self.size[axis] - 1 - features.shape[axis - 2] - self.padding[axis]
            spans.append(span)
            pads = [self.padding[axis], max(behind, 0), *pads]
        # An edge pixel repeated outside lies in the same window, so it changes no maximum.
        padded = nn.functional.pad(features, pads, mode="replicate")
        players = [
            padded[
                ...,
                row : row + spans[0] : self.stride[0],
                column : column + spans[1] : self.stride[1],
            ]
            for row in range(self.size[0])
            for column in range(self.size[1])
        ]
        relus = iter(self.relus)
        while len(players) > 1:
            first, second = players[:2]
            players = [*players[2:], second + next(relus)(first - second)]
        return players[0]


def copy_without_inplace(network: nn.Module) -> nn.Module:
    """Return a deep copy whose activations do not overwrite their inputs.

    It is in single precision, or in double where the network is.
    """
    private = copy.deepcopy(network)
    if not any(parameter.dtype == torch.float64 for parameter in private.parameters()):
        private = private.float()
    for module in private.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]
    return private


def trace_with_modules(name: str, network: nn.Module) -> fx.GraphModule:
    """Return a traced copy where ReLUs, sums, means and poolings are modules, each called once.

    Captum's rules hang on modules and break where one module is called twice or a function is
    used in its place; after this, any network that torch.fx can trace will do.

    Args:
        name: Method, for the message.
        network: Left as it is.

    Returns:
        A network with the same outputs, in evaluation mode.

    Raises:
        InputContractError: If the network is a program, or cannot be traced.
    """
    if any(isinstance(m, torch.jit.ScriptModule | ForeignNetwork) for m in network.modules()):
        raise InputContractError(
            f"{name}: works on the layers of a torch network, and a TorchScript or torch.export"
            " program shows none; import its weights with --arch or --factory, or use"
            " integrated_gradients, input_x_gradient, occlusion or igos_pp"
        )
    try:
        traced = trace(copy_without_inplace(network).eval())
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise InputContractError(
            f"{name}: the network cannot be traced by torch.fx ({str(error).splitlines()[0]});"
            " remove control flow that depends on values, or use a method without layer rules"
        ) from error
    called: set[str] = set()
    for node in list(traced.graph.nodes):
        if node.op == "call_module":
            target = str(node.target)
            if target in called:
                target = _add(traced, copy.deepcopy(traced.get_submodule(target)))
                node.target = target
            called.add(target)
        elif _is_relu(node):
            _replace(traced, node, nn.ReLU(), node.args[:1])
        elif _is_sum(node):
            _replace(traced, node, Sum(), node.args[:2])
        elif node.op == "call_function" and node.target is nn.functional.adaptive_avg_pool2d:
            size = node.args[1] if len(node.args) > 1 else node.kwargs["output_size"]
            _replace(traced, node, nn.AdaptiveAvgPool2d(size), node.args[:1])
        elif _is_mean(node):
            _replace(traced, node, Mean(*node.args[1:], **node.kwargs), node.args[:1])
    traced.recompile()
    traced.eval()
    return traced


def _is_relu(node: fx.Node) -> bool:
    by_function = node.op == "call_function" and node.target in _RELU_FUNCTIONS
    return by_function or (node.op == "call_method" and node.target in {"relu", "relu_"})


def _is_mean(node: fx.Node) -> bool:
    by_function = node.op == "call_function" and node.target is torch.mean
    return (by_function or (node.op == "call_method" and node.target == "mean")) and all(
        not isinstance(value, fx.Node) for value in (*node.args[1:], *node.kwargs.values())
    )


def _is_sum(node: fx.Node) -> bool:
    by_function = node.op == "call_function" and node.target in _ADD_FUNCTIONS
    return (
        (by_function or (node.op == "call_method" and node.target in {"add", "add_"}))
        and len(node.args) == 2
        and all(isinstance(argument, fx.Node) for argument in node.args)
        and not node.kwargs
    )


def _add(traced: fx.GraphModule, module: nn.Module) -> str:
    count = sum(1 for key, _ in traced.named_children() if key.startswith("once_"))
    traced.add_submodule(f"once_{count}", module.eval())
    return f"once_{count}"


def _replace(
    traced: fx.GraphModule, node: fx.Node, module: nn.Module, arguments: tuple[Any, ...]
) -> None:
    with traced.graph.inserting_after(node):
        new = traced.graph.call_module(_add(traced, module), arguments)
    node.replace_all_uses_with(new)
    traced.graph.erase_node(node)


def replace_max_pooling(traced: fx.GraphModule) -> None:
    """Replace plain max poolings of a traced network by ReLUs, in place."""
    for node in list(traced.graph.nodes):
        if node.op == "call_module":
            pool = traced.get_submodule(str(node.target))
            if type(pool) is nn.MaxPool2d and pool.dilation in {1, (1, 1)}:
                _replace(traced, node, MaxByReLU(pool), node.args[:1])
    traced.recompile()
