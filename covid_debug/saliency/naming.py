"""What people call a saliency method, and what its map shows, in words."""

from collections.abc import Sequence

_TITLES = {
    "igos_pp": "iGOS++",
    "igos_pp_published": "iGOS++ (published)",
    "igos_plus": "iGOS+",
    "igos_plus_published": "iGOS+ (published)",
    "igos": "I-GOS",
    "igos_published": "I-GOS (published)",
    "mask_published": "mask (published)",
    "rise": "RISE",
    "leg": "LEG",
    "leg_tv": "LEG-TV",
    "smooth_grad": "SmoothGrad",
    "deep_lift": "DeepLIFT",
    "lrp": "LRP",
    "lime": "LIME",
    "kernel_shap": "kernel SHAP",
    "gradient_shap": "GradientSHAP",
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "score_cam": "Score-CAM",
}
_BOTH = "a small smooth place without which the class is lost and which alone keeps it"
_REMOVED = "a small smooth place without which the class is lost"
_MEANINGS = {
    "igos_pp": _BOTH,
    "igos_pp_published": _BOTH,
    "igos_plus": _BOTH,
    "igos_plus_published": _BOTH,
    "igos": _REMOVED,
    "igos_published": _REMOVED,
    "mask": _REMOVED,
    "mask_published": _REMOVED,
    "area_path": "all places in the order in which removing them loses the class, and revealing"
    " them regains it, soonest",
    "path_gradient": "the slope of the score in each place, averaged on the way from nothing to"
    " the film",
    "extremal": "the smooth places of a few fixed areas that keep the class best, averaged",
    "rise": "the score, averaged over random masks that leave a place visible",
    "leg": "the linear approximation of the score around the film",
    "leg_tv": "the linear approximation of the score around the film, with few jumps",
    "gradient": "the slope of the score in each pixel",
    "input_x_gradient": "intensity times slope in each pixel",
    "integrated_gradients": "what each pixel adds to the score on the way from nothing to the film",
    "gradient_shap": "what each pixel adds to the score at random points between nothing and noisy"
    " copies of the film",
    "smooth_grad": "the slope of the score in each pixel, averaged over noisy copies of the film",
    "guided_backprop": "the slope of the score in each pixel by positive signals and slopes alone;"
    " it favours edges",
    "deconvolution": "the slope of the score in each pixel by positive slopes alone",
    "deep_lift": "what each pixel's difference from nothing adds to the score, dealt out layer by"
    " layer",
    "lrp": "the score, dealt out backwards layer by layer to what each was given",
    "excitation_backprop": "the class's win, dealt out backwards layer by layer to what excited it",
    "occlusion": "the fall of the score where a square shows nothing",
    "lime": "how much of the score each place carries, fitted to films that show only some places",
    "kernel_shap": "how much of the score each place carries, by fair shares over all choices of"
    " places",
    "grad_cam": "where one late layer responds, weighted by how much the class rests on it; coarse",
    "grad_cam_pp": "where one late layer responds, weighted by slopes towards the class alone;"
    " coarse",
    "score_cam": "where one late layer responds, weighted by the score of the film seen through"
    " each response; coarse",
}


def title_of(method: str) -> str:
    """Return what people call a method of the catalogue; its name in words by default."""
    return _TITLES.get(method, method.replace("_", " "))


def meaning_of(method: str) -> str:
    """Return what the map of a method shows, as the end of a sentence; empty where unknown."""
    return _MEANINGS.get(method, "")


def join_titles(methods: Sequence[str]) -> str:
    """Return the titles of methods as one enumeration."""
    titles = [title_of(method) for method in methods]
    return " and ".join([*([", ".join(titles[:-1])] if titles[:-1] else []), *titles[-1:]])
