"""The search shared by every mask method: choose the noise, minimise, turn masks into a map."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.saliency.base import VOID_NOISE, ImageGroup, RawExplanation
from covid_debug.saliency.mask_objective import MaskObjective, Term
from covid_debug.saliency.mask_params import MaskSearchParams, resolve_step_size
from covid_debug.saliency.optimizers import minimise
from covid_debug.saliency.ordering import choose_mask
from covid_debug.saliency.path_gradient import integrate_path
from covid_debug.saliency.ranking import Ranking, rank_cells

SHARED_DEVIATIONS = (
    "Films are gray in [0, 1], so noise is the published one times the deviation of ImageNet"
    " intensities, .225, and the edge scale the published one times its square. Area and total"
    " variation are means, not sums; the area is mean(1 - M), whose slope at M = 1 is the price"
    " itself. The result has the mean gradient of"
    " the search beside the mask."
)
"""What every mask method of this package has in common and no paper has."""
_START_CONTRAST = 2.0
"""How far one standard deviation of the gradient moves the argument of a mask that is a sigmoid."""
_NOISE_TOLERANCE = 0.1
"""Share of the score gap that noise may move the film's or the baseline's score."""


def choose_noise(
    group: ImageGroup, params: MaskSearchParams
) -> tuple[Float[Tensor, " N"], dict[str, Tensor]]:
    """Decide each image's noise and record what noise does to its score.

    Under ``noise_rule="survive"`` the configured size is halved, at most three times and then set
    to 0, until noise moves ``f(I)`` and ``f(B)`` by at most a tenth of their gap.

    Args:
        group: The images; one draw of image size is taken from each one's generator.
        params: ``noise_std`` and ``noise_rule``.

    Returns:
        Standard deviation per image, and diagnostics ``noise_std`` and ``score_noisy``
        (``f(I + noise)`` at that size) and ``noise_survives`` (bool).
    """
    score, images, baseline, index = group.score, group.images, group.baseline, group.index
    on_film, on_baseline = group.on_film, group.on_baseline
    noise_std = images.new_full((len(images),), params.noise_std)
    noisy, survives = on_film.clone(), torch.ones_like(index, dtype=torch.bool)
    if params.noise_std > 0:
        draws = torch.stack(
            [
                torch.randn(images.shape[1:], generator=g, device=images.device, dtype=images.dtype)
                for g in group.generators
            ]
        )
        tolerance = _NOISE_TOLERANCE * (on_film - on_baseline).abs()
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
        arguments: The numbers whose sigmoids they are, same shape; None for clamped masks.
        group: The images; asked once more for the size of a mask that sigmoids have ordered.
        mean_gradient: Mean total gradient over the search, same shape; larger = more evidence
            that removing the cell lowers the score.
        diagnostics: Noise, loss trace, steps, and the reason where a map is void.
        upsampler: Carries grids to image size.
        ranking: What ranks the cells of the map.
    """

    masks: Float[Tensor, "N m h w"]
    arguments: Float[Tensor, "N m h w"] | None
    group: ImageGroup
    mean_gradient: Float[Tensor, "N m h w"]
    diagnostics: dict[str, Tensor]
    upsampler: GridUpsampler
    ranking: Ranking

    def explain(self, *picked: int) -> RawExplanation:
        """Return the map of the product of some masks, upsampled, in [0, 1].

        Args:
            picked: Which of the searched masks are multiplied.
        """
        diagnostics = self.diagnostics
        if self.arguments is None:
            keep = self.masks[:, picked].prod(dim=1, keepdim=True)
        else:
            # Log odds of 1 - M, which saturate nowhere: 1 / M - 1 is the product of all (1 + odds)
            # less 1.
            odds = -self.arguments[:, picked[0]][:, None]
            for i in picked[1:]:
                other = -self.arguments[:, i][:, None]
                odds = torch.logaddexp(torch.logaddexp(odds, other), odds + other)
            keep, areas = choose_mask(self.group, self.upsampler, odds)
            diagnostics = {**diagnostics, "area": areas}
        gradient = self.mean_gradient[:, picked].sum(dim=1, keepdim=True)
        cells = rank_cells(keep, gradient, self.ranking)
        return RawExplanation(self.upsampler.upsample(cells), keep, diagnostics, gradient)


def _count_points(
    terms: Sequence[Term], n_masks: int, fractions: Float[Tensor, " P"]
) -> Float[Tensor, "P m"]:
    """Return how often the terms count each point of the path for each mask, at masks of ones."""
    counts = fractions.new_zeros((len(fractions), n_masks))
    for term in terms:
        share = fractions if term.kind == "deletion" else 1 - fractions
        for mask in term.masks:
            counts[:, mask] += term.weight * share
    return counts


def _scale_maps(maps: Float[Tensor, "N m h w"]) -> Float[Tensor, "N m h w"]:
    """Return maps in units of their standard deviation; a constant map as zeros."""
    spread = maps.flatten(2).std(dim=2, correction=0)[..., None, None]
    return torch.where(spread > 0, maps / spread.clamp(min=torch.finfo(maps.dtype).tiny), 0)


def search_masks(
    params: MaskSearchParams,
    terms: Sequence[Term],
    n_masks: int,
    group: ImageGroup,
) -> SearchResult:
    """Run a mask method: choose the noise, start from masks of ones, minimise.

    Args:
        params: Everything but the terms.
        terms: The method's scores.
        n_masks: How many masks are searched.
        group: The images.

    Returns:
        The masks and what is known about them.
    """
    objective = MaskObjective(group, params, terms)
    noise_std, diagnostics = choose_noise(group, params)
    start = group.images.new_ones((len(group.images), n_masks, *objective.upsampler.grid_size))
    is_sigmoid = params.mask_form == "sigmoid"
    if is_sigmoid:
        start = torch.zeros_like(start)
        if params.n_start:
            slope = integrate_path(
                group,
                objective.upsampler,
                params.n_start,
                lambda t: _count_points(terms, n_masks, t),
            )
            start = start - _START_CONTRAST * _scale_maps(slope)
    step_size = resolve_step_size(params, is_pixel_mask=objective.is_pixel_mask)
    found, mean_gradient, trace = minimise(
        objective,
        start,
        group.generators,
        noise_std,
        rule=params.optimizer,
        n_iterations=params.n_iterations,
        step_size=step_size,
        is_sigmoid=is_sigmoid,
    )
    reason = VOID_NOISE * (~diagnostics["noise_survives"]).to(torch.int64)
    extra = {
        "void_reason": reason,
        "area_weight": torch.full_like(noise_std, objective.area_weight),
        "step_size": torch.full_like(noise_std, step_size),
    }
    return SearchResult(
        found.sigmoid() if is_sigmoid else found,
        found if is_sigmoid else None,
        group,
        mean_gradient,
        {**diagnostics, **trace, **extra},
        objective.upsampler,
        params.ranking,
    )
