"""Maps of one layer inside a network: which layer, and where the maps lie in its output.

Owns finding a layer, reading its output and its gradient, and turning channels-last features and
tokens into maps; what a method makes of them is its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier, evaluating
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.captum_network import copy_without_inplace

_NORMS = (nn.LayerNorm, nn.RMSNorm)
"""Layers that work on the last axis and keep the sense of what they are given."""
_NO_LAYER = (
    "the network has no layer with a spatial output that can be read (a program, as TorchScript,"
    " torch.export and ONNX, shows none; its weights imported with --arch or --factory do); use"
    " occlusion or rise"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where maps lie in a layer's output.

    Attributes:
        channels: Axis of the channels; the other two of ``(N, ., ., .)`` are rows and columns.
        grid: Rows and columns of tokens ``(N, T, C)``; None where the output has its own.
        n_extra: Tokens before the grid that are no places: 1 for a class token.
    """

    channels: int
    grid: tuple[int, int] | None = None
    n_extra: int = 0

    def to_maps(self, output: Tensor) -> Float[Tensor, "N C h w"]:
        """Return a layer's output, or a gradient of its shape, as maps."""
        if self.grid is not None:
            places = output[:, self.n_extra :]
            output = places.reshape(len(places), *self.grid, places.shape[2])
        return output.movedim(self.channels, 1)


@dataclass(frozen=True, slots=True)
class Features:
    """What a layer says about films.

    Attributes:
        maps: Its output.
        gradient: Derivative of each film's target logit with respect to them.
    """

    maps: Float[Tensor, "N C h w"]
    gradient: Float[Tensor, "N C h w"]


def read_features(
    method: str, group: ImageGroup, target_layer: str, *, with_gradient: bool = True
) -> Features:
    """Run a private copy of the network, in single precision or double, and keep a layer's output.

    Args:
        method: For messages.
        group: The films; counts one evaluation each.
        target_layer: Dotted name in the classifier's network.
        with_gradient: Whether the gradient is read, too; zeros otherwise.

    Returns:
        The layer's maps and their gradient, detached.

    Raises:
        InputContractError: If there is no such layer, it is not called once, or it has no maps.
    """
    score, images = group.score, group.images
    network = copy_without_inplace(score.classifier.module)
    layer = _find_module(method, network, target_layer)
    if isinstance(layer, torch.jit.ScriptModule):
        raise InputContractError(f"{method}: {_NO_LAYER}")
    seen: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: object) -> object:
        seen.append(output)  # type: ignore[arg-type]
        # DenseNet's function behind its features overwrites them: give it another tensor.
        return output.clone() if isinstance(output, Tensor) else output

    layer.register_forward_hook(keep)
    score.n_evaluations += len(images)
    with torch.set_grad_enabled(with_gradient):
        dtype = next((p.dtype for p in network.parameters()), images.dtype)
        planes = score.classifier.normalise(images).to(dtype).detach()
        logits = network(planes.requires_grad_(with_gradient)).gather(1, score.targets[:, None])
    if len(seen) != 1 or not isinstance(seen[0], Tensor):
        raise InputContractError(
            f"{method}: target_layer {target_layer!r} is called {len(seen)} times a film or returns"
            " no tensor; choose a layer that is called once"
        )
    output = seen[0]
    size = (images.shape[-2], images.shape[-1])
    layout = find_layout(method, target_layer, layer, tuple(output.shape), size)
    gradient = torch.zeros_like(output)
    if with_gradient:
        (gradient,) = torch.autograd.grad(logits.sum(), output)
    maps = layout.to_maps(output.detach()).to(images.dtype)
    return Features(maps, layout.to_maps(gradient).to(images.dtype))


def find_layout(
    method: str, name: str, layer: nn.Module, shape: tuple[int, ...], size: tuple[int, int]
) -> Layout:
    """Say where the maps lie in a layer's output.

    Args:
        method: For messages.
        name: Of the layer, for messages.
        layer: Whose parts are evidence: linear layers and layer norms work on the last axis.
        shape: Of its output.
        size: ``(H, W)`` of the film; maps keep its proportions to within a cell.

    Returns:
        How to turn the output, or its gradient, into maps.

    Raises:
        InputContractError: If the output has no maps, or its axes cannot be told apart.
    """
    works_on_last = _has(layer, (*_NORMS, nn.Linear))
    works_on_first = _has(layer, (nn.Conv2d, nn.BatchNorm2d))
    if len(shape) == 3 and works_on_last:
        return _find_token_grid(method, name, shape, size)
    if len(shape) != 4:
        raise InputContractError(
            f"{method}: target_layer {name!r} has no spatial output (shape {shape}); choose a"
            " layer whose output has rows and columns, or use another method"
        )
    if not _fits(shape[1], shape[2], size):
        return Layout(1)
    may_be_first = _fits(shape[2], shape[3], size)
    if works_on_last and not (may_be_first and works_on_first):
        return Layout(3)
    if may_be_first and works_on_first and not works_on_last:
        return Layout(1)
    raise InputContractError(
        f"{method}: target_layer {name!r} has output of shape {shape}, where channels cannot be"
        " told from rows and columns; choose the block around it or a convolution"
    )


