"""Do a map's numbers say what the model does: infidelity, sensitivity, completeness.

Owns three measures of attributions. Which region matters, and in which order pixels matter, is
measured by the neighbours.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.compose import compose
from covid_debug.shapes import Images, Saliency

MakeMaps = Callable[[Images], Saliency]

N_SQUARES = 64
"""Squares that infidelity removes from a film, one at a time."""
SQUARE_SHARES = (0.05, 0.3)
"""Smallest and largest side of these squares, as shares of the film's."""
RADIUS = 0.02
"""Largest change of a pixel for the sensitivity, in intensities of [0, 1]."""


@torch.no_grad()
def measure_infidelity(
    score: TargetScore,
    images: Images,
    attribution: Saliency,
    baseline: Images,
    *,
    seeds: Sequence[int],
    n_squares: int = N_SQUARES,
    rescale: bool = True,
) -> Float[Tensor, " N"]:
    """Compare what a map says of a square with what the score loses without it [yeh2019infidelity].

    The perturbation is the paper's square removal: a square of drawn side and place is replaced
    by the baseline. The map's word for it is the sum of its values there, so the map counts as
    contributions (the gradient times what is removed, in the paper's notation). With ``a`` that
    sum and ``d`` the fall of the score, this returns ``mean((b a - d)^2) / mean(d^2)``.

    Args:
        score: Reads the model.
        images: Canonical images.
        attribution: Signed where the method has a sign.
        baseline: What replaces a square.
        seeds: One a film; decides its squares.
        n_squares: Squares a film.
        rescale: ``b`` is the factor that suits the film best: many maps have no unit. Else 1.

    Returns:
        Lower is better. Rescaled in [0, 1]: 0 = the map foretells every fall, 1 = it says nothing
        of them. NaN where no square changes the score, or the map is not finite.

    Raises:
        InputContractError: If shapes or numbers do not fit.
    """
    _check("evaluation.fidelity", images, attribution, seeds, n_squares)
    results = []
    index = torch.arange(len(images), device=images.device)
    on_film = score(images, index)
    for i, seed in enumerate(seeds):
        squares = draw_squares(images.shape[-2:], n_squares, seed).to(images)
        removed = compose(
            images[i : i + 1].expand(n_squares, -1, -1, -1),
            baseline[i : i + 1].expand(n_squares, -1, -1, -1),
            1 - squares,
        )
        falls = on_film[i] - score(removed, index[i].expand(n_squares))
        said = (attribution[i : i + 1] * squares).sum(dim=(1, 2, 3))
        falls, said = falls.double(), said.double()
        power = (said * said).sum()
        factor = (said * falls).sum() / power if rescale and float(power) > 0 else 1.0
        results.append(((factor * said - falls) ** 2).mean() / (falls**2).mean())
    found = torch.stack(results)
    return torch.where(found.isfinite(), found, torch.nan).to(images.dtype)


def draw_squares(size: Sequence[int], n_squares: int, seed: int) -> Float[Tensor, "S 1 H W"]:
    """Return squares of drawn sides and places inside a film, 1 inside and 0 outside."""
    high, wide = size
    generator = torch.Generator("cpu").manual_seed(int(seed))
    squares = torch.zeros(n_squares, 1, high, wide, device="cpu")
    low, most = SQUARE_SHARES
    shares = low + (most - low) * torch.rand(n_squares, generator=generator, device="cpu")
    places = torch.rand(n_squares, 2, generator=generator, device="cpu")
    for square, share, (down, right) in zip(squares, shares.tolist(), places.tolist(), strict=True):
        side = max(1, min(round(share * min(high, wide)), high, wide))
        top, left = int(down * (high - side + 1)), int(right * (wide - side + 1))
        square[0, top : top + side, left : left + side] = 1
    return squares


def measure_max_sensitivity(
    make_maps: MakeMaps,
    images: Images,
    saliency: Saliency,
    *,
    seeds: Sequence[int],
    n_draws: int = 8,
    radius: float = RADIUS,
) -> Float[Tensor, " N"]:
    """Return the largest change of a map when its film hardly changes [yeh2019infidelity].

    ``max_d |Phi(x + d) - Phi(x)| / |Phi(x)|`` over drawn ``d`` with ``|d|_inf <= radius``, both
    norms Euclidean. A maximum over draws is a lower bound of the maximum over the ball.

    Args:
        make_maps: Explains changed films, each for the class and with the seed of its film.
        images: Canonical images.
        saliency: Their maps.
        seeds: One a film; decides its draws.
        n_draws: Changed copies of each film.
        radius: Largest change of a pixel; films stay in [0, 1].

    Returns:
        At least 0, lower is better; NaN for a map that is 0 everywhere.

    Raises:
        InputContractError: If shapes or numbers do not fit.
    """
    _check("evaluation.fidelity", images, saliency, seeds, n_draws)
    generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]
    worst = images.new_zeros(len(images))
    size = saliency.flatten(1).norm(dim=1)
    for _ in range(n_draws):
        noise = torch.stack(
            [torch.rand(images.shape[1:], generator=g, device="cpu") for g in generators]
        )
        changed = (images + radius * (2 * noise.to(images) - 1)).clamp(0, 1)
        change = (make_maps(changed) - saliency).flatten(1).norm(dim=1)
        worst = torch.maximum(worst, change / size)
    return torch.where(size > 0, worst, torch.nan)


def measure_completeness(
    attribution: Saliency, on_film: Float[Tensor, " N"], on_baseline: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Return ``(sum of a map - (f(I) - f(B))) / |f(I) - f(B)|`` [sundararajan2017].

    Args:
        attribution: Signed contributions.
        on_film: Score of the film, on the scale that the map explains.
        on_baseline: Score of the baseline that the map starts from.

    Returns:
        0 for a complete attribution; NaN where film and baseline have one score.
    """
    gap = on_film - on_baseline
    error = attribution.flatten(1).sum(dim=1) - gap
    return torch.where(gap != 0, error / gap.abs(), torch.nan)


def _check(where: str, images: Images, maps: Saliency, seeds: Sequence[int], number: int) -> None:
    if maps.shape != images.shape or len(seeds) != len(images) or number < 1:
        raise InputContractError(
            f"{where}: maps have shape {tuple(maps.shape)}, with {len(seeds)} seeds and {number}"
            f" draws; expected the images' {tuple(images.shape)}, a seed each and at least 1 draw"
        )
