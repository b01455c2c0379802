"""Area path: one map, each of whose areas is asked to delete and to insert the class.

A path from film to baseline that removes the most salient cells first, instead of fading all cells
alike: what deletion and insertion measure, searched by gradients. There is no price of the area, so
no cell is left out of the order.
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
from covid_debug.saliency.mask_objective import GOLDEN_RATIO
from covid_debug.saliency.optimizers import Adam
from covid_debug.saliency.ordering import LEAST_SPREAD, choose_mask, find_border, find_spread
from covid_debug.saliency.path_gradient import integrate_path
from covid_debug.saliency.regularizers import total_variation


@dataclass(frozen=True)
class AreaPathParams:
    """Parameters of the area path.

    Attributes:
        grid_size: Cells in both directions, or rows and columns; the image size for single pixels.
        n_start: Points of the integrated gradient from which the search starts.
        n_iterations: Areas that are asked; two evaluations each.
        step_size: Step of the search, in standard deviations of the map.
        softness: Width of a mask's border between kept and removed cells, in standard deviations
            of the map.
        tv_weight: Price of the map's total variation, in standard deviations of the map; on
            logits, which have no unit of their own, in units of ``|f(I) - f(B)|``.
    """

    grid_size: GridSize = 28
    n_start: int = 8
    n_iterations: int = 22
    step_size: float = 0.1
    softness: float = 0.2
    tv_weight: float = 0.01

    def __post_init__(self) -> None:
        """Check the ranges."""
        as_grid(self.grid_size)
        check_range(self, "[1, inf)", "grid_size", "n_start", "n_iterations")
        check_range(self, "(0, inf)", "step_size", "softness")
        check_range(self, "[0, inf)", "tv_weight")


class AreaPath(Explainer[AreaPathParams]):
    """Find an order of the cells in which the class is lost and regained soonest.

    Minimises over a map ``s`` on a grid, with ``q`` the value that a share ``a`` of its cells
    exceeds and ``M_a = sigmoid((q - s) / softness)``::

        mean over a in (0, 1) of  f(Phi(I, B, M_a)) - f(Phi(I, B, 1 - M_a))  +  l2 * TV(s)

    One area a time, moved on by the golden ratio; the map starts as the integrated gradient of a
    deletion mask at 1. The keep mask is drawn from the order, see
    :func:`covid_debug.saliency.ordering.choose_mask`.
    """

    name: ClassVar[str] = "area_path"
    source: ClassVar[Source] = Source(
        paper="fong2019extremal",
        equations="masks of fixed area instead of a price of the area, all areas in one map;"
        " deletion and insertion losses of [khorram2021igospp]",
        deviations="The published method searches one area, with a smooth-maximum filter and a"
        " ranked penalty of the area; here a soft threshold makes a mask of every area from one"
        " map, bilinear upsampling makes it smooth, and the map starts as the integrated gradient"
        " of [qi2020igos] (4) at M = 1.",
    )
    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    repeats_model: ClassVar[bool] = True
    params: AreaPathParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        p, images = self.params, group.images
        image_size = (images.shape[-2], images.shape[-1])
        upsampler = GridUpsampler(as_grid(p.grid_size), image_size, images)
        start = integrate_path(group, upsampler, p.n_start, lambda t: t[:, None])
        cells = start / find_spread(start)
        adam = Adam(cells, is_even=True)
        losses = []
        for iteration in range(1, p.n_iterations + 1):
            area = (0.5 + iteration * GOLDEN_RATIO) % 1
            loss, gradient = self._ask(group, upsampler, cells, area, p.tv_weight * group.unit)
            losses.append(loss)
            mean, scale = adam.follow(gradient)
            cells = cells - p.step_size * mean / scale.clamp(min=LEAST_SPREAD)
        keep, areas = choose_mask(group, upsampler, cells)
        diagnostics = {"loss": torch.stack(losses, dim=1), "area": areas}
        return RawExplanation(upsampler.upsample(1 - keep), keep, diagnostics, start)

    def _ask(
        self,
        group: ImageGroup,
        upsampler: GridUpsampler,
        cells: Float[Tensor, "N 1 h w"],
        area: float,
        tv_weight: Float[Tensor, " N"],
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 1 h w"]]:
        """Return the loss at one area and its gradient with respect to the map."""
        p, images, baseline = self.params, group.images, group.baseline
        leaf = cells.detach().requires_grad_()
        spread = find_spread(cells)
        border = find_border(cells, area)
        image_of = group.index.repeat_interleave(2)

        def make_chunk(items: slice) -> tuple[Tensor, Tensor]:
            rows = image_of[items]
            keep = torch.sigmoid((border[rows] - leaf[rows]) / (p.softness * spread[rows]))
            is_insertion = torch.arange(items.start, items.stop, device=images.device) % 2 == 1
            keep = torch.where(is_insertion.view(-1, 1, 1, 1), 1 - keep, keep)
            return compose(images[rows], baseline[rows], upsampler.upsample(keep)), rows

        signs = images.new_tensor([1.0, -1.0]).repeat(len(images))
        scores, gradient = group.score.accumulate_gradient(
            make_chunk, len(image_of), leaf, weights=signs
        )
        with torch.enable_grad():
            price = tv_weight * total_variation(leaf / spread)
            (slope,) = torch.autograd.grad(price.sum(), leaf)
        loss = (scores * signs).view(-1, 2).sum(dim=1) + price.detach()
        return loss, gradient + slope
