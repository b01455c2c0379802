"""A private copy of a network in the form that Captum's hook-based methods need.

Owns tracing and the replacement of functions by modules; the caller's network is never touched.
"""

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from covid_debug.errors import InputContractError

_RELU_FUNCTIONS: set[object] = {nn.functional.relu, nn.functional.relu_, torch.relu, torch.relu_}
_ADD_FUNCTIONS: set[object] = {operator.add, operator.iadd, torch.add}


class Sum(nn.Module):
    """Addition as a module, so that relevance can be shared between its two inputs."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the sum."""
        return first + second


def copy_without_inplace(network: nn.Module) -> nn.Module:
    """Return a deep copy whose activations do not overwrite their inputs."""
    private = copy.deepcopy(network)
    for module in private.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]
    return private


def trace_with_modules(name: str, network: nn.Module) -> fx.GraphModule:
    """Return a traced copy where ReLUs, sums and poolings are modules, each called once.

    Captum's rules hang on modules and break where one module is called twice or a function is
    used in its place; after this, any network that torch.fx can trace will do.

    Args:
        name: Method, for the message.
        network: Left as it is.

    Returns:
        A network with the same outputs, in evaluation mode.

    Raises:
        InputContractError: If the network cannot be traced.
    """
    try:
        traced = fx.symbolic_trace(copy_without_inplace(network).eval())
    except (TypeError, ValueError, RuntimeError, fx.proxy.TraceError) as error:
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
    traced.recompile()
    traced.eval()
    return traced


def _is_relu(node: fx.Node) -> bool:
    by_function = node.op == "call_function" and node.target in _RELU_FUNCTIONS
    return by_function or (node.op == "call_method" and node.target in {"relu", "relu_"})


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


def find_module(name: str, network: nn.Module, target_layer: str) -> nn.Module:
    """Return a layer by its dotted name.

    Raises:
        InputContractError: If there is no such layer; the message lists the top ones.
    """
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if target_layer not in layers or not target_layer:
        top = ", ".join(key for key, _ in network.named_children())
        raise InputContractError(
            f"{name}: target_layer is {target_layer!r}, which the network does not have;"
            f" its top layers are: {top}"
        )
    return layers[target_layer]
