import pytest
import torch
from papers_twin import ADAM_STEP, blur, walk_path
from single_mask_twin import explain

from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SmallNet, bright_patch_images, wrap

SIDE, GRID, ITERATIONS, STEPS = 8, 4, 3, 3
SEARCH = {"optimizer": "line_search", "quadrature": "riemann", "n_steps": STEPS}


@pytest.mark.parametrize(
    ("name", "extra", "losses"),
    [
        ("igos", {**SEARCH, "search_objective": "mask"}, "deletion"),
        ("igos", {**SEARCH}, "deletion"),
        ("igos_plus", {**SEARCH, "optimizer": "fixed", "step_size": 0.5}, "both"),
        (
            "igos_plus",
            {"losses": "insertion", "n_steps": 2, "quadrature": "riemann"},
            "insertion",
        ),
        ("mask", {}, "deletion"),
    ],
)
def test_one_mask_methods_equal_their_slow_twin(name: str, extra: dict, losses: str) -> None:
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(1, SIDE, 2, 2, 3).double()
    baseline = blur(images)
    with torch.no_grad():
        targets = (classifier(images) - classifier(baseline)).argmax(dim=1)
    params = {
        "grid_size": GRID,
        "n_iterations": ITERATIONS,
        "noise_std": 0.0 if name == "mask" else 0.02,
        "noise_rule": "fixed",
        "area_weight": 0.05,
        "tv_weight": 0.2,
        **extra,
    }
    explainer = build_explainer(name, **params)
    used = explainer.params
    nodes, weights = walk_path(used.quadrature, used.n_steps)
    score = TargetScore(classifier, targets, scale="logit", max_batch=5)

    raw = explainer._explain(
        ImageGroup(score, images, baseline, [torch.Generator().manual_seed(11)])
    )

    generator = torch.Generator().manual_seed(11)
    torch.randn(1, SIDE, SIDE, generator=generator, dtype=torch.float64)  # the noise probe
    draws = [
        torch.randn(len(nodes), 1, SIDE, SIDE, generator=generator, dtype=torch.float64)[:, 0]
        for _ in range(ITERATIONS)
    ]

    def f(image):
        return classifier(image[None, None])[0, int(targets[0])]

    with torch.no_grad():  # on logits price and Adam's epsilon are in units of the gap
        unit = abs(float(f(images[0, 0]) - f(baseline[0, 0])))
    expected = explain(
        f,
        images[0, 0],
        baseline[0, 0],
        [used.noise_std * draw for draw in draws],
        grid=GRID,
        nodes=nodes,
        weights=weights,
        rule=used.optimizer,
        losses=losses,
        prices={
            "area_weight": 0.05 * unit,
            "tv_weight": 0.2 * unit,
            "sigma": 5e-4,
            "smoothness": used.smoothness,
        },
        step_size=extra.get("step_size", ADAM_STEP),
        unit=unit,
        at_mask=used.search_objective == "mask",
        on_film=name == "igos",
    )
    assert float((1 - expected).max()) > 1e-3
    torch.testing.assert_close(raw.keep_mask[0, 0], expected, rtol=1e-9, atol=1e-12)
