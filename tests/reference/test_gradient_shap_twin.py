"""GradientSHAP against its formula written as loops, and by hand."""

import torch
from torch import nn

from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SmallNet, bright_patch_images, wrap

SIDE = 8


def test_gradient_shap_equals_its_slow_twin() -> None:
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(2, SIDE, 2, 2, 3).double()
    images[1] = images[1].flip(-1)
    baseline = 0.3 * images.flip(-2)
    targets = torch.tensor([1, 2])
    score = TargetScore(classifier, targets, scale="logit", max_batch=3)
    generators = [torch.Generator().manual_seed(seed) for seed in (4, 5)]
    n, std = 7, 0.1

    raw = build_explainer("gradient_shap", n_samples=n, noise_std=std)._explain(
        ImageGroup(score, images, baseline, generators)
    )

    assert score.n_evaluations == 2 * (n + 2)
    for i in range(2):
        generator = torch.Generator().manual_seed(4 + i)
        total = torch.zeros(SIDE, SIDE, dtype=torch.float64)
        for k in range(n):
            shape = (2, 1, SIDE, SIDE)
            noise = torch.zeros(shape, dtype=torch.float64).normal_(generator=generator)
            share = torch.zeros((), dtype=torch.float64).uniform_(generator=generator)
            film = images[i, 0] + std * noise[0, 0]
            other = baseline[i, 0] + std * noise[1, 0]
            point = (other + (k + float(share)) / n * (film - other)).requires_grad_()
            value = classifier(point[None, None])[0, int(targets[i])]
            total += torch.autograd.grad(value, point)[0] * (film - other) / n
        torch.testing.assert_close(raw.saliency[i, 0], total, rtol=1e-9, atol=1e-12)


class Square(nn.Module):
    """The logit of class 1 is half the square of the film's sum."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        value = images.sum(dim=(1, 2, 3)) ** 2 / 2
        return torch.stack([-value, value], dim=1)


def test_a_square_is_shared_by_the_changes_of_the_pixels() -> None:
    """Next to no noise: each pixel gets its change times the mean sum along the path."""
    film, baseline = torch.zeros(2, 1, 1, 4, 4)
    film[0, 0, 0, 0], film[0, 0, 1, 2], baseline[0, 0, 3, 3] = 0.5, 0.25, 0.125

    result = build_explainer("gradient_shap", n_samples=400, noise_std=1e-7).explain(
        wrap(Square(), 4), film, torch.ones(1, dtype=torch.int64), seeds=[2], baseline=baseline,
        scale="logit",
    )  # fmt: skip

    mean_sum = (0.75 + 0.125) / 2
    expected = (film - baseline) * mean_sum
    torch.testing.assert_close(result.saliency, expected, rtol=1e-3, atol=1e-4)
    assert abs(float(result.diagnostics["completeness_gap"][0])) < 1e-3
