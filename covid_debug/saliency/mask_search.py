"""The search shared by every mask method: choose the noise, minimise, turn masks into a map."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.saliency.base import VOID_NOISE, ImageGroup, RawExplanation
from covid_debug.saliency.mask_objective import MaskObjective, Term
from covid_debug.saliency.mask_params import MaskSearchParams, resolve_step_size
from covid_debug.saliency.optimizers import minimise
from covid_debug.saliency.ranking import Ranking, rank_cells
from covid_debug.shapes import Images

SHARED_DEVIATIONS = (
    "Films are gray in [0, 1], so noise and edge scale are the published ones divided by the"
    " deviation of ImageNet intensities. Area and total variation are means, not sums; the area is"
    " mean(1 - M), whose slope at M = 1 is the price itself. The result has the mean gradient of"
    " the search beside the mask."
)
"""What every mask method of this package has in common and no paper has."""
_NOISE_TOLERANCE = 0.1
"""Share of the score gap that noise may move the film's or the baseline's score."""


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
        mean_gradient: Mean total gradient over the search, same shape; larger = more evidence
            that removing the cell lowers the score.
        diagnostics: Noise, loss trace, steps, and the reason where a map is void.
        upsampler: Carries grids to image size.
        ranking: What ranks the cells of the map.
    """

    masks: Float[Tensor, "N m h w"]
    mean_gradient: Float[Tensor, "N m h w"]
    diagnostics: dict[str, Tensor]
    upsampler: GridUpsampler
    ranking: Ranking

    def explain(self, *picked: int) -> RawExplanation:
        """Return the map of the product of some masks, upsampled, in [0, 1].

        Args:
            picked: Which of the searched masks are multiplied.
        """
        keep = self.masks[:, picked].prod(dim=1, keepdim=True)
        gradient = self.mean_gradient[:, picked].sum(dim=1, keepdim=True)
        cells = rank_cells(keep, gradient, self.ranking)
        return RawExplanation(self.upsampler.upsample(cells), keep, self.diagnostics, gradient)


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
    score, images, baseline = group.score, group.images, group.baseline
    objective = MaskObjective(score, images, baseline, params, terms)
    noise_std, diagnostics = choose_noise(score, images, baseline, group.generators, params)
    start = images.new_ones((len(images), n_masks, *objective.upsampler.grid_size))
    step_size = resolve_step_size(params, is_pixel_mask=objective.is_pixel_mask)
    masks, mean_gradient, trace = minimise(
        objective,
        start,
        group.generators,
        noise_std,
        rule=params.optimizer,
        n_iterations=params.n_iterations,
        step_size=step_size,
    )
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
        params.ranking,
    )
