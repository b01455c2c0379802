"""LEG and LEG-TV: the linearly estimated gradient, plain and with sparse differences.

Owns the perturbation scheme, the estimator and the linear program; scores come from outside.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.fft
import scipy.optimize
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from covid_debug.errors import ExplanationError
from covid_debug.perturbation.upsampling import GridSize, GridUpsampler, as_grid
from covid_debug.ranges import check_range
from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation, Source

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class LEGParams:
    """Parameters of LEG.

    Attributes:
        grid_size: Cells of the perturbation in both directions, or rows and columns.
        n_samples: Perturbed images per film.
        variance: ``s2`` of the covariance, squared intensity units; 0.005 is the paper's 0.10 of
            ImageNet-normalised images (times 0.225 squared).
    """

    grid_size: GridSize = 28
    n_samples: int = 500
    variance: float = 0.005

    def __post_init__(self) -> None:
        """Check the ranges."""
        as_grid(self.grid_size)
        check_range(self, "[2, inf)", "grid_size")
        check_range(self, "[1, inf)", "n_samples")
        check_range(self, "(0, inf)", "variance")


@dataclass(frozen=True)
class LEGTVParams(LEGParams):
    """Parameters of LEG-TV.

    Attributes:
        tolerance: ``K`` in ``L = K * L_max``, in (0, 1]; larger means sparser differences.
    """

    tolerance: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        check_range(self, "(0, 1]", "tolerance")


class _LEGBase(Explainer[LEGParams]):
    """Sampling shared by both estimators; a leaf turns the moment into a gradient."""

    needs_gradient: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    repeats_model: ClassVar[bool] = True
    uses_baseline: ClassVar[bool] = False

    def _estimate(self, moment: Grid) -> Grid:
        """Return the gradient grid from ``(1/n) sum (f(x0 + z) - f(x0)) z``."""
        raise NotImplementedError

    def _explain(self, group: ImageGroup) -> RawExplanation:
        score, images = group.score, group.images
        grid_size = as_grid(self.params.grid_size)
        size = (images.shape[-2], images.shape[-1])
        upsampler = GridUpsampler(grid_size, size, images)
        on_film = group.on_film
        grids = []
        for i, generator in enumerate(group.generators):
            moment = torch.zeros(grid_size, dtype=torch.float64, device=images.device)
            noise = _draw_perturbations(self.params, generator, images)
            for part in torch.split(noise, score.max_batch):
                perturbed = (images[i] + upsampler.upsample(part).unsqueeze(1)).clamp(0, 1)
                index = torch.full((len(part),), i, device=images.device)
                change = score(perturbed, index) - on_film[i]
                moment += torch.tensordot(change.double(), part.double(), dims=1)
            estimate = self._estimate((moment / self.params.n_samples).cpu().numpy())
            grids.append(torch.as_tensor(estimate, dtype=images.dtype, device=images.device))
        signed = upsampler.upsample(torch.stack(grids).unsqueeze(1))
        return RawExplanation(signed.abs(), None, {"signed": signed})


def _draw_perturbations(params: LEGParams, generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw ``z`` with covariance ``s2 * (D^T D + 11^T / p)``, the paper's scheme.

    ``D^T e`` has covariance ``D^T D = V Th^2 V^T`` for independent normal ``e``, one per edge of
    the grid, so no decomposition is needed.

    Args:
        params: Grid, number of samples, variance.
        generator: The image's own.
        like: Tensor that decides dtype and device.

    Returns:
        ``(n_samples, h, w)``.
    """
    n, (h, w) = params.n_samples, as_grid(params.grid_size)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)

    vertical, horizontal = normal(n, h - 1, w), normal(n, h, w - 1)
    z = normal(n, 1, 1).expand(n, h, w) / (h * w) ** 0.5
    z = z + torch.nn.functional.pad(vertical, (0, 0, 1, 0))
    z = z - torch.nn.functional.pad(vertical, (0, 0, 0, 1))
    z = z + torch.nn.functional.pad(horizontal, (1, 0, 0, 0))
    z = z - torch.nn.functional.pad(horizontal, (0, 1, 0, 0))
    scaled: Tensor = z * params.variance**0.5
    return scaled


def _laplacian_eigenvalues(shape: tuple[int, ...]) -> Grid:
    """Return the eigenvalues of ``D^T D``, which the cosine transform diagonalises."""
    h, w = (2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in shape)
    eigenvalues: Grid = h[:, None] + w[None, :]
    return eigenvalues


