"""Checks of what a training receives, before any weight is drawn."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from covid_debug.errors import ConfigError, DataIntegrityError, InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.devices import find_device
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


def check_devices(device: str, n_devices: int, batch_size: int, *, where: str = "devices") -> None:
    """Check that a training can run on so many devices.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        n_devices: Processes of the CPU, or the first so many GPUs.
        batch_size: Films of the batch that they share.
        where: What names the number, for the message, e.g. ``"compute.devices"``.

    Raises:
        ConfigError: If there are not so many, the device is a single one, or ``torchrun`` has
            started processes already.
        InputContractError: If the batches are too small to be shared.
    """
    place = find_device(device)
    if n_devices == 1:
        return
    n_there = torch.cuda.device_count()
    is_one: bool = place.index is not None
    if place.type == "cuda" and (is_one or n_devices > n_there):
        raise ConfigError(
            f"{where} is {n_devices} and the device {device!r}, of {n_there} CUDA devices that"
            f" torch sees; expected cuda and at most {n_there}"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"{where} is {n_devices} and torchrun has started processes already; use one of the two"
        )
    if batch_size < 2 * n_devices:
        raise InputContractError(
            f"training: batch_size is {batch_size} and {where} is {n_devices}; expected at least 2"
            " films for each; raise training.batch_size or use fewer devices"
        )
