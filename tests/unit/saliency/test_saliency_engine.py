"""What every explanation does around its method: how often the model is asked for the same."""

import pytest
import torch

from covid_debug.saliency.catalog import build_explainer
from tests.toys import Patch, bright_patch_images, wrap

ONES = torch.ones(1, dtype=torch.int64)


@pytest.mark.parametrize("scale", ["probability", "logit"])
@pytest.mark.parametrize(
    ("method", "params", "n_evaluations"),
    [
        # f(I) and f(B); noise on film and baseline; two terms an iteration; two an area
        ("igos_pp", {"n_start": 4, "n_iterations": 3, "noise_std": 1e-6}, 2 + 2 + 4 + 3 * 2 + 6),
        ("igos_pp", {}, 56),
        ("area_path", {}, 60),
        ("mask", {"n_iterations": 3, "noise_std": 0.0}, 2 + 3),
        ("area_path", {"n_start": 2, "n_iterations": 3}, 2 + 2 + 3 * 2 + 6),
        ("path_gradient", {"n_steps": 5}, 2 + 5),
        ("integrated_gradients", {"n_steps": 5}, 2 + 5),
        ("leg", {"n_samples": 6}, 2 + 6),
    ],
)
def test_film_and_baseline_are_passed_through_the_model_once(
    method: str, params: dict[str, float], n_evaluations: int, scale: str
) -> None:
    images, network = bright_patch_images(1), Patch(4, 4, 6)
    classifier = wrap(network)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    grid = {} if method == "integrated_gradients" else {"grid_size": 4}

    result = build_explainer(method, **grid, **params).explain(
        classifier, images, ONES, seeds=[0], scale=scale
    )

    assert result.n_evaluations == n_evaluations == sum(seen)
