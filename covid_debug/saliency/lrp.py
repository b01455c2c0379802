"""Relevance propagated layer by layer: LRP's composites, and excitation backprop."""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, fx

from covid_debug.errors import ExplanationError
from covid_debug.saliency.base import ImageGroup, RawExplanation, Source
from covid_debug.saliency.captum_adapter import AttributionParams, ContributionParams
from covid_debug.saliency.captum_layers import LayerRule, require_same_logits
from covid_debug.saliency.captum_network import trace_with_modules
from covid_debug.saliency.relevance import Composite, Relevance, propagate
from covid_debug.saliency.relevance_graph import canonise
from covid_debug.saliency.relevance_rules import alpha_beta, epsilon, excitation, gamma, plus

CompositeName = Literal["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_box"]

COMPOSITES: dict[CompositeName, Composite] = {
    "epsilon": Composite(epsilon, epsilon, takes_norms=True),
    "epsilon_plus": Composite(plus, epsilon),
    "epsilon_alpha2_beta1": Composite(alpha_beta, epsilon),
    "epsilon_gamma_box": Composite(gamma, epsilon, first="box", takes_norms=True),
}
"""Named as in zennit's documentation; *epsilon* is the rule of linear layers."""
_EXCITATION = Composite(excitation, excitation, first="low", is_probability=True)
_MAX_GAP = 0.01
"""Most relevance that may be lost, as a share of the sum of its sizes."""

Q = TypeVar("Q", bound=AttributionParams)


@dataclass(frozen=True)
class LRPParams(ContributionParams):
    """Parameters of LRP.

    Attributes:
        composite: Which rule which layers get.
    """

    composite: CompositeName = "epsilon"


@dataclass(frozen=True)
class ExcitationParams(ContributionParams):
    """Parameters of excitation backprop.

    Attributes:
        contrastive: Take off the map of what speaks against the class.
    """

    contrastive: bool = True


class _Propagated(LayerRule[Q], Generic[Q]):
    """Methods that propagate relevance through a canonised copy of the network."""

    def _canonise(self, group: ImageGroup) -> tuple[fx.GraphModule, Tensor]:
        network = trace_with_modules(self.name, group.score.classifier.module)
        canonise(network)
        for parameter in network.parameters():
            parameter.requires_grad = False
        return network, self.planes(group.score, group.images)

    def _propagate(
        self, group: ImageGroup, network: fx.GraphModule, planes: Tensor, composite: Composite,
        *, against: bool = False,
    ) -> Relevance:  # fmt: skip
        black = torch.zeros_like(group.images[:1, :, :1, :1])
        ends = [group.score.classifier.normalise(black + value).to(planes) for value in (0.0, 1.0)]
        group.score.n_evaluations += len(planes)
        found = propagate(
            self.name, network, planes, group.score.targets, composite, (ends[0], ends[1]),
            against=against,
        )  # fmt: skip
        require_same_logits(self.name, found.logits, group.score.classifier.module, planes)
        return found


class LRP(_Propagated[LRPParams]):
    """Relevance propagated backwards through a network with folded batch norms.

    ``diagnostics["absorbed"]`` is the relevance that biases keep: the map's sum and it are the
    logit. What else is missing is ``diagnostics["completeness_gap"]``; maps that lose more than
    1 % are refused.
    """

    name: ClassVar[str] = "lrp"
    source: ClassVar[Source] = Source(
        "bach2015",
        "(58) epsilon, (60) alpha-beta; composites of montavon2019 and kohlbrenner2020",
        "epsilon is 0; the input is the normalised film; batch norms are folded, one in front of"
        " ReLU and convolution into that convolution; linear convolutions in a row are one;"
        " residual sums and averages get the rule of convolutions; contributions of one sign share"
        " all relevance in alpha-beta and in plus; gamma is .25 everywhere and follows the output's"
        " sign (andeol2021); gates, the factors of SiLU, GELU and Hardswish, deviations of layer"
        " norms and attention weights are constants (ali2022); other layers are refused",
    )
    params: LRPParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        network, planes = self._canonise(group)
        found = self._propagate(group, network, planes, COMPOSITES[self.params.composite])
        signed = found.planes.sum(dim=1, keepdim=True)
        total = found.logits.gather(1, group.score.targets[:, None])[:, 0]
        gap = signed.flatten(1).sum(dim=1) + found.absorbed - total
        size = signed.flatten(1).abs().sum(dim=1) + found.absorbed.abs() + total.abs()
        bad = (gap.abs() > _MAX_GAP * size).nonzero()
        if len(bad):
            i = int(bad[0])
            raise ExplanationError(
                f"lrp: relevance {float(gap[i]):.3g} of a logit of {float(total[i]):.3g} is lost,"
                " so a rule is wrong on this network; use integrated_gradients"
            )
        raw = self._show(signed, group)
        dtype = group.images.dtype
        more = {"absorbed": found.absorbed.to(dtype), "completeness_gap": gap.to(dtype)}
        return RawExplanation(raw.saliency, None, {**raw.diagnostics, **more})


class ExcitationBackprop(_Propagated[ExcitationParams]):
    """The probability of winning, dealt out backwards to excitatory inputs only.

    ``diagnostics["unreached"]`` is the probability that came to no pixel: 0 but for units without
    an excited input. The contrastive map is the difference of two such maps.
    """

    name: ClassVar[str] = "excitation_backprop"
    source: ClassVar[Source] = Source(
        "zhang2018excitation",
        "winning probabilities (2) of excitatory connections, contrastive map",
        "down to the pixels, whose intensities above black excite; where activations or outputs"
        " are negative, in linear stretches, SiLU or Hardswish, contributions of the output's sign"
        " excite it; residual sums and averages deal out by the same shares; gates are constants;"
        " a norm with one input passes all on; the maps of the contrast are taken off at the"
        " pixels, which is the same as below the logits; other layers are refused",
    )
    params: ExcitationParams

    def _explain(self, group: ImageGroup) -> RawExplanation:
        network, planes = self._canonise(group)
        found = self._propagate(group, network, planes, _EXCITATION).planes
        unreached = 1 - found.flatten(1).sum(dim=1)
        if self.params.contrastive:
            found = (
                found - self._propagate(group, network, planes, _EXCITATION, against=True).planes
            )
        raw = self._show(found.sum(dim=1, keepdim=True), group)
        return RawExplanation(
            raw.saliency, None, {**raw.diagnostics, "unreached": unreached.to(raw.saliency)}
        )
