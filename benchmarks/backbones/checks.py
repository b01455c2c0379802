"""When a map is right: by an identity that it must satisfy, computed in double precision.

Owns the checks of single precision. Methods without an identity of their own are compared with
the same method on the network in double precision, which no fast copy stands for.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from covid_debug.models.classifier import Classifier
from covid_debug.saliency.base import Explanation

Function = Callable[[Tensor], Tensor]
_Layout = Callable[[Tensor], Tensor]
_STEP = 1e-7


def in_double(classifier: Classifier) -> Classifier:
    """Return a copy in double precision, of which no fast copy is made."""
    twin = copy.deepcopy(classifier).double()
    twin.module.register_forward_hook(lambda *_: None)  # a network with a hook is used as it is
    return twin


def target_logit(classifier: Classifier, targets: Tensor) -> Function:
    """Return the explained logits of films in double precision, ``(N,)``."""
    return lambda films: classifier(films.double()).gather(1, targets[:, None])[:, 0]


def slope(function: Function, films: Tensor, direction: Tensor) -> Tensor:
    """Return the central difference of a function along a direction, per film."""
    films, step = films.double(), _STEP * direction.double()
    with torch.no_grad():
        return (function(films + step) - function(films - step)) / (2 * _STEP)


def miss(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest expected number."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def check_gradient(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare the map along two directions with finite differences of the logit."""
    function = target_logit(in_double(classifier), result.targets)
    misses = []
    for direction in (films, films.flip(-1).square()):
        found = (result.diagnostics["signed"] * direction).sum(dim=(1, 2, 3))
        misses.append(miss(found, slope(function, films, direction)))
    return max(misses)


