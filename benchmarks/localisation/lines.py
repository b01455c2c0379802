"""What makes a map in this benchmark: every catalogue method, and maps that look at no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from benchmarks.localisation.films import TruthFilms
from benchmarks.saliency.command import PRESETS, default_methods
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer

REFERENCES = ("film brightness", "film edges", "centred blob", "all text")
"""Maps made without the model: what a method must beat to have looked at it."""
FINE_METHODS = ("igos_pp", "area_path", "path_gradient")
"""Methods with a grid that run once more with one cell a pixel."""
GRID = 28


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the tables.

    Attributes:
        name: Catalogue name, with its grid where it has one; or one of :data:`REFERENCES`.
        method: Catalogue name; empty for a reference.
        params: What differs from the method's defaults.
    """

    name: str
    method: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    def executed(self) -> object:
        """Return all parameters, defaults included; they decide whether a film is done again."""
        return build_explainer(self.method, **self.params).params if self.method else None


def list_lines(classifier: Classifier, methods: Sequence[str]) -> list[Line]:
    """Return the references and every method that the catalogue has, slow presets by name only.

    Args:
        classifier: Decides layers and windows.
        methods: Catalogue names; all but the slow presets where empty.
    """
    defaults = default_methods(classifier)
    side = classifier.image_size[0]
    chosen = methods or [name for name in defaults if name not in PRESETS]
    lines = [Line(name) for name in REFERENCES]
    for method in chosen:
        _ = EXPLAINERS[method]
        params = dict(defaults.get(method, {}))
        if not hasattr(build_explainer(method, **params).params, "grid_size"):
            lines.append(Line(method, method, params))
            continue
        grid = min(GRID, side)
        lines.append(Line(f"{method} {grid}", method, params | {"grid_size": grid}))
        if method in FINE_METHODS and grid != side:
            lines.append(Line(f"{method} {side}", method, params | {"grid_size": side}))
    return lines


def make_reference(name: str, films: TruthFilms) -> Tensor:
    """Return a map that the model has no part in, ``(N, 1, S, S)``.

    Args:
        name: One of :data:`REFERENCES`.
        films: The films.
    """
    images = films.images
    if name == "all text":
        return films.text.to(images.dtype)
    if name == "film brightness":
        return images.clone()
    if name == "film edges":
        sobel = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        kernels = torch.stack([sobel, sobel.T])[:, None]
        slopes: Tensor = conv2d(pad(images, (1, 1, 1, 1), "replicate"), kernels)
        return slopes.square().sum(dim=1, keepdim=True).sqrt()
    side = images.shape[-1]
    away = (torch.arange(side, device=images.device) - (side - 1) / 2) / (side / 4)
    blob = torch.exp(-(away[:, None] ** 2 + away**2) / 2)
    return blob.expand_as(images).clone()
