"""The path gradient: integrated gradients of a mask that is kept at 1.

What a mask search knows before it moves; the yardstick for what moving the mask adds.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.ranges import check_range
from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation, Source


@dataclass(frozen=True)
class PathGradientParams:
    """Parameters of the path gradient.

    Attributes:
        grid_size: Cells in both directions; the image size for single pixels.
        n_steps: Points of the path, in the middles of equal parts.
    """

    grid_size: int = 28
    n_steps: int = 16

    def __post_init__(self) -> None:
        """Check the ranges."""
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
        images, baseline, n_steps = group.images, group.baseline, self.params.n_steps
        side = self.params.grid_size
        upsampler = GridUpsampler((side, side), (images.shape[-2], images.shape[-1]), images)
        keep = images.new_ones((len(images), 1, side, side)).requires_grad_()
        image_of = group.index.repeat_interleave(n_steps)
        fractions = (group.index.new_tensor(range(n_steps)) + 0.5) / n_steps
        fractions = fractions.to(images.dtype).repeat(len(images))

        def make_chunk(items: slice) -> tuple[Tensor, Tensor]:
            rows = image_of[items]
            grids = keep[rows] * fractions[items].view(-1, 1, 1, 1)
            mixed = compose(images[rows], baseline[rows], upsampler.upsample(grids))
            return mixed, rows

        # d/dM at t * M is t times d/d(t * M); dividing by t gives the integrand of the paper.
        _, gradient = group.score.accumulate_gradient(
            make_chunk, len(image_of), keep, weights=1 / (n_steps * fractions)
        )
        return RawExplanation(upsampler.upsample(gradient), path_gradient=gradient)