def check_product(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare the map's sum with the finite difference along the film itself."""
    function = target_logit(in_double(classifier), result.targets)
    total = result.diagnostics["signed"].sum(dim=(1, 2, 3))
    return miss(total, slope(function, films, films))


def check_conservation(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare the map's sum and what biases absorbed with the logit."""
    with torch.no_grad():
        logits = target_logit(in_double(classifier), result.targets)(films)
    total = result.diagnostics["signed"].sum(dim=(1, 2, 3)) + result.diagnostics["absorbed"]
    return miss(total, logits)


def check_completeness(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare the map's sum with the fall of the logit to the black film."""
    function = target_logit(in_double(classifier), result.targets)
    with torch.no_grad():
        change = function(films) - function(torch.zeros_like(films))
    return miss(result.diagnostics["signed"].sum(dim=(1, 2, 3)), change)


def check_path(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare the map's sum with finite differences at the points of the path from black."""
    function = target_logit(in_double(classifier), result.targets)
    nodes, weights = np.polynomial.legendre.leggauss(result.params["n_steps"])
    slopes = [
        weight / 2 * slope(function, (node + 1) / 2 * films.double(), films)
        for node, weight in zip(nodes, weights, strict=True)
    ]
    return miss(result.diagnostics["signed"].sum(dim=(1, 2, 3)), torch.stack(slopes).sum(dim=0))


def _read_layer(twin: Classifier, result: Explanation, films: Tensor) -> tuple[Tensor, _Layout]:
    """Return the layer's maps ``(n, C, h, w)``, and how such maps become its output again."""
    kept: list[Tensor] = []
    layer = twin.module.get_submodule(str(result.params["target_layer"]))
    handle = layer.register_forward_hook(lambda _m, _i, output: kept.append(output.clone()))
    twin(films.double())
    handle.remove()
    output = kept[0].detach()
    if output.ndim == 3:  # a class token, then a square of tokens
        side = round((output.shape[1] - 1) ** 0.5)
        maps = output[:, 1:].mT.reshape(len(output), -1, side, side)
        return maps, lambda moved: torch.cat([output[:, :1], moved.flatten(2).mT], dim=1)
    if output.shape[1] == output.shape[2] and output.shape[3] != output.shape[2]:
        return output.movedim(3, 1), lambda moved: moved.movedim(1, 3)
    return output, lambda moved: moved


def check_cells(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare Grad-CAM's cells with what happens when a cell's activations are laid everywhere."""
    # sum_c w_c A_c(p) is the slope of the logit when every cell of channel c rises by A_c(p),
    # divided by the number of cells.
    twin = in_double(classifier)
    layer = twin.module.get_submodule(str(result.params["target_layer"]))
    features, to_output = _read_layer(twin, result, films)
    n, _, height, width = features.shape
    cells = torch.zeros(n, 1, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            rise = features[:, :, row, column, None, None].expand_as(features)
            ends = []
            for sign in (1, -1):
                moved = to_output(features + sign * _STEP * rise)
                handle = layer.register_forward_hook(lambda _m, _i, _o, put=moved: put.clone())
                with torch.no_grad():
                    ends.append(target_logit(twin, result.targets)(films))
                handle.remove()
            cells[:, 0, row, column] = (ends[0] - ends[1]) / (2 * _STEP) / (height * width)
    return miss(result.diagnostics["signed"], _enlarge(cells, films))


def check_weighed_cells(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare Grad-CAM++ with its equations on the slopes of double precision."""
    twin = in_double(classifier)
    features, to_output = _read_layer(twin, result, films)
    leaf = features.clone().requires_grad_()
    layer = twin.module.get_submodule(str(result.params["target_layer"]))
    handle = layer.register_forward_hook(lambda _m, _i, _o: to_output(leaf).clone())
    (g,) = torch.autograd.grad(target_logit(twin, result.targets)(films).sum(), leaf)
    handle.remove()
    total = features.clamp(min=0).sum(dim=(2, 3), keepdim=True)
    alpha = g**2 / (2 * g**2 + total * g.clamp(min=0) ** 3).clamp(min=1e-300)
    weights = (alpha * g.clamp(min=0)).sum(dim=(2, 3), keepdim=True)
    cells = (weights * features).sum(dim=1, keepdim=True)
    return miss(result.diagnostics["signed"], _enlarge(cells, films))


def _enlarge(cells: Tensor, films: Tensor) -> Tensor:
    size = (films.shape[-2], films.shape[-1])
    return nn.functional.interpolate(cells, size=size, mode="bilinear")


def check_smoothed(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare SmoothGrad along the film with finite differences at its noisy copies."""
    function = target_logit(in_double(classifier), result.targets)
    slopes = []
    generators = [torch.Generator().manual_seed(seed) for seed in result.seeds]
    for _ in range(result.params["n_samples"]):
        noise = torch.stack([torch.randn(films.shape[1:], generator=g) for g in generators])
        noisy = films + result.params["noise_std"] * noise
        slopes.append(slope(function, noisy, films))
    found = (result.diagnostics["signed"] * films).sum(dim=(1, 2, 3))
    return miss(found, torch.stack(slopes).mean(dim=0))


def check_sampled(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare GradientSHAP's sum with finite differences between its noisy films and baselines."""
    function = target_logit(in_double(classifier), result.targets)
    n, std = result.params["n_samples"], result.params["noise_std"]
    generators = [torch.Generator().manual_seed(seed) for seed in result.seeds]
    slopes = []
    for k in range(n):
        draws = [
            (torch.randn(2, *films.shape[1:], generator=g), torch.rand((), generator=g))
            for g in generators
        ]
        noise = torch.stack([draw for draw, _ in draws])
        shares = torch.stack([share for _, share in draws]).view(-1, 1, 1, 1)
        change = films + std * noise[:, 0] - std * noise[:, 1]
        point = std * noise[:, 1] + (k + shares) / n * change
        slopes.append(slope(function, point, change))
    total = result.diagnostics["signed"].sum(dim=(1, 2, 3))
    return miss(total, torch.stack(slopes).mean(dim=0))


class _ReLU(torch.autograd.Function):
    """A ReLU that passes positive gradients only; with ``guided`` also as the plain one does."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, guided: bool) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(values)
        ctx.guided = guided
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (values,) = ctx.saved_tensors
        passed = gradient.clamp(min=0)
        return (passed * (values > 0) if ctx.guided else passed), None


def _rule(*, guided: bool) -> AbstractContextManager[object]:
    return patch("torch.nn.functional.relu", lambda x, inplace=False: _ReLU.apply(x, guided))  # noqa: ARG005


def check_relu_rule(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare with a network whose ReLU function itself has the method's derivative."""
    twin = in_double(classifier)
    leaf = twin.normalise(films.double()).expand(-1, classifier.channels, -1, -1)
    leaf = leaf.detach().clone().requires_grad_()
    with _rule(guided=result.method == "guided_backprop"):
        logits = twin.module(leaf).gather(1, result.targets[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    return miss(result.diagnostics["signed"], gradient.sum(dim=1, keepdim=True))


Check = Callable[[Explanation, Classifier, Tensor], float]
CHECKS: dict[str, tuple[str, Check]] = {
    "gradient": ("finite differences", check_gradient),
    "input_x_gradient": ("finite difference along the film", check_product),
    "smooth_grad": ("finite differences at the noisy films", check_smoothed),
    "integrated_gradients": ("finite differences at the path's points", check_path),
    "gradient_shap": ("finite differences at its random points", check_sampled),
    "deep_lift": ("completeness", check_completeness),
    "lrp": ("sum of relevance, with what biases absorb", check_conservation),
    "grad_cam": ("finite differences of the layer", check_cells),
    "grad_cam_pp": ("its equations in double precision", check_weighed_cells),
    "guided_backprop": ("a ReLU with that derivative", check_relu_rule),
    "deconvolution": ("a ReLU with that derivative", check_relu_rule),
}
"""Method -> what it is checked by, in words and as a function that returns a relative miss."""
