import torch

from benchmarks.saliency.plain_igos_pp import PublishedConstants, explain_plainly
from covid_debug.perturbation.baselines import blur_baseline
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SIDE, Patch, bright_patch_images, wrap


def test_plain_algorithm_and_published_preset_agree_without_noise() -> None:
    classifier = wrap(Patch(4, 4, 6))
    for parameter in classifier.parameters():
        parameter.requires_grad_(False)
    image = bright_patch_images(1)
    constants = PublishedConstants(n_steps=4, n_iterations=3)

    plain, n_evaluations = explain_plainly(
        classifier,
        image,
        blur_baseline(image),
        1,
        grid_size=5,
        noise_std=0.0,
        generator=torch.Generator().manual_seed(0),
        constants=constants,
    )
    preset = build_explainer(
        "igos_pp_published", grid_size=5, noise_std=0.0, n_steps=4, n_iterations=3
    ).explain(classifier, image, torch.ones(1, dtype=torch.int64), seeds=[0])

    assert plain.shape == (1, 1, SIDE, SIDE)
    assert float(plain.max()) > 0.05
    torch.testing.assert_close(preset.saliency, plain, rtol=1e-3, atol=1e-4)
    assert preset.n_evaluations < n_evaluations
