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


def check_normalised_product(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare the map's sum with the finite difference along what the network sees."""
    # The epsilon rule is input times gradient on networks of ReLUs, for a vanishing epsilon.
    function = target_logit(in_double(classifier), result.targets)
    total = result.diagnostics["signed"].sum(dim=(1, 2, 3))
    return miss(total, slope(function, films, films - classifier.mean[0]))


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


def check_cells(result: Explanation, classifier: Classifier, films: Tensor) -> float:
    """Compare Grad-CAM's cells with what happens when a cell's activations are laid everywhere."""
    # sum_c w_c A_c(p) is the slope of the logit when every cell of channel c rises by A_c(p),
    # divided by the number of cells.
    twin = in_double(classifier)
    layer = twin.module.get_submodule(str(result.params["target_layer"]))
    kept: list[Tensor] = []
    layer.register_forward_hook(lambda _m, _i, output: kept.append(output.detach().clone()))
    twin(films.double())
    is_last = kept[0].shape[1] == kept[0].shape[2] and kept[0].shape[3] != kept[0].shape[2]
    features = kept[0].movedim(3, 1) if is_last else kept[0]
    n, _, height, width = features.shape
    cells = torch.zeros(n, 1, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            rise = features[:, :, row, column, None, None].expand_as(features)
            ends = []
            for sign in (1, -1):
                moved = features + sign * _STEP * rise
                output = moved.movedim(1, 3) if is_last else moved
                handle = layer.register_forward_hook(lambda _m, _i, _o, put=output: put.clone())
                with torch.no_grad():
                    ends.append(target_logit(twin, result.targets)(films))
                handle.remove()
            cells[:, 0, row, column] = (ends[0] - ends[1]) / (2 * _STEP) / (height * width)
    size = (films.shape[-2], films.shape[-1])
    expected = nn.functional.interpolate(cells, size=size, mode="bilinear")
    return miss(result.diagnostics["signed"], expected)


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
    "deep_lift": ("completeness", check_completeness),
    "lrp": ("finite difference along the normalised film", check_normalised_product),
    "grad_cam": ("finite differences of the layer", check_cells),
    "guided_backprop": ("a ReLU with that derivative", check_relu_rule),
    "deconvolution": ("a ReLU with that derivative", check_relu_rule),
}
"""Method -> what it is checked by, in words and as a function that returns a relative miss."""
