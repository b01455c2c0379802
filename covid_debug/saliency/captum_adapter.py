"""Captum's methods under the explainer contract; the only module that imports Captum.

Owns the mapping of arguments, the guard around global random states and the sign of maps. Batching
of evaluations follows ``max_batch``; Captum's own defaults are never relied on.
"""

import random
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar

import captum.attr
import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, fx, nn

from covid_debug.errors import ExplanationError, InputContractError
from covid_debug.models.scoring import OutputScale, TargetScore
from covid_debug.ranges import check_choices, check_range
from covid_debug.saliency.base import Explainer, RawExplanation, Source
from covid_debug.saliency.captum_network import replace_max_pooling, trace_with_modules
from covid_debug.saliency.layer_rules import require_epsilon_rules, require_rescale_rules
from covid_debug.shapes import Images

Sign = Literal["signed", "positive", "absolute"]
MAX_COMPLETENESS_GAP = 0.01
"""Most that DeepLIFT's contributions may miss, as a share of the sum of their sizes."""


@dataclass(frozen=True)
class AttributionParams:
    """What every signed attribution needs.

    Attributes:
        sign: How the signed map becomes saliency: as it is (negative = evidence against), its
            positive part, or its absolute value. ``diagnostics["signed"]`` always keeps it.
    """

    sign: Sign = "absolute"

    def __post_init__(self) -> None:
        """Check the choices, and that every number is above 0."""
        check_choices(self)
        numbers = [name for name, value in vars(self).items() if isinstance(value, int | float)]
        check_range(self, "(0, inf)", *numbers)


@dataclass(frozen=True)
class ContributionParams(AttributionParams):
    """Attributions whose sign says for or against the target."""

    sign: Sign = "signed"


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
        segment_grid: Cells in both directions; each is one interpretable feature.
        n_samples: Perturbed images per film.
    """

    segment_grid: int = 7
    n_samples: int = 500


Q = TypeVar("Q", bound=AttributionParams)


class CaptumExplainer(Explainer[Q], Generic[Q]):
    """A signed attribution by Captum; the leaf computes it, this class applies the sign."""

    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    uses_baseline: ClassVar[bool] = False

    @abstractmethod
    def _attribute(
        self,
        score: TargetScore,
        images: Tensor,
        baseline: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Return the signed map ``(N, 1, H, W)``."""

    def _explain(
        self,
        score: TargetScore,
        images: Images,
        baseline: Images,
        generators: Sequence[torch.Generator],
    ) -> RawExplanation:
        with torch.set_grad_enabled(self.needs_gradient), _quiet():
            signed = self._attribute(score, images, baseline, generators)
        signed = signed.detach().to(images.dtype)
        saliency = {
            "signed": signed,
            "positive": signed.clamp(min=0),
            "absolute": signed.abs(),
        }[self.params.sign]
        return RawExplanation(saliency.clone(), None, {"signed": signed})


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Captum's notes about hooks and gradients that this module sets on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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


def _indices(images: Tensor) -> Tensor:
    return torch.arange(len(images), device=images.device)


def _score_of(score: TargetScore, index: int) -> Callable[[Tensor], Tensor]:
    """Return the score as a function of perturbed copies of one image."""
    return lambda perturbed: score(
        perturbed, torch.full((len(perturbed),), index, device=perturbed.device)
    )


class Gradient(CaptumExplainer[AttributionParams]):
    """The plain gradient of the score."""

    name: ClassVar[str] = "gradient"
    source: ClassVar[Source] = Source("simonyan2014", "class score derivative")
    params: AttributionParams

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,  # noqa: ARG002
        generators: Sequence[torch.Generator],  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        method = captum.attr.Saliency(score)
        signed: Tensor = method.attribute(
            images, abs=False, additional_forward_args=_indices(images)
        )
        return signed


class InputXGradient(CaptumExplainer[ContributionParams]):
    """Intensity times gradient."""

    name: ClassVar[str] = "input_x_gradient"
    source: ClassVar[Source] = Source("shrikumar2016", "input times gradient")
    params: ContributionParams

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,  # noqa: ARG002
        generators: Sequence[torch.Generator],  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        method = captum.attr.InputXGradient(score)
        signed: Tensor = method.attribute(images, additional_forward_args=_indices(images))
        return signed


