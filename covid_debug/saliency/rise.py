"""RISE: the average of random masks, weighted by the score that survives them."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridSize, as_grid, upsampling_matrix
from covid_debug.ranges import check_choices, check_range
from covid_debug.saliency.base import (
    VOID_INSENSITIVE,
    Explainer,
    ImageGroup,
    RawExplanation,
    Source,
    least_gap,
)

Fill = Literal["mean", "black", "baseline"]


@dataclass(frozen=True)
class RISEParams:
    """Parameters of RISE.

    Attributes:
        n_masks: Random masks per image.
        mask_grid: Cells of a mask in both directions, or rows and columns.
        p_keep: Probability that a cell is kept.
        fill: What hidden pixels show: the gray that the classifier's normalisation makes 0
            (published: masks multiply the normalised film), black, or the baseline.
    """

    n_masks: int = 4000
    mask_grid: GridSize = 7
    p_keep: float = 0.5
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        """Check the choices and the ranges."""
        check_choices(self)
        as_grid(self.mask_grid)
        check_range(self, "[1, inf)", "n_masks", "mask_grid")
        check_range(self, "(0, 1]", "p_keep")


class RISE(Explainer[RISEParams]):
    """Average random keep masks, each weighted by the score of the film seen through it.

    ``saliency = 1 / (n_masks * p_keep) * sum_k f(I * m_k) * m_k``, summed as it goes. A mask is a
    grid of coin flips, upsampled bilinearly to one cell more than the image and cropped at a
    random shift.
    """

    name: ClassVar[str] = "rise"
    source: ClassVar[Source] = Source(
        paper="petsiuk2018rise",
        equations="Monte-Carlo estimate (6), with the constant p of (4)",
        deviations="always divided by n_masks * p_keep; a network with a mean for each plane has"
        " their mean as fill, because films are gray",
    )
    needs_gradient: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    repeats_model: ClassVar[bool] = True
    uses_baseline: ClassVar[bool] = False
    params: RISEParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        p, score, images = self.params, group.score, group.images
        gray = group.neutral if p.fill == "mean" else 0.0
        hidden = group.baseline if p.fill == "baseline" else torch.full_like(images, gray)
        parts = [
            self._explain_one(score, images[i : i + 1], hidden[i : i + 1], i, generator)
            for i, generator in enumerate(group.generators)
        ]
        saliency = torch.stack([total for total, _ in parts]) / (p.n_masks * p.p_keep)
        low, high = torch.stack([ends for _, ends in parts]).unbind(dim=1)
        spread = high - low
        is_flat = (spread < least_gap(score.scale, low, high)) | (spread == 0)
        reason = VOID_INSENSITIVE * is_flat.to(torch.int64)
        return RawExplanation(saliency, None, {"score_range": spread, "void_reason": reason})

    def _explain_one(
        self, score: TargetScore, image: Tensor, hidden: Tensor, index: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return the weighted sum of masks of one image, ``(1, H, W)``, and the scores' ends."""
        p = self.params
        height, width = image.shape[-2:]
        down, right = as_grid(p.mask_grid)
        cell = (math.ceil(height / down), math.ceil(width / right))
        rows = upsampling_matrix(down, (down + 1) * cell[0], image)
        columns = upsampling_matrix(right, (right + 1) * cell[1], image)
        draws = torch.rand((p.n_masks, down, right), generator=generator, device=image.device)
        grids = (draws < p.p_keep).to(image.dtype)
        shifts = torch.stack(
            [
                torch.randint(length, (p.n_masks,), generator=generator, device=image.device)
                for length in cell
            ]
        )
        total = torch.zeros_like(image[0])
        y = torch.arange(height, device=image.device)
        x = torch.arange(width, device=image.device)
        low, high = total.new_full((), torch.inf), total.new_full((), -torch.inf)
        n = score.max_batch  # the score may halve its own on the way
        for start in range(0, p.n_masks, n):
            part = slice(start, start + n)
            some_rows = rows[shifts[0, part, None] + y]
            some_columns = columns[shifts[1, part, None] + x]
            keep = (some_rows @ grids[part] @ some_columns.mT).unsqueeze(1)
            perturbed = compose(image.expand_as(keep), hidden.expand_as(keep), keep)
            scores = score(perturbed, torch.full_like(shifts[0, part], index))
            total += torch.tensordot(scores, keep, dims=1)
            low, high = torch.minimum(low, scores.amin()), torch.maximum(high, scores.amax())
        return total, torch.stack([low, high])
