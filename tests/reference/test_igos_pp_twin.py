import pytest
import torch
from area_path_twin import choose_mask
from igos_pp_twin import explain, explain_by_sigmoids, start_of_sigmoids
from papers_twin import blur, walk_path, walk_rotating_path

from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SmallNet, bright_patch_images, wrap

SIDE, GRID, ITERATIONS = 8, 4, 3
CONTRAST = 2.0


@pytest.mark.parametrize(
    ("optimizer", "quadrature", "smoothness", "order"),
    [
        ("line_search", "riemann", "bilateral", "joint"),
        ("line_search", "riemann", "both", "joint"),
        ("adam", "riemann", "both", "joint"),
        ("adam", "riemann", "plain", "joint"),
        ("adam", "rotating", "bilateral", "joint"),
        ("adam", "rotating", "bilateral", "alternating"),
        ("line_search", "riemann", "bilateral", "alternating"),
    ],
)
def test_igos_pp_equals_its_slow_twin(
    optimizer: str, quadrature: str, smoothness: str, order: str
) -> None:
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(2, SIDE, 2, 2, 3).double()
    baseline = blur(images)
    with torch.no_grad():
        targets = (classifier(images) - classifier(baseline)).argmax(dim=1)
    params = {
        "mask_form": "clamped",
        "n_start": 0,
        "step_size": None,
        "grid_size": GRID,
        "n_iterations": ITERATIONS,
        "n_steps": 3,
        "optimizer": optimizer,
        "quadrature": quadrature,
        "term_order": order,
        "smoothness": smoothness,
        "noise_std": 0.02,
        "noise_rule": "fixed",
        "area_weight": 0.05,
        "tv_weight": 0.2,
    }
    explainer = build_explainer("igos_pp", **params)
    score = TargetScore(classifier, targets, scale="logit", max_batch=5)

    generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
    raw = explainer._explain(ImageGroup(score, images, baseline, generators))

    for i in range(2):
        generator = torch.Generator().manual_seed(11 + i)
        torch.randn(1, SIDE, SIDE, generator=generator, dtype=torch.float64)  # the noise probe
        if quadrature == "rotating":
            start = float(torch.rand(1, generator=generator, dtype=torch.float64))
            walked = [walk_rotating_path(start, 3, k) for k in range(ITERATIONS)]
            path, weights = [nodes for nodes, _ in walked], walked[0][1]
        else:
            path, weights = walk_path(quadrature, 3)
        noises = [
            0.02 * torch.randn(3, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)[:, 0]
            for _ in range(ITERATIONS)
        ]

        def f(image, target=int(targets[i])):
            return classifier(image[None, None])[0, target]

        with torch.no_grad():  # on logits price and Adam's epsilon are in units of the gap
            unit = abs(float(f(images[i, 0]) - f(baseline[i, 0])))
        weighted = {"area_weight": 0.05 * unit, "tv_weight": 0.2 * unit}
        prices = {**weighted, "sigma": 5e-4, "smoothness": smoothness}
        expected = explain(
            f, images[i, 0], baseline[i, 0], noises, grid=GRID, nodes=path, weights=weights,
            rule=optimizer, prices=prices, alternate=order == "alternating", unit=unit,
        )  # fmt: skip
        assert float((1 - expected).max()) > 1e-3
        torch.testing.assert_close(raw.keep_mask[i, 0], expected, rtol=1e-9, atol=1e-12)


def test_default_igos_pp_equals_its_slow_twin() -> None:
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(2, SIDE, 2, 2, 3).double()
    images[1] = images[1].flip(-1)
    baseline = blur(images)
    with torch.no_grad():
        targets = (classifier(images) - classifier(baseline)).argmax(dim=1)
    explainer = build_explainer("igos_pp", grid_size=GRID, n_iterations=5, n_start=4)
    score = TargetScore(classifier, targets, scale="logit", max_batch=5)
    generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]

    raw = explainer._explain(ImageGroup(score, images, baseline, generators))

    p = explainer.params
    for i in range(2):
        generator = torch.Generator().manual_seed(11 + i)
        first = float(torch.rand(1, generator=generator, dtype=torch.float64))
        nodes = [walk_rotating_path(first, 1, k)[0][0] for k in range(5)]

        def f(image, target=int(targets[i])):
            return classifier(image[None, None])[0, target]

        with torch.no_grad():
            unit = abs(float(f(images[i, 0]) - f(baseline[i, 0])))
        prices = {
            "area_weight": 1.0 * unit, "tv_weight": p.tv_weight * unit,
            "sigma": p.edge_sigma, "smoothness": p.smoothness,
        }  # fmt: skip
        # An even number of midpoints is its own mirror image, as the engine's single walk assumes.
        start = start_of_sigmoids(f, images[i, 0], baseline[i, 0], GRID, 4, CONTRAST)
        product = explain_by_sigmoids(
            f, images[i, 0], baseline[i, 0], start=start, nodes=nodes, prices=prices,
            step_size=p.step_size, unit=unit,
        )  # fmt: skip
        cells = torch.log(1 / product - 1)
        expected = choose_mask(f, images[i, 0], baseline[i, 0], cells, unit)
        assert float(expected.std()) > 0.05
        torch.testing.assert_close(raw.keep_mask[i, 0], expected, rtol=1e-9, atol=1e-12)
    assert score.n_evaluations == 2 * (4 + 2 * 5 + 2 + 2 * 3)
