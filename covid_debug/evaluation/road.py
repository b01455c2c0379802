"""ROAD: the score while the most salient pixels are replaced by what their neighbours say.

Owns the noisy linear imputation and the curve of one order of removal. Unlike a blurred or gray
baseline, the imputation leaves no edge by which a model could tell where pixels are missing.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity
from scipy.sparse.linalg import spsolve
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.scoring import TargetScore
from covid_debug.shapes import Images, Saliency

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of a film's pixels that are removed."""
NOISE_STD = 0.01
"""Of the noise on imputed pixels, in intensities of [0, 1]."""

_NEIGHBOURS = (
    *(((dy, dx), 1 / 6) for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))),
    *(((dy, dx), 1 / 12) for dy, dx in ((1, 1), (1, -1), (-1, 1), (-1, -1))),
)
"""Offsets of the eight neighbours and their weights [rong2022road]."""


@torch.no_grad()
def measure_road(
    score: TargetScore,
    images: Images,
    saliency: Saliency,
    *,
    seeds: Sequence[int],
    shares: Sequence[float] = SHARES,
    noise_std: float = NOISE_STD,
) -> Float[Tensor, "N T"]:
    """Score films whose most salient pixels were imputed, most salient first [rong2022road].

    Args:
        score: Reads the model.
        images: Canonical images.
        saliency: Larger = more evidence; equal values are removed in a drawn order.
        seeds: One a film; decides the noise and the order of equal values.
        shares: Shares of the pixels removed, each in (0, 1).
        noise_std: Standard deviation of the noise on imputed pixels.

    Returns:
        The target's score after each share, lower is better; NaN for a map that is not finite.

    Raises:
        InputContractError: If shapes, seeds or shares do not fit.
    """
    if saliency.shape != images.shape or len(seeds) != len(images):
        raise InputContractError(
            f"evaluation.road: saliency has shape {tuple(saliency.shape)} and there are"
            f" {len(seeds)} seeds; expected the images' {tuple(images.shape)} and a seed each"
        )
    if not shares or not all(0 < share < 1 for share in shares):
        raise InputContractError(
            f"evaluation.road: shares are {tuple(shares)}; expected shares in (0, 1)"
        )
    curves = images.new_full((len(images), len(shares)), torch.nan)
    for i, seed in enumerate(seeds):
        if not bool(saliency[i].isfinite().all()):
            continue
        generator = np.random.default_rng(seed)
        film = images[i, 0].double().cpu().numpy()
        values = saliency[i, 0].double().cpu().numpy().ravel()
        order = np.lexsort((generator.random(values.size), -values))
        removed = []
        for share in shares:
            missing = np.zeros(values.size, np.bool_)
            missing[order[: max(1, round(share * values.size))]] = True
            imputed = impute_linear(film, missing.reshape(film.shape))
            noise = generator.normal(0.0, noise_std, film.shape)
            imputed = np.where(missing.reshape(film.shape), imputed + noise, imputed)
            removed.append(torch.from_numpy(imputed.clip(0, 1)))
        batch = torch.stack(removed)[:, None].to(images)
        curves[i] = score(batch, torch.full((len(batch),), i, device=images.device))
    return curves


def impute_linear(film: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Replace pixels by the weighted mean of their neighbours, missing ones among them.

    Solves one sparse linear system: each missing pixel is the mean of its eight neighbours, direct
    ones weighing 1/6 and diagonal ones 1/12; at a border the weights inside sum to 1.

    Args:
        film: ``(H, W)``.
        missing: ``(H, W)``; where nothing remains, the film's mean is taken.

    Returns:
        The film with the missing pixels imputed, without noise.
    """
    if not missing.any():
        return film.copy()
    if missing.all():
        return np.full_like(film, film.mean())
    high, wide = film.shape
    number = np.full(film.shape, -1)
    number[missing] = np.arange(int(missing.sum()))
    rows, columns = np.nonzero(missing)
    n_missing = len(rows)
    known, weight_sum = np.zeros(n_missing), np.zeros(n_missing)
    entries: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for (dy, dx), weight in _NEIGHBOURS:
        y, x = rows + dy, columns + dx
        inside = np.flatnonzero((y >= 0) & (y < high) & (x >= 0) & (x < wide))
        y, x = y[inside], x[inside]
        weight_sum[inside] += weight
        unknown = missing[y, x]
        known[inside[~unknown]] += weight * film[y[~unknown], x[~unknown]]
        other = number[y[unknown], x[unknown]]
        entries.append((inside[unknown], other, np.full(len(other), weight)))
    row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    links = csr_matrix((value / weight_sum[row], (row, column)), shape=(n_missing, n_missing))
    filled = film.copy()
    filled[missing] = spsolve((identity(n_missing) - links).tocsc(), known / weight_sum)
    return filled
