"""A traced network brought into the form that rules of relevance are meant for.

Owns folding (*canonisation*) and which parts of a network are gates. It changes no output beyond
rounding; how relevance is shared is nobody's business here.
"""

import copy
import operator

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_GATES: set[object] = {
    nn.Sigmoid, nn.Hardsigmoid, torch.sigmoid, nn.functional.sigmoid, nn.functional.hardsigmoid,
    "sigmoid",
}  # fmt: skip
_RESHAPING: set[object] = {
    "view", "reshape", "expand", "expand_as", "unsqueeze", "squeeze", torch.unsqueeze,
    torch.squeeze, torch.reshape, nn.Dropout, nn.Identity,
}  # fmt: skip
MULTIPLYING: set[object] = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}


def kind_of(traced: fx.GraphModule, node: fx.Node) -> object:
    """Return the type of the module, the function or the name of the method that a node calls."""
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target)))
    return node.target


def canonise(traced: fx.GraphModule) -> None:
    """Fold batch norms into the layer before them, and two linear convolutions into one, in place.

    A rule that tells positive from negative contributions depends on how a linear map is written
    down; after this, what stands between two nonlinear functions is one layer where it can be.

    Args:
        traced: In evaluation mode, every module called once.
    """
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        first = traced.get_submodule(str(before.target))
        joint = _join(first, traced.get_submodule(str(node.target)))
        if joint is not None:
            traced.set_submodule(str(node.target), joint)
            node.args = before.args
            traced.graph.erase_node(before)
    traced.recompile()


def _join(first: nn.Module, second: nn.Module) -> nn.Module | None:
    kinds = (type(first), type(second))
    is_norm = isinstance(second, nn.BatchNorm1d | nn.BatchNorm2d)
    if is_norm and second.running_mean is not None:
        if type(first) is nn.Conv2d and isinstance(second, nn.BatchNorm2d):
            return fuse_conv_bn_eval(first, second)
        if type(first) is nn.Linear and isinstance(second, nn.BatchNorm1d):
            return fuse_linear_bn_eval(first, second)
    if kinds == (nn.Conv2d, nn.Conv2d):
        return _join_convolutions(first, second)  # type: ignore[arg-type]
    return None


def _join_convolutions(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d | None:
    is_point = second.kernel_size == (1, 1) and second.stride == (1, 1)
    is_bare = second.padding in {(0, 0), "valid"}
    if not (is_point and is_bare and first.groups == second.groups == 1):
        return None
    joint = copy.deepcopy(first)
    point = second.weight[:, :, 0, 0].double()
    joint.weight = _frozen(torch.einsum("om,mihw->oihw", point, first.weight.double()), first)
    bias = torch.zeros(len(point), dtype=torch.float64, device=point.device)
    if second.bias is not None:
        bias += second.bias.double()
    if first.bias is not None:
        bias += point @ first.bias.double()
    joint.bias = _frozen(bias, first)
    joint.out_channels = second.out_channels
    return joint


def _frozen(values: Tensor, like: nn.Conv2d) -> nn.Parameter:
    return nn.Parameter(values.detach().to(like.weight.dtype), requires_grad=False)


def find_live(traced: fx.GraphModule) -> set[fx.Node]:
    """Return the nodes that relevance comes to; what only makes a gate is not among them."""
    live: set[fx.Node] = set()
    for node in reversed(traced.graph.nodes):
        if node.op == "output" or node in live:
            gate = _find_gate(traced, node)
            live.update(parent for parent in node.all_input_nodes if parent is not gate)
            live.add(node)
    return live


def _find_gate(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """Return the operand of a product that is a sigmoid of something."""
    if kind_of(traced, node) not in MULTIPLYING:
        return None
    for operand in node.all_input_nodes:
        origin = operand
        while kind_of(traced, origin) in _RESHAPING and origin.all_input_nodes:
            origin = origin.all_input_nodes[0]
        if kind_of(traced, origin) in _GATES:
            return operand
    return None


def find_norm_before(traced: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Return the batch norm in front of a layer, and its ReLU or itself; None without one.

    DenseNet's order is batch norm, ReLU, convolution: there is no convolution in front to fold
    the norm into.
    """
    last = node.all_input_nodes[0]
    norm = last.all_input_nodes[0] if kind_of(traced, last) is nn.ReLU else last
    if kind_of(traced, norm) in {nn.BatchNorm1d, nn.BatchNorm2d}:
        return norm, last
    return None
