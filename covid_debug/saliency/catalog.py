"""Name -> explainer, with presets; the one place where methods are listed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from covid_debug.catalog import Catalog, check_fields
from covid_debug.saliency.area_path import AreaPath, AreaPathParams
from covid_debug.saliency.base import Explainer
from covid_debug.saliency.captum_adapter import AttributionParams, ContributionParams
from covid_debug.saliency.captum_gradients import (
    Gradient,
    GradientSHAP,
    GradientSHAPParams,
    InputXGradient,
    IntegratedGradients,
    IntegratedGradientsParams,
    SmoothGrad,
    SmoothGradParams,
)
from covid_debug.saliency.captum_layers import Deconvolution, DeepLIFT, GuidedBackprop
from covid_debug.saliency.captum_occlusion import (
    LIME,
    KernelSHAP,
    Occlusion,
    OcclusionParams,
    SurrogateParams,
)
from covid_debug.saliency.extremal import Extremal, ExtremalParams
from covid_debug.saliency.grad_cam import GradCAM, GradCAMParams, GradCAMPP
from covid_debug.saliency.igos import IGOS, IGOSParams
from covid_debug.saliency.igos_plus import IGOSPlus, IGOSPlusParams
from covid_debug.saliency.igos_pp import IGOSPP, IGOSPPParams
from covid_debug.saliency.leg import LEG, LEGTV, LEGParams, LEGTVParams
from covid_debug.saliency.lrp import LRP, ExcitationBackprop, ExcitationParams, LRPParams
from covid_debug.saliency.mask import Mask, MaskParams
from covid_debug.saliency.path_gradient import PathGradient, PathGradientParams
from covid_debug.saliency.rise import RISE, RISEParams
from covid_debug.saliency.score_cam import ScoreCAM


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry.

    Attributes:
        explainer: The method's class.
        params: Its parameter dataclass.
        preset: Parameter values that differ from the dataclass' defaults.
    """

    explainer: type[Explainer[Any]]
    params: type[Any]
    preset: Mapping[str, Any] = field(default_factory=dict)


_PUBLISHED_SEARCH: Mapping[str, Any] = {
    "optimizer": "line_search",
    "term_order": "joint",
    "quadrature": "riemann",
    "n_steps": 20,
    "n_iterations": 15,
    "step_size": None,
    "mask_form": "clamped",
    "n_start": 0,
    "tv_weight": 20.0,
    "noise_std": 0.045,
    "noise_rule": "fixed",
}
"""The papers' search, shared by I-GOS and iGOS++."""
_PUBLISHED_PP: Mapping[str, Any] = {**_PUBLISHED_SEARCH, "smoothness": "both"}
"""The form of iGOS++ that its authors run: plain and bilateral total variation averaged."""
_PUBLISHED_MASK: Mapping[str, Any] = {
    "optimizer": "adam",
    "step_size": 0.1,
    "quadrature": "end",
    "n_iterations": 500,
    "smoothness": "plain",
    "area_weight": 0.01,
    "tv_weight": 0.2,
    "noise_std": 0.0,
}
"""Mask as it is compared with I-GOS."""

EXPLAINERS: Catalog[Entry] = Catalog(
    "saliency.catalog",
    {
        "igos_pp": Entry(IGOSPP, IGOSPPParams),
        "igos_pp_published": Entry(IGOSPP, IGOSPPParams, _PUBLISHED_PP),
        "igos_plus": Entry(IGOSPlus, IGOSPlusParams),
        "igos_plus_published": Entry(IGOSPlus, IGOSPlusParams, _PUBLISHED_PP),
        "igos": Entry(IGOS, IGOSParams),
        "igos_published": Entry(
            IGOS, IGOSParams, {**_PUBLISHED_SEARCH, "search_objective": "mask"}
        ),
        "mask": Entry(Mask, MaskParams),
        "mask_published": Entry(Mask, MaskParams, _PUBLISHED_MASK),
        "area_path": Entry(AreaPath, AreaPathParams),
        "extremal": Entry(Extremal, ExtremalParams),
        "path_gradient": Entry(PathGradient, PathGradientParams),
        "rise": Entry(RISE, RISEParams),
        "leg": Entry(LEG, LEGParams),
        "leg_tv": Entry(LEGTV, LEGTVParams),
        "gradient": Entry(Gradient, AttributionParams),
        "input_x_gradient": Entry(InputXGradient, ContributionParams),
        "integrated_gradients": Entry(IntegratedGradients, IntegratedGradientsParams),
        "gradient_shap": Entry(GradientSHAP, GradientSHAPParams),
        "smooth_grad": Entry(SmoothGrad, SmoothGradParams),
        "guided_backprop": Entry(GuidedBackprop, AttributionParams),
        "deconvolution": Entry(Deconvolution, AttributionParams),
        "deep_lift": Entry(DeepLIFT, ContributionParams),
        "lrp": Entry(LRP, LRPParams),
        "excitation_backprop": Entry(ExcitationBackprop, ExcitationParams),
        "occlusion": Entry(Occlusion, OcclusionParams),
        "lime": Entry(LIME, SurrogateParams),
        "kernel_shap": Entry(KernelSHAP, SurrogateParams),
        "grad_cam": Entry(GradCAM, GradCAMParams),
        "grad_cam_pp": Entry(GradCAMPP, GradCAMParams),
        "score_cam": Entry(ScoreCAM, GradCAMParams),
    },
)


def build_explainer(name: str, **params: Any) -> Explainer[Any]:  # noqa: ANN401
    """Build an explainer by name.

    Args:
        name: Key of :data:`EXPLAINERS`.
        params: Fields of the method's parameter dataclass; the others keep the preset's values.

    Returns:
        The explainer; picklable, without a model.

    Raises:
        CatalogError: If the name is unknown.
        ConfigError: If a parameter is not a field of the method's dataclass.
    """
    entry = EXPLAINERS[name]
    check_fields(params, entry.params, "saliency.catalog")
    return entry.explainer(entry.params(**{**entry.preset, **params}))
