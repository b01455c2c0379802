"""The objective shared by every mask method: path-integrated scores plus the price of the mask.

Owns what is minimised and its gradient, batched over images, terms and path steps. How the masks
are moved is :mod:`covid_debug.saliency.optimizers`' business; which terms make a method is its own
module's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.saliency.base import VOID_NOISE, RawExplanation
from covid_debug.saliency.optimizers import OptimizerName, minimise
from covid_debug.saliency.regularizers import (
    bilateral_total_variation,
    removed_area,
    total_variation,
)
from covid_debug.shapes import Images

Quadrature = Literal["riemann", "gauss_legendre", "rotating", "end"]
Smoothness = Literal["plain", "bilateral", "both"]
NoiseRule = Literal["fixed", "survive"]
SearchObjective = Literal["path", "mask"]
TermOrder = Literal["joint", "alternating"]
TieBreak = Literal["gradient", "none"]
TermKind = Literal["deletion", "insertion"]
GOLDEN_RATIO = (5**0.5 - 1) / 2
TIE_SHARE = 0.01
"""Share of the map's range in which ``tie_break="gradient"`` orders equal mask values."""
NOISE_TOLERANCE = 0.1
"""Share of the score gap that noise may move the film's or the baseline's score."""


@dataclass(frozen=True)
class MaskSearchParams:
    """Parameters of every mask method; the leaves override defaults.

    Attributes:
        grid_size: Cells of the mask in both directions; the image size for a pixel mask.
        n_iterations: Steps of the optimiser.
        n_steps: Points of the integrated gradient's path.
        quadrature: ``"riemann"``: ``s/S`` for s = 1..S (published); ``"gauss_legendre"``: the
            nodes of that rule, far fewer points for the same integral; ``"rotating"``: one
            point in each of S equal parts, moved on by the golden ratio in every iteration, so
            that few points an iteration cover the whole path over a few iterations; ``"end"``:
            the mask itself, the ordinary gradient.
        term_order: ``"joint"``: every iteration takes all terms (published); ``"alternating"``:
            the terms of single masks and those of their product in turn, at twice the weight.
            Methods with terms of one kind only are not affected.
        optimizer: ``"line_search"`` (published), ``"adam"``, ``"fixed"`` (one constant step) or
            ``"nesterov"``.
        step_size: Step of all optimisers but the line search; None: for Adam 0.3 for a pixel mask
            and 0.1 for any other, 1 for a fixed or a Nesterov step (published ablation).
        area_weight: ``l1``; None: 10 for a pixel mask, 1 for any other (published).
        tv_weight: ``l2``.
        tv_power: Exponent ``b`` of the mask differences.
        smoothness: Plain TV of the grid, bilateral TV of the upsampled mask, or their mean.
        edge_sigma: Edge scale of the bilateral term, squared intensity units.
        noise_std: Standard deviation of the noise added to the film at each path point, in
            [0, 1] intensities; 0.045 is the published 0.2 of ImageNet-normalised images.
        noise_rule: ``"fixed"`` uses ``noise_std`` (published); ``"survive"`` halves it per image,
            down to none, until noise moves neither the film's nor the baseline's score by more
            than a tenth of their gap.
        max_step: Line search: first step tried, ``a_u``.
        min_step: Line search: step below which the search gives up, ``a_l``.
        backtrack_factor: Line search: ``eta``.
        armijo_slope: Line search: ``b`` of the sufficient decrease.
        tie_break: How cells of equal mask value are ordered in the map. ``"gradient"``: by their
            mean integrated gradient over the search, in a hundredth of the map's range; more than
            half of the cells end at exactly 1, where the mask alone leaves their order to chance.
            ``"none"``: not at all (published).
        search_objective: Line search: measure the decrease over the path (iGOS++) or at the mask
            itself (I-GOS).
    """

    grid_size: int = 28
    n_iterations: int = 50
    n_steps: int = 1
    quadrature: Quadrature = "rotating"
    term_order: TermOrder = "alternating"
    optimizer: OptimizerName = "adam"
    step_size: float | None = None
    area_weight: float | None = None
    tv_weight: float = 20.0
    tv_power: float = 2.0
    smoothness: Smoothness = "bilateral"
    edge_sigma: float = 5e-4
    noise_std: float = 0.045
    noise_rule: NoiseRule = "survive"
    tie_break: TieBreak = "gradient"
    max_step: float = 1000.0
    min_step: float = 1e-5
    backtrack_factor: float = 0.2
    armijo_slope: float = 1e-4
    search_objective: SearchObjective = "path"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputContractError: If a number is out of range or a choice is unknown.
        """
        for field, choices in (
            ("quadrature", get_args(Quadrature)),
            ("term_order", get_args(TermOrder)),
            ("optimizer", get_args(OptimizerName)),
            ("smoothness", get_args(Smoothness)),
            ("noise_rule", get_args(NoiseRule)),
            ("tie_break", get_args(TieBreak)),
            ("search_objective", get_args(SearchObjective)),
        ):
            if getattr(self, field) not in choices:
                raise InputContractError(
                    f"{type(self).__name__}: {field} is {getattr(self, field)!r};"
                    f" expected one of {choices}"
                )
        for field in ("grid_size", "n_iterations", "n_steps"):
            if getattr(self, field) < 1:
                raise InputContractError(
                    f"{type(self).__name__}: {field} is {getattr(self, field)}; expected >= 1"
                )
        for field in ("step_size", "edge_sigma", "max_step", "min_step", "tv_power"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise InputContractError(
                    f"{type(self).__name__}: {field} is {getattr(self, field)}; expected > 0"
                )
        for field in ("tv_weight", "noise_std", "armijo_slope", "area_weight"):
            if (getattr(self, field) or 0) < 0:
                raise InputContractError(
                    f"{type(self).__name__}: {field} is {getattr(self, field)}; expected >= 0"
                )
        if not 0 < self.backtrack_factor < 1:
            raise InputContractError(
                f"{type(self).__name__}: backtrack_factor is {self.backtrack_factor};"
                " expected a number between 0 and 1"
            )
        if self.search_objective == "mask" and self.quadrature not in {"riemann", "end"}:
            raise InputContractError(
                f"{type(self).__name__}: search_objective 'mask' needs a path that ends at the"
                " mask; choose quadrature 'riemann' or 'end'"
            )


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
    if quadrature == "riemann":
        return [s / n_steps for s in range(1, n_steps + 1)], [1 / n_steps] * n_steps
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    return [float(x + 1) / 2 for x in nodes], [float(w) / 2 for w in weights]


def resolve_step_size(params: MaskSearchParams, *, is_pixel_mask: bool) -> float:
    """Return the step that is executed where the parameters leave it open."""
    if params.step_size is not None:
        return params.step_size
    if params.optimizer == "adam":
        return 0.3 if is_pixel_mask else 0.1
    return 1.0


class MaskObjective:
    """The function of the masks that a mask method minimises, for a group of images.

    With keep masks ``V`` of shape ``(N, n_masks, h, w)``, path points ``t_s`` with weights
    ``w_s`` and terms ``k`` over products ``M_k`` of masks::

        J(V) = sum_k weight_k * sum_s w_s * (+-) f(Phi(I + noise_s, B, t_s * M_k))
               + l1 * mean|1 - M| + l2 * TV(M),      M = product of all masks,

    where an insertion term uses the mask ``1 - t_s * M_k`` and a minus sign. The gradient of the
    first line is the integrated gradient of the papers. Under ``search_objective="mask"`` the
    *value* takes the last path point alone, the mask itself, and the gradient stays integrated.
    Everything is per image: ``J`` of one image never depends on another.
    """

    def __init__(
        self,
        score: TargetScore,
        images: Images,
        baseline: Images,
        params: MaskSearchParams,
        terms: Sequence[Term],
    ) -> None:
        """Prepare a group of images.

        Args:
            score: Reads the model.
            images: Canonical images.
            baseline: What replaces removed pixels.
            params: Weights, path and grid.
            terms: The method's scores.
        """
        self.images, self.baseline, self.params = images, baseline, params
        self._score, self._terms = score, tuple(terms)
        image_size = (images.shape[-2], images.shape[-1])
        grid_size = (params.grid_size, params.grid_size)
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
        self.noise: Tensor | None = None
        self._shift: Tensor | None = None

    def _list_groups(self) -> list[list[int]]:
        """Return which terms are evaluated together, in the order of the iterations."""
        if self.params.term_order == "joint":
            return [list(range(len(self._terms)))]
        sizes = [len(term.masks) for term in self._terms]
        return [[i for i, n in enumerate(sizes) if n == size] for size in sorted(set(sizes))]

    def _make_group(
        self, indices: Sequence[int], n_groups: int, path_weights: Tensor
    ) -> "_TermGroup":
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
        if not bool((noise_std > 0).any()):
            self.noise = None
            return
        shape = (self.n_path, *self.images.shape[1:])
        draws = [torch.randn(shape, generator=g, device=device, dtype=dtype) for g in generators]
        self.noise = torch.stack(draws) * noise_std.view(-1, 1, 1, 1, 1)

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
        images = self.images[image_index]
        if self.noise is not None:
            images = images + self.noise[image_index, step]
        return compose(images, self.baseline[image_index], keep), image_index

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
        return self.area_weight * removed_area(keep) + p.tv_weight * smooth


def choose_noise(
    score: TargetScore,
    images: Images,
    baseline: Images,
    generators: Sequence[torch.Generator],
    params: MaskSearchParams,
) -> tuple[Float[Tensor, " N"], dict[str, Tensor]]:
    """Decide each image's noise and record what noise does to its score.

    Under ``noise_rule="survive"`` the configured size is halved, at most three times and then set
    to 0, until noise moves ``f(I)`` and ``f(B)`` by at most a tenth of their gap.

    Args:
        score: Reads the model.
        images: Canonical images.
        baseline: Their baselines.
        generators: One per image; one draw of image size is taken from each.
        params: ``noise_std`` and ``noise_rule``.

    Returns:
        Standard deviation per image, and diagnostics ``noise_std`` and ``score_noisy``
        (``f(I + noise)`` at that size) and ``noise_survives`` (bool).
    """
    index = torch.arange(len(images), device=images.device)
    on_film, on_baseline = score(images, index), score(baseline, index)
    noise_std = images.new_full((len(images),), params.noise_std)
    noisy, survives = on_film.clone(), torch.ones_like(index, dtype=torch.bool)
    if params.noise_std > 0:
        draws = torch.stack(
            [
                torch.randn(images.shape[1:], generator=g, device=images.device, dtype=images.dtype)
                for g in generators
            ]
        )
        tolerance = NOISE_TOLERANCE * (on_film - on_baseline).abs()
        pending = index
        for factor in (1.0, 0.5, 0.25, 0.125):
            noise_std[pending] = factor * params.noise_std
            noise = noise_std[pending].view(-1, 1, 1, 1) * draws[pending]
            noisy[pending] = score(images[pending] + noise, pending)
            moved = torch.maximum(
                (noisy[pending] - on_film[pending]).abs(),
                (score(baseline[pending] + noise, pending) - on_baseline[pending]).abs(),
            )
            survives[pending] = moved <= tolerance[pending]
            pending = pending[~survives[pending]]
            if params.noise_rule == "fixed" or len(pending) == 0:
                break
        if params.noise_rule == "survive":
            noise_std[pending] = 0.0
            noisy[pending] = on_film[pending]
            survives[pending] = True
    diagnostics = {"noise_std": noise_std, "score_noisy": noisy, "noise_survives": survives}
    return noise_std, diagnostics


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        masks: Keep masks ``(N, n_masks, h, w)``.
        mean_gradient: Mean total gradient over the search, same shape; larger = more evidence
            that removing the cell lowers the score.
        diagnostics: Noise, loss trace, steps, and the reason where a map is void.
        upsampler: Carries grids to image size.
        tie_break: See ``MaskSearchParams``.
    """

    masks: Float[Tensor, "N m h w"]
    mean_gradient: Float[Tensor, "N m h w"]
    diagnostics: dict[str, Tensor]
    upsampler: GridUpsampler
    tie_break: TieBreak

    def explain(self, *picked: int) -> RawExplanation:
        """Return the map of the product of some masks: ``1 - M``, upsampled, in [0, 1].

        Args:
            picked: Which of the searched masks are multiplied.
        """
        keep = self.masks[:, picked].prod(dim=1, keepdim=True)
        removed = 1 - keep
        if self.tie_break == "gradient":
            evidence = self.mean_gradient[:, picked].sum(dim=1, keepdim=True)
            least, most = evidence.amin((2, 3), keepdim=True), evidence.amax((2, 3), keepdim=True)
            order = (evidence - least) / (most - least).clamp(min=torch.finfo(most.dtype).tiny)
            moved = removed.amax((2, 3), keepdim=True) > 0  # else the map stays 0: void
            removed = (1 - TIE_SHARE) * removed + TIE_SHARE * order * moved
        return RawExplanation(self.upsampler.upsample(removed), keep, self.diagnostics)


