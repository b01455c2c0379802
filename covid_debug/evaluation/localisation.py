"""Does a map point at what is known to matter, and how concentrated is it?

Owns the measures of one map against one region, and a map's sparseness. Where the truth comes from
and how films are averaged is not known here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.shapes import Saliency

TOP_SHARE = 0.01
"""Share of a film's pixels that counts as its top."""


@dataclass(frozen=True, slots=True)
class Localisation:
    """How far maps agree with a region; every value in [0, 1], larger is better.

    NaN where nothing can be said: the truth is empty, the map is void or not finite, or, but for
    the ranks of a signed map, no value is positive.

    Attributes:
        mass: Share of the positive saliency that lies in the truth, the relevance mass accuracy
            of [arras2022clevr].
        rank_accuracy: Share of the most salient pixels, as many as the truth has, that lie in
            the truth, of the same paper.
        pointing: 1 where the maximum lies in the truth, else 0 [zhang2018excitation]; tied maxima
            count by their share in it.
        top_share: Share of the ``top_share`` most salient pixels of the film that lie in the
            truth [theiner2022interpretable].
        area: Share of the film that the truth covers: what a random map gets.
    """

    mass: Float[Tensor, " N"]
    rank_accuracy: Float[Tensor, " N"]
    pointing: Float[Tensor, " N"]
    top_share: Float[Tensor, " N"]
    area: Float[Tensor, " N"]


def measure_localisation(
    saliency: Saliency,
    truth: Bool[Tensor, "N 1 H W"],
    *,
    void: Bool[Tensor, " N"] | None = None,
    top_share: float = TOP_SHARE,
) -> Localisation:
    """Compare maps with the pixels that are known to matter.

    Only positive saliency is evidence for the class, so negative values count as 0. Where a cut
    lies among equal values, each of them counts by its chance of being above it: the measure is
    the mean over all orders of them.

    Args:
        saliency: Larger = more evidence.
        truth: True inside.
        void: True where the method itself says that its map means nothing.
        top_share: Share of the film's pixels, in (0, 1]; at least one pixel.

    Returns:
        One value a film for each measure.

    Raises:
        InputContractError: If the shapes differ or ``top_share`` is out of range.
    """
    if saliency.shape != truth.shape or (void is not None and len(void) != len(saliency)):
        raise InputContractError(
            f"evaluation.localisation: saliency has shape {tuple(saliency.shape)}, truth"
            f" {tuple(truth.shape)}; expected one region and one void flag for every map"
        )
    if not 0 < top_share <= 1:
        raise InputContractError(
            f"evaluation.localisation: top_share is {top_share}; expected a share in (0, 1]"
        )
    values, inside = saliency.flatten(1).double(), truth.flatten(1)
    positive = values.clamp(min=0).nan_to_num(posinf=0.0)
    total, size = positive.sum(dim=1), inside.sum(dim=1)
    known = values.isfinite().all(dim=1) & (total > 0) & (size > 0)
    if void is not None:
        known &= ~void
    mass = (positive * inside).sum(dim=1) / total
    one = torch.ones_like(size)
    top = (one * round(top_share * values.shape[1])).clamp(min=1)
    measures = [mass, *(share_of_top(positive, inside, k) for k in (size.clamp(min=1), one, top))]
    mass, rank_accuracy, pointing, in_top = (
        torch.where(known, measure, torch.nan).to(saliency.dtype) for measure in measures
    )
    return Localisation(
        mass, rank_accuracy, pointing, in_top, inside.double().mean(dim=1).to(saliency.dtype)
    )


def share_of_top(
    values: Float[Tensor, "N U"], inside: Bool[Tensor, "N U"], k: Tensor
) -> Float[Tensor, " N"]:
    """Return the expected share of the ``k`` largest values that lie inside.

    Args:
        values: Finite.
        inside: Which units count.
        k: How many of the largest, in [1, U], one number a film.

    Returns:
        Shares in [0, 1]; the mean over all orders of equal values.
    """
    ordered = values.sort(dim=1, descending=True).values
    cut = ordered.gather(1, (k - 1)[:, None])
    above, at = values > cut, values == cut
    open_places = (k - above.sum(dim=1)).double()
    tied_inside = (at & inside).sum(dim=1) / at.sum(dim=1)
    return ((above & inside).sum(dim=1) + open_places * tied_inside) / k


def measure_sparseness(saliency: Saliency) -> Float[Tensor, " N"]:
    """Return the Gini index of a map's absolute values [chalasani2020concise].

    With ``v`` sorted upwards, ``sum_k (2 k - U - 1) v_k / (U sum v)``, ``k = 1 .. U``.

    Args:
        saliency: Maps; the sign does not count.

    Returns:
        0 for a map that is the same everywhere, ``1 - 1 / U`` for a single pixel; NaN for a map
        that is 0 everywhere or not finite.
    """
    values = saliency.flatten(1).double().abs().sort(dim=1).values
    n_units = values.shape[1]
    weights = 2 * torch.arange(1, n_units + 1, device=values.device) - n_units - 1
    return ((values * weights).sum(dim=1) / (n_units * values.sum(dim=1))).to(saliency.dtype)
