"""One row per catalogue entry: small parameters that keep the contract suite quick."""

from collections.abc import Mapping
from typing import Any

SEARCH: Mapping[str, Any] = {"grid_size": 6, "n_iterations": 4, "area_weight": 0.1}

CASES: dict[str, Mapping[str, Any]] = {
    "igos_pp": SEARCH,
    "igos_pp_published": {**SEARCH, "n_steps": 3, "n_iterations": 2},
    "igos_plus": SEARCH,
    "igos_plus_published": {**SEARCH, "n_steps": 3, "n_iterations": 2},
    "igos": SEARCH,
    "igos_published": {**SEARCH, "n_steps": 3, "n_iterations": 2},
    "mask": {**SEARCH, "area_weight": 0.01},
    "mask_published": {**SEARCH, "area_weight": 0.01},
    "area_path": {"grid_size": 6, "n_start": 3, "n_iterations": 4},
    "extremal": {"grid_size": 6, "n_iterations": 4, "areas": (0.1, 0.3)},
    "path_gradient": {"grid_size": 6, "n_steps": 5},
    "rise": {"n_masks": 20, "mask_grid": 4},
    "leg": {"grid_size": 5, "n_samples": 20},
    "leg_tv": {"grid_size": 5, "n_samples": 20},
    "gradient": {},
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 5},
    "gradient_shap": {"n_samples": 5},
    "smooth_grad": {"n_samples": 5},
    "guided_backprop": {},
    "deconvolution": {},
    "deep_lift": {},
    "lrp": {},
    "excitation_backprop": {},
    "occlusion": {"window_px": 6, "stride_px": 3},
    "lime": {"segment_grid": 3, "n_samples": 20},
    "kernel_shap": {"segment_grid": 3, "n_samples": 20},
    "grad_cam": {"target_layer": "conv2"},
    "grad_cam_pp": {"target_layer": "conv2"},
    "score_cam": {"target_layer": "conv2"},
}
