"""Captum's methods where the answer is known in closed form."""

import pytest
import torch
from papers_twin import blur
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.captum_network import trace_with_modules
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SIDE, Patch, SmallNet, bright_patch_images, formula, unchecked, wrap

SIDE4 = 4


class Linear(nn.Module):
    """Logits ``(0, sum w * x)``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(formula((1, 1, SIDE4, SIDE4), seed=5).float() - 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        total = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(total), total], dim=1)


def explain_linear(name: str, **params):
    images = bright_patch_images(2, SIDE4, 1, 1, 2)
    network = Linear()
    result = build_explainer(name, **params).explain(
        wrap(network, SIDE4), images, torch.ones(2, dtype=torch.int64), seeds=[1, 2], scale="logit"
    )
    return images, network.weight.detach(), result


def test_gradient_of_a_linear_model_is_its_weights() -> None:
    images, weight, result = explain_linear("gradient")

    torch.testing.assert_close(result.diagnostics["signed"], weight.expand_as(images))
    torch.testing.assert_close(result.saliency, weight.abs().expand_as(images))


def test_input_x_gradient_of_a_linear_model_is_the_product() -> None:
    images, weight, result = explain_linear("input_x_gradient")

    torch.testing.assert_close(result.saliency, images * weight)


def test_integrated_gradients_of_a_linear_model_is_weight_times_difference() -> None:
    images, weight, result = explain_linear("integrated_gradients", n_steps=4)

    torch.testing.assert_close(
        result.saliency, weight * (images - blur(images)), rtol=1e-4, atol=1e-6
    )


def test_integrated_gradients_say_what_their_quadrature_misses() -> None:
    images = bright_patch_images(2)
    targets = torch.ones(2, dtype=torch.int64)
    gaps = []
    for n_steps in (1, 30):
        result = build_explainer("integrated_gradients", n_steps=n_steps).explain(
            wrap(Patch(4, 4, 6)), images, targets, seeds=[0, 0]
        )
        gap = result.diagnostics["completeness_gap"]
        total = result.saliency.sum(dim=(1, 2, 3))
        torch.testing.assert_close(gap, total - result.diagnostics["score_gap"])
        gaps.append(float(gap.abs().max()))

    assert gaps[0] > 0.05
    assert gaps[1] < 1e-4


def test_smooth_grad_without_noise_is_the_gradient() -> None:
    images, weight, result = explain_linear("smooth_grad", n_samples=3, noise_std=1e-9)

    torch.testing.assert_close(result.diagnostics["signed"], weight.expand_as(images))


def test_occlusion_with_one_pixel_is_weight_times_difference() -> None:
    images, weight, result = explain_linear("occlusion", window_px=1, stride_px=1)

    torch.testing.assert_close(
        result.saliency, weight * (images - blur(images)), rtol=1e-4, atol=1e-6
    )


def test_kernel_shap_of_a_linear_model_is_the_cells_contribution() -> None:
    images, weight, result = explain_linear("kernel_shap", segment_grid=2, n_samples=60)

    contributions = weight * (images - blur(images))
    cells = nn.functional.avg_pool2d(contributions, 2) * 4
    expected = cells.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(result.saliency, expected, rtol=1e-3, atol=1e-4)


def test_lime_of_a_linear_model_has_the_signs_and_order_of_the_contributions() -> None:
    images, weight, result = explain_linear("lime", segment_grid=2, n_samples=200)

    contributions = nn.functional.avg_pool2d(weight * (images - blur(images)), 2)[0, 0]
    found = result.saliency[0, 0, ::2, ::2]
    assert contributions.flatten().argsort().tolist() == found.flatten().argsort().tolist()


def test_sign_chooses_how_the_signed_map_is_shown() -> None:
    _, _, positive = explain_linear("gradient", sign="positive")
    _, _, signed = explain_linear("gradient", sign="signed")

    torch.testing.assert_close(positive.saliency, signed.saliency.clamp(min=0))
    torch.testing.assert_close(signed.saliency, signed.diagnostics["signed"])


class Residual(nn.Module):
    """Bias-free, functional ReLU called twice, a sum, functional pooling: all must be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(formula(tuple(p.shape), seed=i + 3).float() - 0.4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = self.relu(self.conv1(images))
        second = torch.relu(self.conv2(first))
        merged = self.relu(first + second)
        pooled = nn.functional.adaptive_avg_pool2d(merged, 1)
        return self.head(torch.flatten(pooled, 1))


def explain_residual(name: str, **params):
    images = bright_patch_images(2)
    classifier = wrap(Residual())
    targets = torch.ones(2, dtype=torch.int64)
    result = build_explainer(name, **params).explain(classifier, images, targets, seeds=[1, 2])
    return images, classifier, result


def test_traced_network_has_the_same_outputs_and_every_module_once() -> None:
    network = Residual().eval()
    images = bright_patch_images(2)

    traced = trace_with_modules("test", network)

    torch.testing.assert_close(traced(images), network(images))
    calls = [str(n.target) for n in traced.graph.nodes if n.op == "call_module"]
    assert len(calls) == len(set(calls))
    assert sum(isinstance(m, nn.ReLU) for m in traced.modules()) == 3


def test_lrp_conserves_the_logit_through_a_residual_sum() -> None:
    images, classifier, result = explain_residual("lrp")

    logits = classifier(images).detach()[:, 1]
    torch.testing.assert_close(result.saliency.sum(dim=(1, 2, 3)), logits, rtol=1e-3, atol=1e-4)


def test_deep_lift_sums_to_the_difference_of_logits() -> None:
    images, classifier, result = explain_residual("deep_lift")

    difference = (classifier(images) - classifier(blur(images))).detach()[:, 1]
    torch.testing.assert_close(result.saliency.sum(dim=(1, 2, 3)), difference, rtol=1e-3, atol=1e-4)
    assert result.scale == "logit"


@pytest.mark.parametrize("name", ["guided_backprop", "deconvolution"])
def test_relu_rules_differ_from_the_gradient(name: str) -> None:
    _, _, ruled = explain_residual(name)
    _, _, plain = explain_residual("gradient")

    assert not torch.allclose(ruled.saliency, plain.saliency)


def test_guided_backprop_by_hand() -> None:
    class OneRelu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.register_buffer("signs", torch.ones(1, 1, SIDE4, SIDE4))
            self.signs[..., 0, :] = -1.0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            open_units = torch.relu(images * self.scale - 0.5)  # open where x > 0.25
            total = (open_units * self.signs).sum(dim=(1, 2, 3))
            return torch.stack([torch.zeros_like(total), total], dim=1)

    images = bright_patch_images(1, SIDE4, 0, 1, 2)
    result = build_explainer("guided_backprop", sign="signed").explain(
        wrap(OneRelu(), SIDE4), images, torch.ones(1, dtype=torch.int64), seeds=[0]
    )

    expected = 2.0 * (images > 0.25).float()
    expected[..., 0, :] = 0.0  # negative gradients do not pass
    torch.testing.assert_close(result.saliency, expected)


def test_guided_backprop_refuses_a_network_without_relu() -> None:
    with pytest.raises(InputContractError, match="the network has no ReLU"):
        explain_linear("guided_backprop")


def test_untraceable_network_is_refused_with_the_remedy() -> None:
    class Branching(SmallNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) if images.sum() > 0 else images

    with pytest.raises(InputContractError, match=r"cannot be traced by torch\.fx"):
        build_explainer("lrp").explain(
            wrap(Branching(3), SIDE, 3),
            bright_patch_images(1),
            torch.zeros(1, dtype=torch.int64),
            seeds=[0],
        )


def test_bad_parameters_are_named() -> None:
    with pytest.raises(InputContractError, match="n_steps is 0"):
        build_explainer("integrated_gradients", n_steps=0)
    with unchecked(), pytest.raises(InputContractError, match="sign is 'both'"):
        build_explainer("gradient", sign="both")
    with pytest.raises(InputContractError, match="window_px is 64"):
        explain_linear("occlusion", window_px=64, stride_px=1)
    with pytest.raises(InputContractError, match="segment_grid is 9"):
        explain_linear("lime", segment_grid=9)


def test_three_channel_networks_give_one_map() -> None:
    class ThreePlanes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.relu = nn.ReLU()
            self.head = nn.Linear(4, 2)

        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            return self.head(self.relu(self.conv(planes)).mean(dim=(2, 3)))

    torch.manual_seed(0)
    classifier = Classifier(
        ThreePlanes(),
        class_names=("a", "b"),
        image_size=(SIDE, SIDE),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        channels=3,
    ).eval()
    images = bright_patch_images(1)

    for name in ("guided_backprop", "deep_lift", "lrp"):
        result = build_explainer(name).explain(
            classifier, images, torch.ones(1, dtype=torch.int64), seeds=[0]
        )
        assert result.saliency.shape == images.shape
