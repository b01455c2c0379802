"""Methods by Captum that hide parts of the film: occlusion, LIME, kernel SHAP.

Owns the guard around the global random states that Captum's surrogates draw from.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import captum.attr
import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.perturbation.upsampling import GridSize, as_grid
from covid_debug.ranges import check_range
from covid_debug.saliency.base import ImageGroup, Source
from covid_debug.saliency.captum_adapter import CaptumExplainer, ContributionParams, score_of


@dataclass(frozen=True)
class OcclusionParams(ContributionParams):
    """Parameters of occlusion.

    Attributes:
        window_px: Side of the square that shows the baseline.
        stride_px: Step between squares.
    """

    window_px: int = 32
    stride_px: int = 16


@dataclass(frozen=True)
class SurrogateParams(ContributionParams):
    """Parameters of LIME and kernel SHAP.

    Attributes:
        segment_grid: Cells in both directions, or rows and columns; each is one interpretable
            feature.
        n_samples: Perturbed images per film.
    """

    segment_grid: GridSize = 7
    n_samples: int = 500

    def __post_init__(self) -> None:
        """Check the choices and the ranges."""
        as_grid(self.segment_grid)
        check_range(self, "[1, inf)", "segment_grid")
        super().__post_init__()


@contextmanager
def _seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Give one image's seed to torch, numpy and ``random``, and put their states back."""
    seed = generator.initial_seed() % 2**32
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


class Occlusion(CaptumExplainer[OcclusionParams]):
    """The fall of the score when a square shows the baseline, averaged over squares."""

    name: ClassVar[str] = "occlusion"
    source: ClassVar[Source] = Source(
        "zeiler2014", "sliding occlusion", "squares show the blurred film instead of gray"
    )
    needs_gradient: ClassVar[bool] = False
    uses_baseline: ClassVar[bool] = True
    params: OcclusionParams

    def _attribute(self, group: ImageGroup) -> Tensor:
        score, images = group.score, group.images
        window, stride = self.params.window_px, self.params.stride_px
        if window > min(images.shape[-2:]) or stride > window:
            raise InputContractError(
                f"occlusion: window_px is {window} and stride_px {stride} on images of"
                f" {tuple(images.shape[-2:])}; expected stride <= window <= image"
            )
        maps = [
            captum.attr.Occlusion(score_of(score, i)).attribute(
                images[i : i + 1],
                sliding_window_shapes=(1, window, window),
                strides=(1, stride, stride),
                baselines=group.baseline[i : i + 1],
                perturbations_per_eval=score.max_batch,
            )
            for i in range(len(images))
        ]
        return torch.cat(maps)


class _Surrogate(CaptumExplainer[SurrogateParams]):
    """A linear model of the score over grid cells that show the film or the baseline."""

    needs_gradient: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    uses_baseline: ClassVar[bool] = True

    def _make(self, forward: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
        raise NotImplementedError

    def _attribute(self, group: ImageGroup) -> Tensor:
        score, images = group.score, group.images
        height, width = images.shape[-2:]
        down, right = as_grid(self.params.segment_grid)
        if down > height or right > width:
            raise InputContractError(
                f"{self.name}: segment_grid is {self.params.segment_grid} on images of"
                f" {(height, width)}; expected no more cells than pixels"
            )
        rows = torch.arange(height, device=images.device) * down // height
        columns = torch.arange(width, device=images.device) * right // width
        cells = (rows[:, None] * right + columns)[None, None]
        maps = []
        for i, generator in enumerate(group.generators):
            with _seeded(generator, images.device):
                signed = self._make(score_of(score, i)).attribute(
                    images[i : i + 1],
                    baselines=group.baseline[i : i + 1],
                    feature_mask=cells,
                    n_samples=self.params.n_samples,
                    perturbations_per_eval=score.max_batch,
                )
            maps.append(signed)
        return torch.cat(maps)


class LIME(_Surrogate):
    """A ridge regression over grid cells, weighted by closeness to the film."""

    name: ClassVar[str] = "lime"
    source: ClassVar[Source] = Source(
        "ribeiro2016",
        "weighted local linear model",
        "grid cells instead of superpixels; ridge regression on all of them (Captum's kernel)"
        " instead of K-LASSO; hidden cells show the baseline",
    )
    params: SurrogateParams

    def _make(self, forward: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
        return captum.attr.Lime(forward, interpretable_model=SkLearnRidge(alpha=1.0))


class KernelSHAP(_Surrogate):
    """Shapley values of grid cells by the kernel-weighted regression."""

    name: ClassVar[str] = "kernel_shap"
    source: ClassVar[Source] = Source(
        "lundberg2017",
        "kernel SHAP, theorem 2",
        "grid cells; hidden ones show the baseline instead of films of a background set",
    )
    params: SurrogateParams

    def _make(self, forward: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
        method = captum.attr.KernelShap(forward)
        method.interpretable_model = SkLearnLinearRegression()
        return method