def search_masks(
    params: MaskSearchParams,
    terms: Sequence[Term],
    n_masks: int,
    score: TargetScore,
    images: Images,
    baseline: Images,
    generators: Sequence[torch.Generator],
) -> SearchResult:
    """Run a mask method: choose the noise, start from masks of ones, minimise.

    Args:
        params: Everything but the terms.
        terms: The method's scores.
        n_masks: How many masks are searched.
        score: Reads the model.
        images: Canonical images.
        baseline: What replaces removed pixels.
        generators: One per image.

    Returns:
        The masks and what is known about them.
    """
    objective = MaskObjective(score, images, baseline, params, terms)
    noise_std, diagnostics = choose_noise(score, images, baseline, generators, params)
    start = images.new_ones((len(images), n_masks, params.grid_size, params.grid_size))
    step_size = resolve_step_size(params, is_pixel_mask=objective.is_pixel_mask)
    settings = replace(params, step_size=step_size)
    masks, mean_gradient, trace = minimise(objective, start, generators, noise_std, settings)
    reason = VOID_NOISE * (~diagnostics["noise_survives"]).to(torch.int64)
    extra = {
        "void_reason": reason,
        "area_weight": torch.full_like(noise_std, objective.area_weight),
        "step_size": torch.full_like(noise_std, step_size),
    }
    return SearchResult(
        masks,
        mean_gradient,
        {**diagnostics, **trace, **extra},
        objective.upsampler,
        params.tie_break,
    )
