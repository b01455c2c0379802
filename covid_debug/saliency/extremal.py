"""Extremal perturbations: smooth masks of fixed areas that keep as much of the score as they can.

Owns the smooth maximum that makes a mask of cells, the price of an area, and their search.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from covid_debug.errors import InputContractError
from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridSize, GridUpsampler, as_grid
from covid_debug.ranges import check_range
from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation, Source
from covid_debug.saliency.optimizers import Adam

_LEAST_SCALE = 1e-12
_TEMPERATURE = 0.05
_EQUAL = 1e-5
"""Cells that differ by less are of one rank, so that rounding orders none."""
_REACH = 2.5
"""Standard deviations of the kernel beyond which a cell reaches no other."""


@dataclass(frozen=True)
class ExtremalParams:
    """Parameters of extremal perturbations.

    Attributes:
        areas: Shares of the film that a mask keeps; one search each, at once.
        grid_size: Cells in both directions, or rows and columns.
        n_iterations: Steps; one evaluation for each area and step.
        step_size: Root mean square of a step's change of the cells, which lie in [0, 1].
        sigma: Width of the kernel, as a share of the film's shorter side.
        area_weight: Price of another area than the wanted one, at the end of the search; it rises
            linearly from 0. On logits in units of ``|f(I) - f(B)|``.
    """

    areas: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    grid_size: GridSize = 28
    n_iterations: int = 20
    step_size: float = 0.25
    sigma: float = 0.05
    area_weight: float = 20.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        as_grid(self.grid_size)
        check_range(self, "[1, inf)", "grid_size", "n_iterations")
        check_range(self, "(0, inf)", "step_size", "sigma", "area_weight")
        check_range(self, "(0, 1)", "areas")
        if not isinstance(self.areas, tuple | list) or not self.areas:
            raise InputContractError(
                f"ExtremalParams: areas is {self.areas}; expected shares of the film, such as"
                " (0.05, 0.1)"
            )


class Extremal(Explainer[ExtremalParams]):
    """For each area, find the smooth mask that keeps the class best; the map is their mean.

    Maximises over cells ``c`` in [0, 1], with ``m`` their smooth max-convolution::

        f(Phi(I, B, m)) - l * mean(|sort(m) - r_a|**2)

    ``r_a`` is 0 for the smallest ``1 - a`` of the cells and 1 for the others, so that no weight
    decides how large a mask is. A cell that many areas keep is evidence; with one area,
    ``keep_mask`` is that mask: what is kept to keep the class.
    """

    name: ClassVar[str] = "extremal"
    source: ClassVar[Source] = Source(
        paper="fong2019extremal",
        equations="preservation with the ranked area penalty, masks by smooth max-convolution,"
        " the sum over several areas as the map",
        deviations="The baseline is mixed in linearly instead of a blur whose width follows the"
        " mask. The max-convolution is made on the grid, with a Gaussian kernel, and upsampled"
        " bilinearly. One scale for the steps of all cells of an image instead of gradient descent"
        " with fixed steps; 20 steps instead of 800, no jitter; the price of the area rises"
        " linearly from 0, so that equal cells at the start are told apart by the score alone; the"
        " summed map is not blurred.",
    )
    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    repeats_model: ClassVar[bool] = True
    params: ExtremalParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        p, images = self.params, group.images
        h, w = as_grid(p.grid_size)
        upsampler = GridUpsampler((h, w), (images.shape[-2], images.shape[-1]), images)
        dilate = _Dilation((h, w), p.sigma * min(h, w), images)
        n_areas = len(p.areas)
        image_of = group.index.repeat_interleave(n_areas)
        unit = group.unit[image_of].view(-1, 1, 1, 1)
        wanted = torch.cat([_rank_area(area, h * w, images) for area in p.areas])
        wanted = wanted.repeat(len(images), 1)
        cells = images.new_full((len(image_of), 1, h, w), 0.5)
        adam = Adam(cells, is_even=True)
        for step in range(1, p.n_iterations + 1):
            masks = self._dilate(group, dilate, cells).requires_grad_()
            _, rise = self._score(group, upsampler, masks, image_of)
            flat = masks.detach().flatten(1)
            slope = (2 / (h * w) * (flat - _assign(flat, wanted))).view_as(cells)
            price = p.area_weight * (step - 1) / max(p.n_iterations - 1, 1)
            gradient = self._pull(group, dilate, cells, price * slope - rise / unit)
            mean, scale = adam.follow(gradient)
            cells = (cells - p.step_size * mean / scale.clamp(min=_LEAST_SCALE)).clamp(0, 1)
        masks = self._dilate(group, dilate, cells).requires_grad_()
        kept, _ = self._score(group, upsampler, masks, image_of)
        masks = masks.detach().view(len(images), n_areas, h, w)
        saliency = upsampler.upsample(masks.mean(dim=1, keepdim=True))
        diagnostics = {
            "area_score": kept.view(len(images), n_areas),
            "area_kept": masks.mean(dim=(2, 3)),
        }
        return RawExplanation(saliency, masks if n_areas == 1 else None, diagnostics)

    def _score(
        self, group: ImageGroup, upsampler: GridUpsampler, masks: Tensor, image_of: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the scores of what the masks keep and their gradient."""

        def make_chunk(items: slice) -> tuple[Tensor, Tensor]:
            rows = image_of[items]
            keep = upsampler.upsample(masks[items])
            return compose(group.images[rows], group.baseline[rows], keep), rows

        return group.score.accumulate_gradient(make_chunk, len(image_of), masks)

    def _dilate(self, group: ImageGroup, dilate: "_Dilation", cells: Tensor) -> Tensor:
        return torch.cat([dilate(part) for part in torch.split(cells, group.score.max_batch)])

    def _pull(self, group: ImageGroup, dilate: "_Dilation", cells: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient with respect to the cells of what has this one for the masks."""
        pulled: list[Tensor] = []
        n = group.score.max_batch
        for part, above in zip(torch.split(cells, n), torch.split(slope, n), strict=True):
            leaf = part.detach().requires_grad_()
            with torch.enable_grad():
                pulled += torch.autograd.grad(dilate(leaf), leaf, above)
        return torch.cat(pulled)


class _Dilation:
    """The smooth max-convolution ``smax_v k(u - v) * c(v)``, on the grid; outside nothing is kept.

    ``smax`` is the mean of its values, weighed by ``exp(value / temperature)``.
    """

    def __init__(self, grid: tuple[int, int], sigma: float, like: Tensor) -> None:
        reach = math.ceil(_REACH * sigma)
        self.window = 2 * reach + 1
        places = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
        line = (-places.square() / (2 * sigma**2)).exp()
        self.kernel: Float[Tensor, "1 W 1"] = torch.outer(line, line).view(1, -1, 1)
        self.grid = grid

    def __call__(self, cells: Float[Tensor, "M 1 h w"]) -> Float[Tensor, "M 1 h w"]:
        around = nn.functional.unfold(cells, self.window, padding=self.window // 2)
        reached = self.kernel * around
        weights = (reached / _TEMPERATURE).softmax(dim=1)
        return (weights * reached).sum(dim=1).view(-1, 1, *self.grid)


def _rank_area(area: float, n_cells: int, like: Tensor) -> Float[Tensor, "1 cells"]:
    """Return the wanted mask's cells in rising order: at least one is 1, at least one 0."""
    n_kept = min(max(round(area * n_cells), 1), n_cells - 1)
    wanted = like.new_zeros(1, n_cells)
    wanted[:, n_cells - n_kept :] = 1
    return wanted


def _assign(masks: Float[Tensor, "M cells"], wanted: Float[Tensor, "M cells"]) -> Tensor:
    """Return what each cell should be: its rank's value, the mean of theirs for equal cells."""
    steps = (masks / _EQUAL).round()
    order = steps.argsort(dim=1)
    ranked = steps.gather(1, order)
    total = nn.functional.pad(wanted.cumsum(dim=1), (1, 0))
    first = torch.searchsorted(ranked, ranked)
    behind = torch.searchsorted(ranked, ranked, right=True)
    mean = (total.gather(1, behind) - total.gather(1, first)) / (behind - first)
    return torch.zeros_like(masks).scatter(1, order, mean)
