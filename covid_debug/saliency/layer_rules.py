"""Which networks DeepLIFT is right on.

Owns the lists of what its rescale rule is known to treat rightly, in networks traced by
:mod:`.captum_network`; everything else is refused. A layer joins a list together with a test on a
network that has it.
"""

import operator
from collections.abc import Callable, Set

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covid_debug.errors import InputContractError
from covid_debug.saliency.captum_network import MaxByReLU, Mean, Sum

_LINEAR: Set[type[nn.Module]] = {
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
    nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.Flatten, nn.Unflatten, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, Mean, Sum,
}  # fmt: skip
_RESCALE_MODULES: Set[type[nn.Module]] = _LINEAR | {
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Sigmoid, nn.Tanh, MaxByReLU,
}  # fmt: skip
"""Linear layers, and functions of one number that Captum knows the rescale rule of."""

_MOVING: Set[object] = {
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.cat, torch.concat,
    torch.stack, torch.squeeze, torch.unsqueeze, operator.getitem, getattr,
    "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous",
    "size",
}  # fmt: skip
"""Functions and methods that move numbers and change none; ``getattr`` reads a shape."""
_ADDING: Set[object] = {
    operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub,
    torch.sum, "add", "add_", "sub", "sub_", "sum",
}  # fmt: skip
_MULTIPLYING: Set[object] = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
_DIVIDING: Set[object] = {operator.truediv, torch.div, "div", "div_"}


def require_rescale_rules(name: str, traced: fx.GraphModule) -> None:
    """Refuse networks on which the rescale rule would not sum to the difference of logits.

    Args:
        name: Method, for the message.
        traced: Made by :func:`.captum_network.trace_with_modules`.

    Raises:
        InputContractError: If a layer or function has no rule, or two parts that both depend on
            the image are multiplied.
    """

    def is_right(node: fx.Node, varying: Set[fx.Node]) -> bool:
        operands = (*node.args, *node.kwargs.values())
        n_varying = sum(x in varying for x in operands if isinstance(x, fx.Node))
        is_scaled = node.target in _MULTIPLYING and n_varying == 1
        is_divided = (
            node.target in _DIVIDING
            and n_varying == 1
            and operands[0] in varying
            and node.kwargs.get("rounding_mode") is None
        )
        return node.target in _MOVING or node.target in _ADDING or is_scaled or is_divided

    _refuse(name, traced, _RESCALE_MODULES, is_right)


def _refuse(
    name: str,
    traced: fx.GraphModule,
    modules: Set[type[nn.Module]],
    is_right: Callable[[fx.Node, Set[fx.Node]], bool],
) -> None:
    wrong_modules: list[str] = []
    wrong_functions: list[str] = []
    varying: set[fx.Node] = set()
    for node in traced.graph.nodes:
        is_varying = any(parent in varying for parent in node.all_input_nodes)
        if node.op == "placeholder" or is_varying:
            varying.add(node)
        if node.op == "call_module":
            module = traced.get_submodule(str(node.target))
            # A norm without running averages divides by what it gets: it is no linear layer.
            by_batch = isinstance(module, _BatchNorm) and module.running_mean is None
            if type(module) not in modules or by_batch:
                wrong_modules.append(f"'{node.target}' ({type(module).__name__})")
        elif node.op.startswith("call_") and is_varying and not is_right(node, varying):
            wrong_functions.append(
                f"'{node.name}' ({getattr(node.target, '__name__', node.target)})"
            )
    wrong = [*wrong_modules, *wrong_functions]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise InputContractError(
            f"{name}: no right rule for {wrong[0]}{more} of this network; use"
            " integrated_gradients, input_x_gradient, occlusion or igos_pp"
        )