def _apply_spectrum(grid: Grid, spectrum: Grid) -> Grid:
    transformed = scipy.fft.dctn(grid, norm="ortho") * spectrum
    result: Grid = scipy.fft.idctn(transformed, norm="ortho")
    return result


class LEG(_LEGBase):
    """Estimate the best linear approximation of the score around the film.

    ``gamma = Sigma^-1 * (1/n) sum (f(x0 + z) - f(x0)) z`` on a grid; saliency is ``|gamma|``,
    upsampled; ``diagnostics["signed"]`` keeps the sign.
    """

    name: ClassVar[str] = "leg"
    source: ClassVar[Source] = Source(
        paper="luo2021leg",
        equations="Lemma 1, empirical estimate (3), perturbation scheme of section 4.2",
        deviations="perturbed films are clipped to [0, 1]; one gray channel",
    )
    params: LEGParams

    def _estimate(self, moment: Grid) -> Grid:
        eigenvalues = _laplacian_eigenvalues(moment.shape)
        eigenvalues[0, 0] = 1.0  # the 11^T / p direction
        return _apply_spectrum(moment, 1 / (self.params.variance * eigenvalues))


class LEGTV(_LEGBase):
    """Estimate the linear approximation with the fewest and smallest jumps on the grid.

    ``min |D g|_1  s.t.  |D^{+T} b - s2 * D g|_inf <= L``, a sparse linear program (the covariance
    of section 4.2 gives ``D^{+T} Sigma = s2 * D``). The mean, which the program leaves open, is
    the empirical LEG's.
    """

    name: ClassVar[str] = "leg_tv"
    source: ClassVar[Source] = Source(
        paper="luo2021leg",
        equations="Definition 2, program (4), L = K * L_max",
        deviations="solved by HiGHS instead of a commercial solver",
    )
    params: LEGTVParams

    def _estimate(self, moment: Grid) -> Grid:
        differences = _difference_matrix(*moment.shape)
        eigenvalues = _laplacian_eigenvalues(moment.shape)
        inverse = np.divide(1.0, eigenvalues, out=np.zeros_like(eigenvalues), where=eigenvalues > 0)
        inverse[0, 0] = 0.0
        edges = differences @ _apply_spectrum(moment, inverse).ravel()
        slack = self.params.tolerance * np.abs(edges).max()
        mean = moment.mean() / self.params.variance
        if slack == 0:
            return np.full_like(moment, mean)
        # In units of the largest edge, so that the solver's tolerances mean the same everywhere.
        unit = np.abs(edges).max() / self.params.variance
        low = (edges - slack) / (self.params.variance * unit)
        high = (edges + slack) / (self.params.variance * unit)
        n_edges, n_cells = differences.shape
        # d = D g is free of price inside [low, high]; u >= |d| is what is minimised.
        identity = scipy.sparse.identity(n_edges, format="csr")
        solution = scipy.optimize.linprog(
            c=np.concatenate([np.zeros(n_cells), np.ones(n_edges)]),
            A_ub=scipy.sparse.vstack(
                [
                    scipy.sparse.hstack([differences, -identity]),
                    scipy.sparse.hstack([-differences, -identity]),
                    scipy.sparse.hstack([differences, scipy.sparse.csr_matrix((n_edges,) * 2)]),
                    scipy.sparse.hstack([-differences, scipy.sparse.csr_matrix((n_edges,) * 2)]),
                ],
                format="csr",
            ),
            b_ub=np.concatenate([np.zeros(2 * n_edges), high, -low]),
            bounds=[(0, 0)] + [(None, None)] * (n_cells - 1) + [(0, None)] * n_edges,
            method="highs",
        )
        if not solution.success or solution.x is None:
            raise ExplanationError(
                f"leg_tv: the linear program was not solved ({solution.message});"
                " raise tolerance or n_samples"
            )
        grid = solution.x[:n_cells].reshape(moment.shape) * unit
        result: Grid = grid - grid.mean() + mean
        return result


def _difference_matrix(h: int, w: int) -> scipy.sparse.csr_matrix:
    """Return ``D``: one row per pair of neighbours on the grid, vertical pairs first."""
    down, right = (
        scipy.sparse.diags([-1.0, 1.0], [0, 1], shape=(side - 1, side)) for side in (h, w)
    )
    vertical = scipy.sparse.kron(down, scipy.sparse.identity(w))
    horizontal = scipy.sparse.kron(scipy.sparse.identity(h), right)
    return scipy.sparse.csr_matrix(scipy.sparse.vstack([vertical, horizontal]))