def _fits(rows: int, columns: int, size: tuple[int, int]) -> bool:
    return abs(rows * size[1] - columns * size[0]) < max(size)


def _has(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    return any(isinstance(part, kinds) for part in layer.modules())


def _find_token_grid(
    method: str, name: str, shape: tuple[int, ...], size: tuple[int, int]
) -> Layout:
    """Return the one grid of the film's proportions that all tokens make, or all but the first."""
    found = [
        Layout(3, (rows, n // rows), n_extra)
        for n_extra in (0, 1)
        for n in [shape[1] - n_extra]
        for rows in range(1, n + 1)
        if n > 1 and n % rows == 0 and _fits(rows, n // rows, size)
    ]
    if len(found) != 1:
        raise InputContractError(
            f"{method}: target_layer {name!r} has {shape[1]} tokens, which with or without a class"
            f" token do not make one grid in the proportions of {size[0]} x {size[1]} pixels;"
            " use another method"
        )
    return found[0]


def find_target_layer(classifier: Classifier, method: str = "grad_cam") -> str:
    """Return the last layer with maps, where the network makes clear that it is the right one.

    Where tokens come behind it, the last layer norm, or block with one, whose tokens make a grid
    and have a gradient: in a vision transformer that reads its class token, the first norm of the
    last block, because behind that block's attention no other token counts.

    Args:
        classifier: Runs once on a black film, in evaluation mode.
        method: For messages.

    Returns:
        Name of the layer.

    Raises:
        InputContractError: If there is none, or layers that work on tokens come behind it.
    """
    found, last_tokens = "", ""
    tokens: list[tuple[str, Layout, Tensor]] = []
    handles = []

    def note(name: str) -> Callable[..., object]:
        def hook(module: nn.Module, _inputs: object, output: object) -> object:
            nonlocal found, last_tokens
            shape = output.shape if isinstance(output, Tensor) else ()
            if len(shape) == 4 and sorted(shape[1:])[1] > 1:
                found, last_tokens = name, ""
            elif len(shape) == 3:
                last_tokens = name
                if isinstance(output, Tensor) and shape[0] == 1 and _has(module, _NORMS):
                    try:
                        layout = _find_token_grid(method, name, shape, classifier.image_size)
                    except InputContractError:
                        return output
                    output = output.clone()
                    tokens.append((name, layout, output))
            return output

        return hook

    with evaluating(classifier), torch.inference_mode(mode=False), torch.enable_grad():
        try:
            for name, module in classifier.module.named_modules():
                # A script module takes no hooks: its layers cannot be looked at.
                if name and not isinstance(module, torch.jit.ScriptModule):
                    handles.append(module.register_forward_hook(note(name)))
            black = torch.zeros((1, 1, *classifier.image_size), device=classifier.device)
            logits = classifier(black.requires_grad_())
        finally:
            for handle in handles:
                handle.remove()
        if not last_tokens and found:
            return found
        for name, layout, output in reversed(tokens):
            (gradient,) = torch.autograd.grad(
                logits[0, 0], output, retain_graph=True, allow_unused=True
            )
            if gradient is not None and bool((layout.to_maps(gradient) != 0).any()):
                return name
    if not found:
        raise InputContractError(f"{method}: {_NO_LAYER}")
    raise InputContractError(
        f"{method}: behind {found!r}, the last layer with maps, the network works on tokens"
        f" (up to {last_tokens!r}) that make no grid or have no gradient; name a target_layer"
        " yourself, or use another method"
    )


def _find_module(method: str, network: nn.Module, target_layer: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if target_layer not in layers or not target_layer:
        top = ", ".join(key for key, _ in network.named_children())
        raise InputContractError(
            f"{method}: target_layer is {target_layer!r}, which the network does not have;"
            f" its top layers are: {top}"
        )
    return layers[target_layer]
