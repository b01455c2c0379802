"""Grad-CAM: one layer's activations, weighted by their mean gradients.

Owns where a layer's maps lie in its output, and which layer is the last one with maps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier, evaluating
from covid_debug.saliency.base import ImageGroup, Source
from covid_debug.saliency.captum_adapter import AttributionParams, Sign
from covid_debug.saliency.captum_layers import LayerRule
from covid_debug.saliency.captum_network import copy_without_inplace


@dataclass(frozen=True)
class GradCAMParams(AttributionParams):
    """Parameters of Grad-CAM.

    Attributes:
        target_layer: Dotted name of a layer of the classifier's network; None: what
            :func:`find_target_layer` finds, which the explanation's ``params`` name.
        sign: The published map is the positive part.
    """

    target_layer: str | None = None
    sign: Sign = "positive"


class GradCAM(LayerRule[GradCAMParams]):
    """Activations of one layer, weighted by their mean gradients, upsampled bilinearly."""

    name: ClassVar[str] = "grad_cam"
    source: ClassVar[Source] = Source(
        "selvaraju2017",
        "weights (1), positive map (2)",
        "cells are upsampled about their centres; features whose channels come last are turned",
    )
    params: GradCAMParams

    def _settle(self, classifier: Classifier) -> GradCAMParams:
        if self.params.target_layer is not None:
            return self.params
        return replace(self.params, target_layer=find_target_layer(classifier))

    def _attribute(self, group: ImageGroup) -> Tensor:
        score, images = group.score, group.images
        network = copy_without_inplace(score.classifier.module)
        name = str(self.params.target_layer)
        layer = _find_module(network, name)
        seen: list[Tensor] = []

        def keep(_module: object, _inputs: object, output: object) -> object:
            seen.append(output)  # type: ignore[arg-type]
            # DenseNet's function behind its features overwrites them: give it another tensor.
            return output.clone() if isinstance(output, Tensor) else output

        layer.register_forward_hook(keep)
        planes = self.planes(score, images).detach().requires_grad_()
        logits = network(planes).gather(1, score.targets[:, None])
        size = (images.shape[-2], images.shape[-1])
        if len(seen) != 1 or not isinstance(seen[0], Tensor):
            raise InputContractError(
                f"grad_cam: target_layer {name!r} is called {len(seen)} times a film or returns no"
                " tensor; choose a layer that is called once"
            )
        channels = _find_channel_axis(name, layer, seen[0], size)
        (gradient,) = torch.autograd.grad(logits.sum(), seen[0])
        activation, gradient = seen[0].movedim(channels, 1), gradient.movedim(channels, 1)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        signed = (weights * activation).sum(dim=1, keepdim=True).detach()
        return nn.functional.interpolate(signed, size=size, mode="bilinear", align_corners=False)


def _find_channel_axis(name: str, layer: nn.Module, output: Tensor, size: tuple[int, int]) -> int:
    """Return which axis of a layer's output holds channels; the other two are rows and columns.

    Args:
        name: Of the layer, for messages.
        layer: Whose parts are evidence: linear layers and layer norms work on the last axis.
        output: Its output.
        size: ``(H, W)`` of the film; maps keep its proportions to within a cell.

    Returns:
        1, or 3 for features whose channels come last.

    Raises:
        InputContractError: If the output has no maps, or its axes cannot be told apart.
    """
    shape = tuple(output.shape)
    if output.ndim != 4:
        raise InputContractError(
            f"grad_cam: target_layer {name!r} has no spatial output (shape {shape}); choose a"
            " layer whose output has rows and columns, or use another method"
        )

    def fits(rows: int, columns: int) -> bool:
        return abs(rows * size[1] - columns * size[0]) < max(size)

    if not fits(shape[1], shape[2]):
        return 1
    kinds = {type(part) for part in layer.modules()}
    works_on_last = bool(kinds & {nn.LayerNorm, nn.Linear})
    works_on_first = bool(kinds & {nn.Conv2d, nn.BatchNorm2d})
    may_be_first = fits(shape[2], shape[3])
    if works_on_last and not (may_be_first and works_on_first):
        return 3
    if may_be_first and works_on_first and not works_on_last:
        return 1
    raise InputContractError(
        f"grad_cam: target_layer {name!r} has output of shape {shape}, where channels cannot be"
        " told from rows and columns; choose the block around it or a convolution"
    )


def find_target_layer(classifier: Classifier) -> str:
    """Return the last layer with maps, where the network makes clear that it is the right one.

    Args:
        classifier: Runs once, in evaluation mode.

    Returns:
        Name of the last layer whose output has rows and columns.

    Raises:
        InputContractError: If there is none, or layers that work on tokens come behind it.
    """
    found, last_tokens = "", ""
    handles = []

    def note(name: str) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: object) -> None:
            nonlocal found, last_tokens
            shape = output.shape[1:] if isinstance(output, Tensor) else ()
            if len(shape) == 3 and sorted(shape)[1] > 1:
                found, last_tokens = name, ""
            elif len(shape) == 2:
                last_tokens = name

        return hook

    with evaluating(classifier), torch.no_grad():
        try:
            for name, module in classifier.module.named_modules():
                if name:
                    handles.append(module.register_forward_hook(note(name)))
            classifier(torch.zeros((1, 1, *classifier.image_size), device=classifier.device))
        finally:
            for handle in handles:
                handle.remove()
    if not found:
        raise InputContractError("grad_cam: the network has no layer with a spatial output")
    if last_tokens:
        raise InputContractError(
            f"grad_cam: behind {found!r}, the last layer with maps, the network works on tokens"
            f" (up to {last_tokens!r}); name a target_layer yourself, or use another method"
        )
    return found


def _find_module(network: nn.Module, target_layer: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if target_layer not in layers or not target_layer:
        top = ", ".join(key for key, _ in network.named_children())
        raise InputContractError(
            f"grad_cam: target_layer is {target_layer!r}, which the network does not have;"
            f" its top layers are: {top}"
        )
    return layers[target_layer]
