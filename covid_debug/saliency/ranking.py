"""What ranks the cells of a mask method: its mask, the gradient along its path, or both.

Owns how a mask and a gradient on one grid become saliency; where they come from is the search's.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.shapes import KeepMask

Ranking = Literal["mask", "mask_then_gradient", "gradient"]

TIE_SHARE = 0.01
"""Share of the range in which ``"mask_then_gradient"`` orders cells of equal mask value."""


def rank_cells(
    keep_mask: KeepMask, path_gradient: Float[Tensor, "N 1 h w"], ranking: Ranking
) -> Float[Tensor, "N 1 h w"]:
    """Turn what a search found into saliency of its grid's cells.

    Args:
        keep_mask: 1 keeps the cell.
        path_gradient: Larger = more evidence; the same grid.
        ranking: ``"mask"``: ``1 - M``; cells of equal mask value stay equal.
            ``"mask_then_gradient"``: the same, and cells of equal value are ordered by the
            gradient in a hundredth of the range. ``"gradient"``: the gradient alone, scaled to
            its range.

    Returns:
        Values in [0, 1]. All 0 where the mask did not move (a gradient cannot make an
        explanation of a void mask), but under ``"gradient"``.

    Raises:
        InputContractError: If the ranking is unknown or the grids differ.
    """
    if ranking not in get_args(Ranking):
        raise InputContractError(
            f"saliency.ranking: ranking is {ranking!r}; expected one of {get_args(Ranking)}"
        )
    if keep_mask.shape != path_gradient.shape:
        raise InputContractError(
            f"saliency.ranking: keep_mask has shape {tuple(keep_mask.shape)}, path_gradient"
            f" {tuple(path_gradient.shape)}; expected the same grid"
        )
    removed = 1 - keep_mask
    if ranking == "mask":
        return removed
    least, most = path_gradient.amin((2, 3), keepdim=True), path_gradient.amax((2, 3), keepdim=True)
    order = (path_gradient - least) / (most - least).clamp(min=torch.finfo(most.dtype).tiny)
    if ranking == "gradient":
        return order
    moved = removed.amax((2, 3), keepdim=True) > 0
    return (1 - TIE_SHARE) * removed + TIE_SHARE * order * moved
