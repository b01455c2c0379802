"""How many images at once: by measured memory, and by halves where that was too much."""

import importlib

import pytest
import torch
from torch import nn

from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.models.batching import CPU_IMAGES, MOST_IMAGES, find_max_batch, fit_images
from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SIDE, Patch, SmallNet, bright_patch_images, wrap

MODEL_BYTES, IMAGE_BYTES = 5000, 100


class Small(Patch):
    """Has room for so many images, and remembers how many it was given."""

    room = 10_000

    def __init__(self) -> None:
        super().__init__(4, 4, 6)
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


@pytest.mark.parametrize(
    ("n_free_bytes", "expected"),
    [(0, 1), (2 * 199, 1), (2 * 200, 2), (2 * 799, 4), (2 * 800, 8), (10**12, MOST_IMAGES)],
)
def test_half_of_the_free_memory_is_filled(n_free_bytes: int, expected: int) -> None:
    asked = []

    def measure(n_images: int) -> int:
        asked.append(n_images)
        return MODEL_BYTES + n_images * IMAGE_BYTES

    assert fit_images(measure, n_free_bytes) == expected
    assert len(asked) == 2


def test_memory_for_one_image_but_not_for_four_holds_one() -> None:
    def measure(n_images: int) -> int:
        if n_images > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return MODEL_BYTES

    assert fit_images(measure, 10**12) == 1


def test_a_probe_leaves_a_model_in_training_as_it_was(monkeypatch) -> None:
    batching = importlib.import_module("covid_debug.models.batching")
    for name in ("memory_allocated", "max_memory_allocated", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda _device: 0)
    classifier = wrap(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 2)), 6, 2)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    classifier.train()

    batching._measure_peak(classifier, 4)

    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())
    assert all(module.training for module in classifier.modules())


def test_no_probe_on_a_processor() -> None:
    network = Small()
    classifier = wrap(network)
    network.sizes.clear()

    assert find_max_batch(classifier) == CPU_IMAGES
    assert network.sizes == []


@torch.no_grad()
def test_too_many_images_are_halved_and_nothing_is_computed_twice() -> None:
    network, images, index = Small(), bright_patch_images(7), torch.arange(7)
    classifier = wrap(network)
    targets = torch.ones(7, dtype=torch.int64)
    expected = TargetScore(classifier, targets)(images, index)
    network.room = 2
    network.sizes.clear()
    score = TargetScore(classifier, targets, max_batch=6)

    torch.testing.assert_close(score(images, index), expected)

    assert network.sizes == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    assert (score.max_batch, score.n_evaluations) == (1, 7)


@pytest.mark.parametrize("method", ["igos_pp", "area_path", "path_gradient", "rise"])
def test_maps_do_not_change_where_memory_is_short(method: str) -> None:
    network, images = Small(), bright_patch_images(3)
    classifier, targets = wrap(network), torch.ones(3, dtype=torch.int64)
    few = {"path_gradient": {"n_steps": 4}, "rise": {"n_masks": 9}}.get(method, {"n_iterations": 2})
    grid = {} if method == "rise" else {"grid_size": 4}
    explainer = build_explainer(method, **grid, **few)
    expected = explainer.explain(classifier, images, targets, seeds=range(3))
    network.room = 2
    network.sizes.clear()

    found = explainer.explain(classifier, images, targets, seeds=range(3))

    torch.testing.assert_close(found.saliency, expected.saliency)
    assert found.n_evaluations == expected.n_evaluations
    assert max(network.sizes) > network.room


class Narrow(nn.Module):
    """Has room for so many images in one call."""

    room = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.network = SmallNet(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(images)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("rise", {"n_masks": 12, "mask_grid": 4}),
        ("gradient_shap", {"n_samples": 12}),
        ("smooth_grad", {"n_samples": 12}),
        ("score_cam", {"target_layer": "network.conv2"}),
    ],
)
def test_no_sample_is_left_out_where_memory_ends_between_two_calls(method, params) -> None:
    network, images = Narrow(), bright_patch_images(2)
    classifier, targets = wrap(network, SIDE, 3), torch.ones(2, dtype=torch.int64)
    explainer = build_explainer(method, **params)
    expected = explainer.explain(classifier, images, targets, seeds=range(2), max_batch=5)
    network.room = 2

    found = explainer.explain(classifier, images, targets, seeds=range(2), max_batch=5)

    torch.testing.assert_close(found.saliency, expected.saliency)
    assert found.n_evaluations == expected.n_evaluations


def test_curves_do_not_change_where_memory_is_short() -> None:
    network, images = Narrow(), bright_patch_images(2)
    classifier, targets = wrap(network, SIDE, 3), torch.ones(2, dtype=torch.int64)
    maps = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    curves = []
    for room in (10_000, 2):
        network.room = room
        score = TargetScore(classifier, targets, scale="logit", max_batch=5)
        protocol = PerturbationProtocol(n_steps=7, scale="logit", grid_size=4)
        curves.append(compute_deletion_insertion(score, images, maps, protocol))

    torch.testing.assert_close(curves[1].deletion_curve, curves[0].deletion_curve)
    torch.testing.assert_close(curves[1].insertion_curve, curves[0].insertion_curve)


def test_memory_too_small_for_one_image_is_said() -> None:
    network = Small()
    classifier, targets = wrap(network), torch.ones(1, dtype=torch.int64)
    network.room = 0

    with pytest.raises(torch.OutOfMemoryError):
        build_explainer("path_gradient", grid_size=4).explain(
            classifier, bright_patch_images(1), targets, seeds=[0]
        )
