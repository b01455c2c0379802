"""The path gradient: integrated gradients of a mask that is kept at 1.

What a mask search knows before it moves; the yardstick for what moving the mask adds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridSize, GridUpsampler, as_grid
from covid_debug.ranges import check_range
from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation, Source


@dataclass(frozen=True)
class PathGradientParams:
    """Parameters of the path gradient.

    Attributes:
        grid_size: Cells in both directions, or rows and columns; the image size for single pixels.
        n_steps: Points of the path, in the middles of equal parts.
    """

    grid_size: GridSize = 28
    n_steps: int = 16

    def __post_init__(self) -> None:
        """Check the ranges."""
        as_grid(self.grid_size)
        check_range(self, "[1, inf)", "grid_size", "n_steps")


class PathGradient(Explainer[PathGradientParams]):
    """Integrate the gradient with respect to a grid mask on the way from baseline to film.

    Saliency of a cell is the mean over ``t`` in (0, 1) of ``d f(Phi(I, B, t * M)) / d(t * M)`` at
    ``M = 1``, upsampled. The cells of ``path_gradient`` sum to ``f(I) - f(B)`` up to the
    quadrature: integrated gradients of the film's pixels, each split over the cells that hold it.
    """

    name: ClassVar[str] = "path_gradient"
    source: ClassVar[Source] = Source(
        paper="sundararajan2017",
        equations="path integral (1), for the cells of a mask as in [qi2020igos] (4) at M = 1",
        deviations="cells of a bilinear grid instead of pixels, sixteen midpoints, no noise",
    )
    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    params: PathGradientParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        images, grid_size = group.images, as_grid(self.params.grid_size)
        upsampler = GridUpsampler(grid_size, (images.shape[-2], images.shape[-1]), images)
        gradient = integrate_path(group, upsampler, self.params.n_steps)
        return RawExplanation(upsampler.upsample(gradient), path_gradient=gradient)


def integrate_path(
    group: ImageGroup,
    upsampler: GridUpsampler,
    n_steps: int,
    shares: Callable[[Float[Tensor, " P"]], Float[Tensor, "P m"]] | None = None,
) -> Float[Tensor, "N m h w"]:
    """Return path gradients on the upsampler's grid, see :class:`PathGradient`.

    At a mask that keeps everything, deletion (``t * M``) and insertion (``1 - (1 - t) * M``) pass
    the same images, so that one walk serves both: integrated gradients of [qi2020igos] (4) count a
    point at the share ``t`` of the film ``t`` times for deletion, ``1 - t`` times for insertion.

    Args:
        group: The images.
        upsampler: From the grid to the images.
        n_steps: Midpoints of the path; so many evaluations an image.
        shares: Of the points' positions ``t``, how often each counts for each of ``m`` masks; once
            for a single mask where None, which is complete.
    """
    images, baseline = group.images, group.baseline
    fractions = (torch.arange(n_steps, device=images.device, dtype=images.dtype) + 0.5) / n_steps
    counts = fractions.new_ones((n_steps, 1)) if shares is None else shares(fractions)
    n_masks = counts.shape[1]
    moves = images.new_zeros((len(images), n_masks, *upsampler.grid_size)).requires_grad_()
    image_of = group.index.repeat_interleave(n_steps)
    fractions, counts = fractions.repeat(len(images)), counts.repeat(len(images), 1)

    def make_chunk(items: slice) -> tuple[Tensor, Tensor]:
        rows = image_of[items]
        moved = (moves[rows] * counts[items].view(-1, n_masks, 1, 1)).sum(dim=1, keepdim=True)
        keep = upsampler.upsample(fractions[items].view(-1, 1, 1, 1) + moved)
        return compose(images[rows], baseline[rows], keep), rows

    weights = torch.full_like(fractions, 1 / n_steps)
    _, gradient = group.score.accumulate_gradient(make_chunk, len(image_of), moves, weights=weights)
    return gradient
