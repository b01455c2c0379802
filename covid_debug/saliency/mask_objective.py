"""The objective shared by every mask method: path-integrated scores plus the price of the mask.

Owns what is minimised and its gradient, batched over images, terms and path steps. How the masks
are moved is :mod:`covid_debug.saliency.optimizers`' business; which terms make a method is its own
module's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridUpsampler, as_grid
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.mask_params import MaskSearchParams, Quadrature
from covid_debug.saliency.path_noise import PathNoise
from covid_debug.saliency.regularizers import (
    bilateral_total_variation,
    removed_area,
    total_variation,
)

TermKind = Literal["deletion", "insertion"]
GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Term:
    """One score in the objective.

    Attributes:
        kind: ``"deletion"``: ``+f(Phi(I, B, M))``; ``"insertion"``: ``-f(Phi(I, B, 1 - M))``.
        masks: Which of the searched masks are multiplied to give ``M``.
        weight: Factor of the score.
    """

    kind: TermKind
    masks: tuple[int, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class _TermGroup:
    """Terms that are evaluated in the same iteration.

    Attributes:
        points: Which (term, path point) pairs, counted over all terms.
        weights: Factor of each one's score in the gradient.
        value_index: Which of ``points`` count for the value.
        value_weights: Their factors.
    """

    points: Int64[Tensor, " P"]
    weights: Float[Tensor, " P"]
    value_index: Int64[Tensor, " V"]
    value_weights: Float[Tensor, " V"]


def path_nodes(quadrature: Quadrature, n_steps: int) -> tuple[list[float], list[float]]:
    """Return positions in (0, 1] and weights (sum 1) of the path's points.

    Of a rotating path these are the middles of the parts, before the first shift.
    """
    if quadrature == "end":
        return [1.0], [1.0]
    if quadrature == "rotating":
        return [(s + 0.5) / n_steps for s in range(n_steps)], [1 / n_steps] * n_steps
    return [s / n_steps for s in range(1, n_steps + 1)], [1 / n_steps] * n_steps


class MaskObjective:
    """The function of the masks that a mask method minimises, for a group of images.

    With keep masks ``V`` of shape ``(N, n_masks, h, w)``, path points ``t_s`` with weights
    ``w_s`` and terms ``k`` over products ``M_k`` of masks::

        J(V) = sum_k weight_k * sum_s w_s * (+-) f(Phi(I, B, t_s * M_k) + noise_s)
               + (l1 * mean|1 - M| + l2 * TV(M)) * u,      M = product of all masks,

    where ``u`` is 1, and on logits, which have no unit of their own, the image's ``|f(I) - f(B)|``,
    1 where that is 0;
    an insertion term uses the mask ``1 - t_s * M_k`` and a minus sign; under
    ``noise_on="film"`` the noise is added to ``I`` instead. The gradient of the
    first line is the integrated gradient of the papers. Under ``search_objective="mask"`` the
    *value* takes the last path point alone, the mask itself, and the gradient stays integrated.
    Everything is per image: ``J`` of one image never depends on another.
    """

    def __init__(
        self,
        group: ImageGroup,
        params: MaskSearchParams,
        terms: Sequence[Term],
    ) -> None:
        """Prepare a group of images.

        Args:
            group: The images.
            params: Weights, path and grid.
            terms: The method's scores.
        """
        images = group.images
        self.images, self.baseline, self.params = images, group.baseline, params
        self._score, self._terms = group.score, tuple(terms)
        image_size = (images.shape[-2], images.shape[-1])
        grid_size = as_grid(params.grid_size)
        self.upsampler = GridUpsampler(grid_size, image_size, images)
        self.is_pixel_mask = grid_size == image_size
        default_area = 10.0 if self.is_pixel_mask else 1.0
        self.area_weight = default_area if params.area_weight is None else params.area_weight
        nodes, weights = path_nodes(params.quadrature, params.n_steps)
        self.n_path = len(nodes)
        self._nodes = images.new_tensor(nodes).expand(len(images), -1)
        self._is_insertion = torch.tensor(
            [term.kind == "insertion" for term in self._terms], device=images.device
        ).repeat_interleave(self.n_path)
        # Terms that share a product of masks share one row of the stacked products.
        self._products = sorted({term.masks for term in self._terms})
        self._product_of_item = torch.tensor(
            [self._products.index(term.masks) for term in self._terms], device=images.device
        ).repeat_interleave(self.n_path)
        listed = self._list_groups()
        path_weights = images.new_tensor(weights)
        # Each group comes up in one of as many iterations, so it weighs as many times as much.
        self._groups = [self._make_group(one, len(listed), path_weights) for one in listed]
        self._group = self._groups[0]
        self._n_draws = 0
        self.unit = group.unit
        self.noise: PathNoise | None = None
        self._noise_std: Tensor | None = None
        self._is_noisy = False
        self._shift: Tensor | None = None

    def _list_groups(self) -> list[list[int]]:
        """Return which terms are evaluated together, in the order of the iterations."""
        if self.params.term_order == "joint":
            return [list(range(len(self._terms)))]
        sizes = [len(term.masks) for term in self._terms]
        return [[i for i, n in enumerate(sizes) if n == size] for size in sorted(set(sizes))]

    def _make_group(
        self, indices: Sequence[int], n_groups: int, path_weights: Tensor
    ) -> _TermGroup:
        terms = [self._terms[index] for index in indices]
        signs = path_weights.new_tensor(
            [n_groups * term.weight * (1 if term.kind == "deletion" else -1) for term in terms]
        )
        device = path_weights.device
        firsts = torch.tensor(indices, device=device) * self.n_path
        points = (firsts[:, None] + torch.arange(self.n_path, device=device)).flatten()
        weights = (signs[:, None] * path_weights[None, :]).flatten()
        if self.params.search_objective == "path":
            return _TermGroup(points, weights, torch.arange(len(points), device=device), weights)
        ends = torch.arange(1, len(indices) + 1, device=device) * self.n_path - 1
        return _TermGroup(points, weights, ends, signs)

    def draw(self, generators: Sequence[torch.Generator], noise_std: Float[Tensor, " N"]) -> None:
        """Begin an iteration: take the next terms, move on a rotating path, replace the noise.

        Both sides of a comparison of masks must see the same draws, so they change only here.

        Args:
            generators: One per image.
            noise_std: Standard deviation per image; where all are 0 no noise is drawn.
        """
        device, dtype = self.images.device, self.images.dtype
        self._group = self._groups[self._n_draws % len(self._groups)]
        self._n_draws += 1
        if self.params.quadrature == "rotating":
            if self._shift is None:
                starts = [
                    torch.rand(1, generator=g, device=device, dtype=dtype) for g in generators
                ]
                self._shift = torch.stack(starts)
            else:
                self._shift = (self._shift + GOLDEN_RATIO) % 1
            parts = torch.arange(self.n_path, device=device)
            self._nodes = (self._shift + parts) / self.n_path
        if noise_std is not self._noise_std:  # a GPU is waited for once a search
            self._noise_std, self._is_noisy = noise_std, bool((noise_std > 0).any())
        if not self._is_noisy:
            self.noise = None
            return
        self.noise = PathNoise(
            generators, noise_std, self.n_path, self.images, max_kept=self._score.max_batch
        )

    def value(
        self, masks: Float[Tensor, "A m h w"], rows: Int64[Tensor, " A"]
    ) -> Float[Tensor, " A"]:
        """Return ``J`` for some images.

        Args:
            masks: Keep masks of these images.
            rows: Which images of the group they belong to.
        """
        products = self._stack_products(masks)
        points = self._group.points[self._group.value_index]
        n_items, chunk = len(rows) * len(points), self._score.max_batch
        scores = [
            self._score(
                *self._perturb(products, rows, points, slice(start, min(start + chunk, n_items)))
            )
            for start in range(0, n_items, chunk)
        ]
        by_row = torch.cat(scores).view(len(rows), -1)
        return (by_row * self._group.value_weights).sum(dim=1) + self._price(masks, rows)

    def value_and_gradient(
        self, masks: Float[Tensor, "A m h w"], rows: Int64[Tensor, " A"]
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, "A m h w"]]:
        """Return ``J`` and ``dJ/dV``, the total gradient; each score is used for both.

        Args:
            masks: Keep masks of these images.
            rows: Which images of the group they belong to.
        """
        products = self._stack_products(masks).requires_grad_()
        group = self._group
        scores, gradient = self._score.accumulate_gradient(
            lambda items: self._perturb(products, rows, group.points, items),
            len(rows) * len(group.points),
            products,
            weights=group.weights.repeat(len(rows)),
        )
        with torch.enable_grad():
            leaf = masks.detach().requires_grad_()
            price = self._price(leaf, rows)
            total = (self._stack_products(leaf) * gradient).sum() + price.sum()
            (total_gradient,) = torch.autograd.grad(total, leaf)
        by_row = scores.view(len(rows), -1)[:, group.value_index]
        return (by_row * group.value_weights).sum(dim=1) + price.detach(), total_gradient

    def _stack_products(self, masks: Tensor) -> Tensor:
        return torch.stack(
            [math.prod([masks[:, i] for i in pick], start=masks.new_ones(())) for pick in
             self._products], dim=1,
        )  # fmt: skip

    def _perturb(
        self, products: Tensor, rows: Tensor, points: Tensor, items: slice
    ) -> tuple[Tensor, Tensor]:
        """Return perturbed images ``items`` of the list ordered by image, then by ``points``."""
        item = torch.arange(items.start, items.stop, device=rows.device)
        row, point = item // len(points), points[item % len(points)]
        image_index = rows[row]
        step = point % self.n_path
        fraction = self._nodes[image_index, step].view(-1, 1, 1)
        grids = products[row, self._product_of_item[point]] * fraction
        keep = self.upsampler.upsample(grids).unsqueeze(1)
        keep = torch.where(self._is_insertion[point].view(-1, 1, 1, 1), 1 - keep, keep)
        images, baseline = self.images[image_index], self.baseline[image_index]
        if self.noise is None:
            return compose(images, baseline, keep), image_index
        noise = self.noise.at(image_index, step)
        if self.params.noise_on == "film":
            return compose(images + noise, baseline, keep), image_index
        return compose(images, baseline, keep) + noise, image_index

    def _price(self, masks: Tensor, rows: Tensor) -> Tensor:
        keep = masks.prod(dim=1, keepdim=True) if masks.shape[1] > 1 else masks
        p = self.params
        smooth = keep.new_zeros(len(rows))
        if p.smoothness != "bilateral":
            smooth = smooth + total_variation(keep, power=p.tv_power)
        if p.smoothness != "plain":
            smooth = smooth + bilateral_total_variation(
                self.upsampler.upsample(keep),
                self.images[rows],
                sigma=p.edge_sigma,
                power=p.tv_power,
            )
        if p.smoothness == "both":
            smooth = smooth / 2
        return (self.area_weight * removed_area(keep) + p.tv_weight * smooth) * self.unit[rows]
