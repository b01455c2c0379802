"""Checks of what a training receives, before any weight is drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from covid_debug.errors import DataIntegrityError, InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.training.params import TrainingParams

Views = NDArray[np.uint8]
Labels = NDArray[np.int64]


def check_films(
    name: str, views: Views, labels: ArrayLike, class_names: Sequence[str], view: ViewSpec
) -> Labels:
    """Check that labels fit views and classes.

    Returns:
        The labels as an array.

    Raises:
        InputContractError: If shapes, types or indices do not fit.
        DataIntegrityError: If a class has no film.
    """
    indices = np.asarray(labels, dtype=np.int64)
    expected = (len(indices), view.image_size, view.image_size)
    if views.dtype != np.uint8 or views.shape != expected:
        raise InputContractError(
            f"training: {name} views are {views.dtype} {views.shape}; expected uint8 {expected},"
            " one per label"
        )
    counts = np.bincount(indices[indices >= 0], minlength=len(class_names))
    if len(counts) > len(class_names) or counts.sum() < len(indices):
        raise InputContractError(
            f"training: {name} labels span [{indices.min()}, {indices.max()}]; expected indices"
            f" in [0, {len(class_names)})"
        )
    empty = [label for label, count in zip(class_names, counts, strict=True) if count == 0]
    if empty:
        raise DataIntegrityError(
            f"training: no {name} film of class {', '.join(map(repr, empty))} among"
            f" {len(indices)}; add films of that class or change the split"
        )
    return indices


def find_target_class(params: TrainingParams, class_names: Sequence[str]) -> int:
    """Return the index of the class whose share of each batch is fixed.

    Raises:
        InputContractError: If the recipe names an unknown class.
    """
    if not params.target_class:
        return len(class_names) - 1
    if params.target_class not in class_names:
        raise InputContractError(
            f"training: target_class {params.target_class!r} is not a class"
            f"{suggest(params.target_class, class_names)} (known: {', '.join(class_names)})"
        )
    return list(class_names).index(params.target_class)


def order_class_weights(weights: Mapping[str, float], class_names: Sequence[str]) -> Tensor:
    """Return one loss weight per class, 1 where none is given.

    Raises:
        InputContractError: If an unknown class is named.
    """
    unknown = [name for name in weights if name not in class_names]
    if unknown:
        raise InputContractError(
            f"training: class_weights names {unknown[0]!r}, which is not a class"
            f"{suggest(unknown[0], class_names)} (known: {', '.join(class_names)})"
        )
    return torch.tensor([float(weights.get(name, 1.0)) for name in class_names])
