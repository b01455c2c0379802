"""Mask: the meaningful perturbation of Fong and Vedaldi."""

from dataclasses import dataclass
from typing import ClassVar

from covid_debug.saliency.base import Source
from covid_debug.saliency.mask_params import Quadrature, Smoothness
from covid_debug.saliency.mask_search import SHARED_DEVIATIONS
from covid_debug.saliency.single_mask import SingleMaskExplainer, SingleMaskParams


@dataclass(frozen=True)
class MaskParams(SingleMaskParams):
    """Parameters of Mask: ordinary gradients, Adam, many iterations, light prices."""

    n_iterations: int = 500
    n_steps: int = 1
    quadrature: Quadrature = "end"
    smoothness: Smoothness = "plain"
    area_weight: float | None = 0.01
    tv_weight: float = 0.2
    noise_std: float = 0.0


class Mask(SingleMaskExplainer[MaskParams]):
    """Find a small smooth region whose removal loses the class, by plain gradients.

    Minimises ``f(Phi(I, B, M)) + l1 * mean|1 - M| + l2 * TV(M)``.
    """

    name: ClassVar[str] = "mask"
    source: ClassVar[Source] = Source(
        paper="fong2017mask",
        equations="the deletion objective with total variation",
        deviations="Starts from a mask of ones instead of the best blurred disc, without jitter and"
        " with total variation of power 2, as in the comparison of [qi2020igos]. Preset"
        " mask_published pins the constants that are compared there; the default has the same."
        f" {SHARED_DEVIATIONS}",
    )
    params: MaskParams
