"""How much of a map falls inside a region that is known, such as text or a planted mark.

Owns three plain measures; it says nothing about whether the region caused the prediction.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from covid_debug.shapes import Saliency


@dataclass(frozen=True, slots=True)
class Localization:
    """Where the evidence of a map lies.

    Attributes:
        mass: Share of the positive saliency inside the region, in [0, 1]; NaN for a map without
            positive values.
        enrichment: ``mass`` over the region's share of the film; 1 is what an even map gives; NaN
            where the region is empty.
        rank_accuracy: Share of the ``k`` most salient pixels inside the region, ``k`` = pixels of
            the region; NaN where it is empty.
        pointing_hit: True where the most salient pixel lies inside.
    """

    mass: Float[Tensor, " N"]
    enrichment: Float[Tensor, " N"]
    rank_accuracy: Float[Tensor, " N"]
    pointing_hit: Bool[Tensor, " N"]


def measure_localization(saliency: Saliency, region: Bool[Tensor, "N 1 H W"]) -> Localization:
    """Compare maps with regions of the same films.

    Args:
        saliency: Larger = more evidence; negative values count as none.
        region: True inside the known region.

    Returns:
        One value per film and measure; ties are ranked in raster order.
    """
    flat, inside = saliency.flatten(1), region.flatten(1)
    positive = flat.double().clamp(min=0)
    area = inside.double().mean(dim=1)
    mass = (positive * inside).sum(dim=1) / positive.sum(dim=1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    hits = inside.gather(1, order).double().cumsum(dim=1)
    size = inside.sum(dim=1)
    at_size = hits.gather(1, (size - 1).clamp(min=0)[:, None]).squeeze(1)
    nan = torch.full_like(area, torch.nan)
    return Localization(
        mass=mass.to(saliency.dtype),
        enrichment=torch.where(size > 0, mass / area, nan).to(saliency.dtype),
        rank_accuracy=torch.where(size > 0, at_size / size, nan).to(saliency.dtype),
        pointing_hit=inside.gather(1, order[:, :1]).squeeze(1),
    )
