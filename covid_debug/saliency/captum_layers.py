"""Methods by Captum with rules on layers: guided backpropagation, deconvolution, DeepLIFT.

They start at the logit and run on a private traced copy of the network; which layers have rules
is decided in ``layer_rules``.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import captum.attr
import torch
from torch import Tensor, fx, nn

from covid_debug.errors import ExplanationError, InputContractError
from covid_debug.models.scoring import OutputScale, TargetScore
from covid_debug.saliency.base import ImageGroup, RawExplanation, Source
from covid_debug.saliency.captum_adapter import (
    AttributionParams,
    CaptumExplainer,
    ContributionParams,
)
from covid_debug.saliency.captum_network import (
    copy_without_inplace,
    replace_max_pooling,
    trace_with_modules,
)
from covid_debug.saliency.layer_rules import require_rescale_rules

_MAX_LOGIT_DIFFERENCE = 0.002
"""Largest difference of a traced copy's logits, as a share of the largest logit."""
_MAX_COMPLETENESS_GAP = 0.01
"""Most that DeepLIFT's contributions may miss, as a share of the sum of their sizes."""

Q = TypeVar("Q", bound=AttributionParams)


def require_same_logits(name: str, found: Tensor, network: nn.Module, planes: Tensor) -> None:
    """Refuse a rewritten network that is not the one it stands for, on the films it explains.

    Tracing reads what layers are, not what a patched method or a hook makes of them.

    Args:
        name: Method, for the message.
        found: Logits of the rewritten network.
        network: Copied without tracing for the comparison; left as it is.
        planes: What the network sees.

    Raises:
        ExplanationError: If logits differ by more than rounding.
    """
    with torch.no_grad():
        expected = copy_without_inplace(network).eval()(planes)
        off = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if not float(off) <= _MAX_LOGIT_DIFFERENCE:
        raise ExplanationError(
            f"{name}: the traced copy's logits are off by {float(off):.1%}, so a patched method or"
            " hook of the network was lost; use a method without layer rules, such as"
            " integrated_gradients"
        )


class LayerRule(CaptumExplainer[Q], Generic[Q]):
    """Methods with rules on layers: they start at the logit and run on a private traced copy."""

    fixed_scale: ClassVar[OutputScale | None] = "logit"

    def planes(self, score: TargetScore, images: Tensor) -> Tensor:
        """Return what the network itself sees, ``(N, channels, H, W)``; counts an evaluation."""
        score.n_evaluations += len(images)
        planes = score.classifier.normalise(images)
        return planes.double() if score.classifier.dtype == torch.float64 else planes.float()

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor
    ) -> Tensor:
        raise NotImplementedError

    def _attribute(self, group: ImageGroup) -> Tensor:
        score = group.score
        network = trace_with_modules(self.name, score.classifier.module)
        planes = self.planes(score, group.images)
        replaced = self.planes(score, group.baseline) if self.uses_baseline else planes
        # A method with a baseline passes film and baseline through the network together.
        n = max(1, score.max_batch // 2) if self.uses_baseline else score.max_batch
        some = [slice(start, start + n) for start in range(0, len(planes), n)]
        with torch.no_grad():
            logits = torch.cat([network(planes[part]) for part in some])
        require_same_logits(self.name, logits, score.classifier.module, planes)
        parts = [
            self._attribute_planes(network, planes[part], replaced[part], score.targets[part])
            for part in some
        ]
        return torch.cat(parts).sum(dim=1, keepdim=True)


class _ReLURule(LayerRule[AttributionParams]):
    """Gradients with another rule for ReLUs, without which it would be the plain gradient."""

    method: ClassVar[Callable[[nn.Module], Any]]
    params: AttributionParams

    def _attribute_planes(
        self, network: fx.GraphModule, planes: Tensor, baseline: Tensor, targets: Tensor  # noqa: ARG002
    ) -> Tensor:  # fmt: skip
        if not any(isinstance(module, nn.ReLU) for module in network.modules()):
            raise InputContractError(
                f"{self.name}: the network has no ReLU, so this method would be the plain gradient;"
                " use 'gradient'"
            )
        signed: Tensor = type(self).method(network).attribute(planes, target=targets)
        return signed


class GuidedBackprop(_ReLURule):
    """Gradients that pass a ReLU only where input and gradient are both positive."""

    name: ClassVar[str] = "guided_backprop"
    source: ClassVar[Source] = Source("springenberg2015", "guided ReLU rule")
    method = captum.attr.GuidedBackprop


class Deconvolution(_ReLURule):
    """Gradients that pass a ReLU only where the gradient is positive."""

    name: ClassVar[str] = "deconvolution"
    source: ClassVar[Source] = Source(
        "zeiler2014",
        "deconvnet ReLU rule",
        "starts at the logit instead of one activation of a feature map",
    )
    method = captum.attr.Deconvolution


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

    def _explain(self, group: ImageGroup) -> RawExplanation:
        raw = super()._explain(group)
        signed = raw.diagnostics["signed"].flatten(1)
        score = group.score
        network = copy_without_inplace(score.classifier.module)
        ends = [network(self.planes(score, x)) for x in (group.images, group.baseline)]
        change = (ends[0] - ends[1]).gather(1, score.targets[:, None])[:, 0]
        gap = signed.sum(dim=1) - change
        bad = (gap.abs() > _MAX_COMPLETENESS_GAP * signed.abs().sum(dim=1) + 1e-6).nonzero()
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
