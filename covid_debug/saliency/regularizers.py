"""Prices of a mask: how much it removes and how ragged it is.

Each function returns one value per image and is differentiable; weights are the caller's.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.shapes import Images, KeepMask


def removed_area(keep_mask: KeepMask) -> Float[Tensor, " N"]:
    """Price the removed share of the film: ``mean |1 - M|``, written as ``mean (1 - M)``.

    The two are equal on [0, 1], but the derivative of the second at ``M = 1``, where every search
    starts, is the price itself. ``abs`` has the derivative 0 there, so that a gradient of rounding
    size could move a cell for free and then switch the price on.

    Args:
        keep_mask: Values in [0, 1]; 1 keeps the original pixel.

    Returns:
        One value in [0, 1] per image; 0 for a mask that keeps everything.
    """
    return (1 - keep_mask).mean(dim=(1, 2, 3))


def total_variation(keep_mask: KeepMask, *, power: float = 2.0) -> Float[Tensor, " N"]:
    """Penalise every mask edge.

    Implements ``TV(M)`` of [fong2017mask] as means: ``mean |M[i+1,j] - M[i,j]|**b`` plus
    ``mean |M[i,j+1] - M[i,j]|**b``.

    Args:
        keep_mask: Values in [0, 1]; 1 keeps the original pixel.
        power: Exponent ``b``; 2 is smooth, 1 is plain total variation.

    Returns:
        One value per image, >= 0; 0 for a constant mask and for a single cell.
    """
    return _mean_power(keep_mask.diff(dim=-2), power) + _mean_power(keep_mask.diff(dim=-1), power)


def bilateral_total_variation(
    keep_mask: Images, images: Images, *, sigma: float, power: float = 2.0
) -> Float[Tensor, " N"]:
    """Penalise mask edges except where the image has an edge.

    Implements the bilateral term of [khorram2021igospp] as means over the vertical and the
    horizontal neighbours: ``mean exp(-(dI)**2 / sigma) * |dM|**b``.

    Args:
        keep_mask: Values in [0, 1] at image size; 1 keeps the original pixel.
        images: Canonical intensities in [0, 1].
        sigma: Edge scale in squared intensity units, > 0; 0.0005 is the published 0.01 of
            ImageNet-normalised images.
        power: Exponent ``b``.

    Returns:
        One value per image, >= 0; 0 for a constant mask.

    Raises:
        InputContractError: If ``sigma <= 0``.

    Note:
        Equivariant under transposition of both arguments.
    """
    if sigma <= 0:
        raise InputContractError(f"saliency.regularizers: sigma is {sigma}; expected > 0")
    total = keep_mask.new_zeros(len(keep_mask))
    for axis in (-2, -1):
        discount = torch.exp(-(images.diff(dim=axis) ** 2) / sigma)
        total = total + _mean_power(keep_mask.diff(dim=axis), power, discount)
    return total


def _mean_power(differences: Tensor, power: float, discount: Tensor | None = None) -> Tensor:
    if differences.numel() == 0:
        return differences.new_zeros(len(differences))
    edges = differences * differences if power == 2 else differences.abs() ** power
    return (edges if discount is None else edges * discount).mean(dim=(1, 2, 3))
