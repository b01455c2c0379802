"""Gradients of the score by Captum: plain, times the film, integrated, expected, smoothed."""

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

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
class GradientSHAPParams(ContributionParams):
    """Parameters of GradientSHAP.

    Attributes:
        n_samples: Random films, baselines and points between them per image.
        noise_std: Standard deviation of the noise on film and baseline, in [0, 1] intensities. Many
            radiograph classifiers lose the class under more, which ``completeness_gap`` says.
    """

    n_samples: int = 50
    noise_std: float = 0.01


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
    source: ClassVar[Source] = Source(
        "simonyan2014",
        "class score derivative",
        "of the score on the asked scale, by default the probability instead of the logit; the"
        " planes of a network are one gray plane, so their gradients are summed",
    )
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


Q = TypeVar("Q", bound=ContributionParams)


class _Complete(CaptumExplainer[Q]):
    """Methods whose map should sum to the difference of the scores of film and baseline."""

    uses_baseline: ClassVar[bool] = True

    def _explain(self, group: ImageGroup) -> RawExplanation:
        raw = super()._explain(group)
        change = group.on_film - group.on_baseline
        gap = raw.diagnostics["signed"].flatten(1).sum(dim=1) - change
        return replace(raw, diagnostics={**raw.diagnostics, "completeness_gap": gap})


class IntegratedGradients(_Complete[IntegratedGradientsParams]):
    """Gradients integrated along the straight line from the baseline to the film.

    ``diagnostics["completeness_gap"]`` is the sum of the map minus the difference of the scores: 0
    but for the quadrature. Where it is not small beside ``score_gap``, raise ``n_steps``.
    """

    name: ClassVar[str] = "integrated_gradients"
    source: ClassVar[Source] = Source(
        "sundararajan2017", "path integral (1)", "Gauss-Legendre quadrature"
    )
    params: IntegratedGradientsParams

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


class GradientSHAP(_Complete[GradientSHAPParams]):
    """Gradients expected at random points between noisy films and noisy baselines.

    The mean over samples of ``grad f(B' + t * (I' - B')) * (I' - B')`` with ``I'`` the film and
    ``B'`` the baseline, each with noise of its own, and ``t`` in (0, 1).
    ``diagnostics["completeness_gap"]`` is the sum of the map minus the difference of the scores
    without noise: the error of the sampling and what the noise does to the scores.
    """

    name: ClassVar[str] = "gradient_shap"
    source: ClassVar[Source] = Source(
        "lundberg2017",
        "expected gradients over random baselines, as in the authors' library and Captum",
        "baselines are the one baseline with noise instead of films of a background set, so that a"
        " film's map is its own; t is drawn once in each of n_samples equal parts; noise from the"
        " image's own generator instead of global ones",
    )
    stochastic: ClassVar[bool] = True
    params: GradientSHAPParams

    def _attribute(self, group: ImageGroup) -> Tensor:
        p, score, images = self.params, group.score, group.images
        method = captum.attr.Saliency(score)
        most = score.max_batch  # the score may halve its own on the way
        maps = []
        for i, generator in enumerate(group.generators):
            total = torch.zeros_like(images[i])
            for start in range(0, p.n_samples, most):
                n = min(most, p.n_samples - start)
                points, changes = [], []
                for k in range(start, start + n):  # one by one: not dependent on max_batch
                    ends = torch.stack([images[i], group.baseline[i]])
                    ends += p.noise_std * torch.empty_like(ends).normal_(generator=generator)
                    shift = images.new_empty(()).uniform_(generator=generator)
                    changes.append(ends[0] - ends[1])
                    points.append(ends[1] + (k + shift) / p.n_samples * changes[-1])
                index = torch.full((n,), i, device=images.device)
                slopes = method.attribute(
                    torch.stack(points), abs=False, additional_forward_args=index
                )
                total += (slopes.detach() * torch.stack(changes)).sum(dim=0)
            maps.append(total / p.n_samples)
        return torch.stack(maps)


class SmoothGrad(CaptumExplainer[SmoothGradParams]):
    """Gradients averaged over noisy copies of the film."""

    name: ClassVar[str] = "smooth_grad"
    source: ClassVar[Source] = Source(
        "smilkov2017",
        "mean gradient over Gaussian noise",
        "of the score on the asked scale, by default the probability; 25 copies; noise from the"
        " image's own generator instead of Captum's global one",
    )
    stochastic: ClassVar[bool] = True
    params: SmoothGradParams

    def _attribute(self, group: ImageGroup) -> Tensor:
        score, images = group.score, group.images
        method = captum.attr.Saliency(score)
        most = score.max_batch  # the score may halve its own on the way
        maps = []
        for i, generator in enumerate(group.generators):
            total = torch.zeros_like(images[i])
            for start in range(0, self.params.n_samples, most):
                n = min(most, self.params.n_samples - start)
                # One by one, so that the draws do not depend on max_batch.
                draws = [torch.empty_like(images[i]).normal_(generator=generator) for _ in range(n)]
                noisy = images[i] + self.params.noise_std * torch.stack(draws)
                index = torch.full((n,), i, device=images.device)
                gradient = method.attribute(noisy, abs=False, additional_forward_args=index)
                total += gradient.detach().sum(dim=0)
            maps.append(total / self.params.n_samples)
        return torch.stack(maps)
