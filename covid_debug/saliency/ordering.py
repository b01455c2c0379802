"""Maps whose order of the cells is what counts: their spread, an area's border, the mask they give.

Owns what turns an order into a keep mask; how the order is found is a search's business.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.saliency.base import ImageGroup
from covid_debug.shapes import KeepMask

AREAS = (0.02, 0.05, 0.12)
"""Shares of the film that a mask drawn from an order may remove; two evaluations each."""

LEAST_SPREAD = 1e-12
"""Standard deviation that a constant map is said to have."""
_SOFTNESS = 0.1
"""Width of the border of a mask drawn from an order, in standard deviations of the map."""


def find_border(cells: Tensor, area: float) -> Tensor:
    """Return the value that a share of each map's cells exceeds, ``(N, 1, 1, 1)``."""
    return torch.quantile(cells.flatten(1), 1 - area, dim=1).view(-1, 1, 1, 1)


def find_spread(cells: Tensor) -> Tensor:
    """Return each map's standard deviation ``(N, 1, 1, 1)``; of a constant one next to none."""
    flat = cells.flatten(1)
    spread = (flat - flat.mean(dim=1, keepdim=True)).square().mean(dim=1).sqrt()
    return spread.clamp(min=LEAST_SPREAD).view(-1, 1, 1, 1)


def draw_mask(cells: Tensor, area: float) -> KeepMask:
    """Return the keep mask of one area, which keeps the order of cells far from its border, too.

    Args:
        cells: Larger = removed sooner, ``(N, 1, h, w)``.
        area: Share of the cells that is removed, in (0, 1); half removed at its border.

    Returns:
        Values in [0, 1]; all 1 for a constant map. In single precision cells that remove less than
        1e-4 may become equal.
    """
    beyond = (cells - find_border(cells, area)) / (_SOFTNESS * find_spread(cells))
    # Falls off slowly, so that rounding makes few cells equal far from the border.
    removed = (1 + beyond / (1 + beyond.square()).sqrt()) / 2
    moved = cells.amax(dim=(1, 2, 3), keepdim=True) > cells.amin(dim=(1, 2, 3), keepdim=True)
    return 1 - removed * moved


def choose_mask(
    group: ImageGroup, upsampler: GridUpsampler, cells: Tensor
) -> tuple[KeepMask, Float[Tensor, " N"]]:
    """Draw the mask of each film's best area: small, the class lost without it and kept by it.

    Minimises ``f(Phi(M)) - f(Phi(1 - M)) + mean|1 - M|``, the mask objective of [khorram2021igospp]
    at the published price of its grids, over the masks of :data:`AREAS` and the mask of ones. On
    logits the price is in units of ``|f(I) - f(B)|``.

    Args:
        group: The images; asked twice an area, without gradients.
        upsampler: From the grid to the images.
        cells: Larger = removed sooner, ``(N, 1, h, w)``.

    Returns:
        Keep masks ``(N, 1, h, w)``, all 1 where no area is worth its price, NaN where a score is;
        and the chosen areas, 0 there.
    """
    best, least = torch.ones_like(cells), group.on_film - group.on_baseline
    areas = torch.zeros_like(least)
    for area in AREAS:
        keep = draw_mask(cells, area)
        shown = upsampler.upsample(keep)
        without = group.score(compose(group.images, group.baseline, shown), group.index)
        alone = group.score(compose(group.images, group.baseline, 1 - shown), group.index)
        value = without - alone + (1 - keep).mean(dim=(1, 2, 3)) * group.unit
        better = value < least
        best = torch.where(better.view(-1, 1, 1, 1), keep, best)
        areas = torch.where(better, area, areas)
        least = torch.minimum(value, least)  # NaN stays
    return torch.where(least.isnan().view(-1, 1, 1, 1), torch.nan, best), areas