class IntegratedGradients(CaptumExplainer[IntegratedGradientsParams]):
    """Gradients integrated along the straight line from the baseline to the film."""

    name: ClassVar[str] = "integrated_gradients"
    source: ClassVar[Source] = Source(
        "sundararajan2017", "path integral (1)", "Gauss-Legendre quadrature"
    )
    uses_baseline: ClassVar[bool] = True
    params: IntegratedGradientsParams

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,
        generators: Sequence[torch.Generator],  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        maps = [
            captum.attr.IntegratedGradients(_score_of(score, i)).attribute(
                images[i : i + 1],
                baselines=baseline[i : i + 1],
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

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,  # noqa: ARG002
        generators: Sequence[torch.Generator],
    ) -> Tensor:  # fmt: skip
        method = captum.attr.Saliency(score)
        maps = []
        for i, generator in enumerate(generators):
            shape = (self.params.n_samples, *images.shape[1:])
            noise = torch.randn(
                shape, generator=generator, device=images.device, dtype=images.dtype
            )
            total = torch.zeros_like(images[i])
            for part in torch.split(noise, score.max_batch):
                noisy = images[i] + self.params.noise_std * part
                index = torch.full((len(part),), i, device=images.device)
                gradient = method.attribute(noisy, abs=False, additional_forward_args=index)
                total += gradient.detach().sum(dim=0)
            maps.append(total / self.params.n_samples)
        return torch.stack(maps)


class Occlusion(CaptumExplainer[OcclusionParams]):
    """The fall of the score when a square shows the baseline, averaged over squares."""

    name: ClassVar[str] = "occlusion"
    source: ClassVar[Source] = Source(
        "zeiler2014", "sliding occlusion", "squares show the blurred film instead of gray"
    )
    needs_gradient: ClassVar[bool] = False
    uses_baseline: ClassVar[bool] = True
    params: OcclusionParams

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,
        generators: Sequence[torch.Generator],  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        window, stride = self.params.window_px, self.params.stride_px
        if window > min(images.shape[-2:]) or stride > window:
            raise InputContractError(
                f"occlusion: window_px is {window} and stride_px {stride} on images of"
                f" {tuple(images.shape[-2:])}; expected stride <= window <= image"
            )
        maps = [
            captum.attr.Occlusion(_score_of(score, i)).attribute(
                images[i : i + 1],
                sliding_window_shapes=(1, window, window),
                strides=(1, stride, stride),
                baselines=baseline[i : i + 1],
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

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:  # fmt: skip
        height, width = images.shape[-2:]
        side = self.params.segment_grid
        if side > min(height, width):
            raise InputContractError(
                f"{self.name}: segment_grid is {side} on images of {(height, width)};"
                " expected no more cells than pixels"
            )
        rows = torch.arange(height, device=images.device) * side // height
        columns = torch.arange(width, device=images.device) * side // width
        cells = (rows[:, None] * side + columns)[None, None]
        maps = []
        for i, generator in enumerate(generators):
            with _seeded(generator, images.device):
                signed = self._make(_score_of(score, i)).attribute(
                    images[i : i + 1],
                    baselines=baseline[i : i + 1],
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
        "ribeiro2016", "weighted local linear model", "grid cells instead of superpixels"
    )
    params: SurrogateParams

    def _make(self, forward: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
        return captum.attr.Lime(forward, interpretable_model=SkLearnRidge(alpha=1.0))


class KernelSHAP(_Surrogate):
    """Shapley values of grid cells by the kernel-weighted regression."""

    name: ClassVar[str] = "kernel_shap"
    source: ClassVar[Source] = Source("lundberg2017", "kernel SHAP, theorem 2", "grid cells")
    params: SurrogateParams

    def _make(self, forward: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
        method = captum.attr.KernelShap(forward)
        method.interpretable_model = SkLearnLinearRegression()
        return method


class LayerRule(CaptumExplainer[Q], Generic[Q]):
    """Methods with rules on layers: they start at the logit and run on a private traced copy."""

    fixed_scale: ClassVar[OutputScale | None] = "logit"

    def planes(self, score: TargetScore, images: Tensor) -> Tensor:
        """Return what the network itself sees, ``(N, channels, H, W)``; counts an evaluation."""
        classifier = score.classifier
        mean, std = classifier.get_buffer("_mean"), classifier.get_buffer("_std")
        score.n_evaluations += len(images)
        return (images - mean) / std

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor
    ) -> Tensor:
        raise NotImplementedError

    def _attribute(
        self, score: TargetScore, images: Tensor, baseline: Tensor,
        generators: Sequence[torch.Generator],  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        network = trace_with_modules(self.name, score.classifier.module)
        planes = self.planes(score, images)
        replaced = self.planes(score, baseline) if self.uses_baseline else planes
        signed = self._attribute_planes(network, planes, replaced, score.targets)
        return signed.sum(dim=1, keepdim=True)


class GuidedBackprop(LayerRule[AttributionParams]):
    """Gradients that pass a ReLU only where input and gradient are both positive."""

    name: ClassVar[str] = "guided_backprop"
    source: ClassVar[Source] = Source("springenberg2015", "guided ReLU rule")
    params: AttributionParams

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        _require_relu(self.name, network)
        signed: Tensor = captum.attr.GuidedBackprop(network).attribute(planes, target=targets)
        return signed


class Deconvolution(LayerRule[AttributionParams]):
    """Gradients that pass a ReLU only where the gradient is positive."""

    name: ClassVar[str] = "deconvolution"
    source: ClassVar[Source] = Source("zeiler2014", "deconvnet ReLU rule")
    params: AttributionParams

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        _require_relu(self.name, network)
        signed: Tensor = captum.attr.Deconvolution(network).attribute(planes, target=targets)
        return signed


class DeepLIFT(LayerRule[ContributionParams]):
    """Contributions of the differences from the baseline, by the rescale rule.

    ``diagnostics["completeness_gap"]`` is the sum of the map minus the difference of the logits.
    """

    name: ClassVar[str] = "deep_lift"
    source: ClassVar[Source] = Source(
        "shrikumar2017",
        "rescale rule",
        "a maximum is the tournament b + relu(a - b), so that contributions sum to the difference;"
        " networks with layers that have no rule are refused",
    )
    uses_baseline: ClassVar[bool] = True
    params: ContributionParams

    def _explain(
        self,
        score: TargetScore,
        images: Images,
        baseline: Images,
        generators: Sequence[torch.Generator],
    ) -> RawExplanation:
        raw = super()._explain(score, images, baseline, generators)
        signed = raw.diagnostics["signed"].flatten(1)
        index = _indices(images)
        gap = signed.sum(dim=1) - (score(images, index) - score(baseline, index))
        bad = (gap.abs() > MAX_COMPLETENESS_GAP * signed.abs().sum(dim=1) + 1e-6).nonzero()
        if len(bad):
            i = int(bad[0])
            raise ExplanationError(
                f"deep_lift: the contributions of an image miss the difference of its logits by"
                f" {float(gap[i]):.3g}, so a rule is wrong on this network; use"
                " integrated_gradients"
            )
        return replace(raw, diagnostics={**raw.diagnostics, "completeness_gap": gap})

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor
    ) -> Tensor:
        replace_max_pooling(network)
        require_rescale_rules(self.name, network)
        signed: Tensor = captum.attr.DeepLift(network).attribute(
            planes, baselines=baseline, target=targets
        )
        return signed


class LRP(LayerRule[ContributionParams]):
    """Relevance propagated backwards by the epsilon rule, sums included."""

    name: ClassVar[str] = "lrp"
    source: ClassVar[Source] = Source(
        "bach2015",
        "epsilon rule",
        "the input is the normalised film; residual sums and means share relevance by the same"
        " rule; networks with layers that have no rule are refused",
    )
    params: ContributionParams

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        require_epsilon_rules(self.name, network)
        for module in network.modules():
            is_leaf = not list(module.children())
            if is_leaf and not isinstance(module, nn.ReLU | nn.Dropout | nn.Tanh):
                # Captum knows few layer types; the epsilon rule needs nothing but autograd.
                module.rule = EpsilonRule()
        signed: Tensor = captum.attr.LRP(network).attribute(planes, target=targets)
        return signed


def _require_relu(name: str, network: nn.Module) -> None:
    if not any(isinstance(module, nn.ReLU) for module in network.modules()):
        raise InputContractError(
            f"{name}: the network has no ReLU, so this method would be the plain gradient;"
            " use 'gradient'"
        )
