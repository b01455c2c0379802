"""Grad-CAM and Grad-CAM++: one layer's maps, weighted by their gradients."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import OutputScale
from covid_debug.saliency.base import ImageGroup, Source
from covid_debug.saliency.captum_adapter import AttributionParams, CaptumExplainer, Sign
from covid_debug.saliency.feature_maps import Features, find_target_layer, read_features


@dataclass(frozen=True)
class GradCAMParams(AttributionParams):
    """Parameters of the methods on one layer's maps.

    Attributes:
        target_layer: Dotted name of a layer of the classifier's network; None: what
            :func:`~covid_debug.saliency.feature_maps.find_target_layer` finds, for one evaluation
            more; the explanation's ``params`` name it.
        sign: The published map is the positive part.
    """

    target_layer: str | None = None
    sign: Sign = "positive"


class LayerMaps(CaptumExplainer[GradCAMParams]):
    """A weighted sum of one layer's maps, upsampled bilinearly about the centres of its cells."""

    n_settling: ClassVar[int] = 1
    params: GradCAMParams

    def _settle(self, classifier: Classifier) -> GradCAMParams:
        if self.params.target_layer is not None:
            return self.params
        return replace(self.params, target_layer=find_target_layer(classifier, self.name))

    def _attribute(self, group: ImageGroup) -> Tensor:
        features = read_features(
            self.name, group, str(self.params.target_layer), with_gradient=self.needs_gradient
        )
        weights = self._weigh(features, group)[:, :, None, None]
        signed = (weights * features.maps).sum(dim=1, keepdim=True)
        return enlarge(signed, group.images)

    @abstractmethod
    def _weigh(self, features: Features, group: ImageGroup) -> Float[Tensor, "N C"]:
        """Return the weight of each channel's map."""


def enlarge(maps: Tensor, images: Tensor) -> Tensor:
    """Return maps at image size: bilinear, a cell's value in the middle of its pixels."""
    size = (images.shape[-2], images.shape[-1])
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


LAYOUT = (
    "cells are upsampled about their centres; features whose channels come last are turned;"
    " tokens are laid out on their grid, without the class token"
)


class GradCAM(LayerMaps):
    """Activations of one layer, weighted by their mean gradients, upsampled bilinearly."""

    name: ClassVar[str] = "grad_cam"
    source: ClassVar[Source] = Source("selvaraju2017", "weights (1), positive map (2)", LAYOUT)
    fixed_scale: ClassVar[OutputScale | None] = "logit"

    def _weigh(self, features: Features, group: ImageGroup) -> Float[Tensor, "N C"]:  # noqa: ARG002
        return features.gradient.mean(dim=(2, 3))


class GradCAMPP(LayerMaps):
    """Activations of one layer, weighted by the positive gradients of the exponential score.

    With ``g`` the gradient of the logit and ``A`` the activations, a channel's weight is
    ``sum_ij alpha_ij * relu(g_ij)`` with ``alpha = g**2 / (2 * g**2 + sum(A) * g**3)``: the second
    and third derivatives of ``exp(logit)`` are powers of ``g`` where ReLUs follow the layer, and
    the exponential itself, a factor of the whole map, is left out. Unlike Grad-CAM's, the map's
    shape depends on the unit of the logits.
    """

    name: ClassVar[str] = "grad_cam_pp"
    source: ClassVar[Source] = Source(
        "chattopadhay2018",
        "weights and their alphas for an exponential score, by powers of the first gradient;"
        " positive map",
        "the factor exp(logit) is left out; alphas are not scaled to a sum of 1, as the authors'"
        " code does and the equations do not; sum(A) is that of the positive activations, the same"
        f" behind a ReLU, because the alphas have poles at others; {LAYOUT}",
    )
    fixed_scale: ClassVar[OutputScale | None] = "logit"

    def _weigh(self, features: Features, group: ImageGroup) -> Float[Tensor, "N C"]:  # noqa: ARG002
        # Where g is positive, g**2 / (2 * g**2 + sum(A) * g**3) is 1 / (2 + sum(A) * g).
        rise = features.gradient.clamp(min=0)
        total = features.maps.clamp(min=0).sum(dim=(2, 3), keepdim=True)
        return (rise / (2 + total * rise)).sum(dim=(2, 3))
