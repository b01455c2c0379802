"""The path gradient: integrated gradients of a mask that is kept at 1.

What a mask search knows before it moves; the yardstick for what moving the mask adds.
"""

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
    group: ImageGroup, upsampler: GridUpsampler, n_steps: int, *, of_deletion: bool = False
) -> Float[Tensor, "N 1 h w"]:
    """Return the path gradient on the upsampler's grid, see :class:`PathGradient`.

    Args:
        group: The images.
        upsampler: From the grid to the images.
        n_steps: Midpoints of the path; so many evaluations an image.
        of_deletion: Weigh each point by its share ``t`` of the film, as the integrated gradient of
            a deletion mask does ([qi2020igos] (4)), which is not complete.
    """
    images, baseline = group.images, group.baseline
    keep = images.new_ones((len(images), 1, *upsampler.grid_size)).requires_grad_()
    image_of = group.index.repeat_interleave(n_steps)
    fractions = (torch.arange(n_steps, device=images.device, dtype=images.dtype) + 0.5) / n_steps
    fractions = fractions.repeat(len(images))

    def make_chunk(items: slice) -> tuple[Tensor, Tensor]:
        rows = image_of[items]
        grids = keep[rows] * fractions[items].view(-1, 1, 1, 1)
        return compose(images[rows], baseline[rows], upsampler.upsample(grids)), rows

    # d/dM at t * M is t times d/d(t * M), the integrand of a complete path.
    weights = torch.full_like(fractions, 1 / n_steps)
    _, gradient = group.score.accumulate_gradient(
        make_chunk, len(image_of), keep, weights=weights if of_deletion else weights / fractions
    )
    return gradient
