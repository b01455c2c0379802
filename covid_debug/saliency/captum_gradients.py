"""Gradients of the score by Captum: plain, times the film, integrated, smoothed."""

from dataclasses import dataclass, replace
from typing import ClassVar

import captum.attr
import torch
from torch import Tensor

from covid_debug.saliency.base import ImageGroup, RawExplanation, Source
from covid_debug.saliency.captum_adapter import (
    AttributionParams,
    CaptumExplainer,
    ContributionParams,
    score_of,
)


@dataclass(frozen=True)
class IntegratedGradientsParams(ContributionParams):
    """Parameters of Integrated Gradients.

    Attributes:
        n_steps: Gauss-Legendre points on the path from the baseline.
    """

    n_steps: int = 50


@dataclass(frozen=True)
class SmoothGradParams(AttributionParams):
    """Parameters of SmoothGrad.

    Attributes:
        n_samples: Noisy copies per image.
        noise_std: Standard deviation in [0, 1] intensities; the paper uses 10 to 20 % of the range.
    """

    n_samples: int = 25
    noise_std: float = 0.1


class Gradient(CaptumExplainer[AttributionParams]):
    """The plain gradient of the score."""

    name: ClassVar[str] = "gradient"
    source: ClassVar[Source] = Source("simonyan2014", "class score derivative")
    params: AttributionParams

    def _attribute(self, group: ImageGroup) -> Tensor:
        method = captum.attr.Saliency(group.score)
        signed: Tensor = method.attribute(
            group.images, abs=False, additional_forward_args=group.index
        )
        return signed


class InputXGradient(CaptumExplainer[ContributionParams]):
    """Intensity times gradient."""

    name: ClassVar[str] = "input_x_gradient"
    source: ClassVar[Source] = Source("shrikumar2016", "input times gradient")
    params: ContributionParams

    def _attribute(self, group: ImageGroup) -> Tensor:
        method = captum.attr.InputXGradient(group.score)
        signed: Tensor = method.attribute(group.images, additional_forward_args=group.index)
        return signed


class IntegratedGradients(CaptumExplainer[IntegratedGradientsParams]):
    """Gradients integrated along the straight line from the baseline to the film.

    ``diagnostics["completeness_gap"]`` is the sum of the map minus the difference of the scores: 0
    but for the quadrature. Where it is not small beside ``score_gap``, raise ``n_steps``.
    """

    name: ClassVar[str] = "integrated_gradients"
    source: ClassVar[Source] = Source(
        "sundararajan2017", "path integral (1)", "Gauss-Legendre quadrature"
    )
    uses_baseline: ClassVar[bool] = True
    params: IntegratedGradientsParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        raw = super()._explain(group)
        score, index = group.score, group.index
        change = score(group.images, index) - score(group.baseline, index)
        gap = raw.diagnostics["signed"].flatten(1).sum(dim=1) - change
        return replace(raw, diagnostics={**raw.diagnostics, "completeness_gap": gap})

    def _attribute(self, group: ImageGroup) -> Tensor:
        score, images = group.score, group.images
        maps = [
            captum.attr.IntegratedGradients(score_of(score, i)).attribute(
                images[i : i + 1],
                baselines=group.baseline[i : i + 1],
                n_steps=self.params.n_steps,
                internal_batch_size=score.max_batch,
            )
            for i in range(len(images))
        ]
        return torch.cat(maps)


class SmoothGrad(CaptumExplainer[SmoothGradParams]):
    """Gradients averaged over noisy copies of the film."""

    name: ClassVar[str] = "smooth_grad"
    source: ClassVar[Source] = Source(
        "smilkov2017",
        "mean gradient over Gaussian noise",
        "noise from the image's own generator instead of Captum's global one",
    )
    stochastic: ClassVar[bool] = True
    params: SmoothGradParams

    def _attribute(self, group: ImageGroup) -> Tensor:
        score, images = group.score, group.images
        method = captum.attr.Saliency(score)
        maps = []
        for i, generator in enumerate(group.generators):
            total = torch.zeros_like(images[i])
            for start in range(0, self.params.n_samples, score.max_batch):
                n = min(score.max_batch, self.params.n_samples - start)
                # One by one, so that the draws do not depend on max_batch.
                draws = [torch.empty_like(images[i]).normal_(generator=generator) for _ in range(n)]
                noisy = images[i] + self.params.noise_std * torch.stack(draws)
                index = torch.full((n,), i, device=images.device)
                gradient = method.attribute(noisy, abs=False, additional_forward_args=index)
                total += gradient.detach().sum(dim=0)
            maps.append(total / self.params.n_samples)
        return torch.stack(maps)
