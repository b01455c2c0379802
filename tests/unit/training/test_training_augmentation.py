"""Augmentation: identity, direction of each change, range and seeds."""

import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.training.augmentation import AugmentationParams, augment

STILL = {"rotation_deg": 0.0, "shift": 0.0, "zoom": (1.0, 1.0), "brightness": (1.0, 1.0)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_images(n=4, size=16):
    return torch.rand(n, 1, size, size, generator=generator(9))


def test_no_ranges_change_nothing():
    images = draw_images()

    result = augment(images, AugmentationParams(**STILL), generator())

    torch.testing.assert_close(result, images)


def test_flip_mirrors_left_to_right_or_not_at_all():
    images = draw_images(64)

    result = augment(images, AugmentationParams(**STILL, flip=True), generator())

    kept = torch.isclose(result, images, atol=1e-5).all(dim=(1, 2, 3))
    mirrored = torch.isclose(result, images.flip(3), atol=1e-5).all(dim=(1, 2, 3))
    assert (kept ^ mirrored).all()
    # 64 fair coins: fewer than 12 of either side has a probability below 1e-6.
    assert 12 <= int(mirrored.sum()) <= 52


def test_brightness_multiplies_and_clips():
    images = torch.tensor([0.2, 0.9]).view(1, 1, 1, 2).expand(1, 1, 2, 2)

    result = augment(images, AugmentationParams(**STILL | {"brightness": (1.5, 1.5)}), generator())

    torch.testing.assert_close(result, torch.tensor([0.3, 1.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2))


def test_zoom_of_two_magnifies_the_centre():
    images = torch.zeros(1, 1, 16, 16)
    images[..., 4:12, 4:12] = 1

    result = augment(images, AugmentationParams(**STILL | {"zoom": (2.0, 2.0)}), generator())

    torch.testing.assert_close(result[..., 1:-1, 1:-1], torch.ones(1, 1, 14, 14))


def test_rotation_turns_about_the_centre(monkeypatch):
    images = draw_images(1)
    # The largest draw of every range: 90 degrees.
    monkeypatch.setattr(torch, "rand", lambda n, generator: torch.ones(n))

    result = augment(images, AugmentationParams(**STILL | {"rotation_deg": 90.0}), generator())

    torch.testing.assert_close(result, images.rot90(1, dims=(2, 3)), atol=1e-5, rtol=0)


def test_what_comes_from_outside_repeats_the_border():
    images = torch.full((8, 1, 16, 16), 0.5)

    result = augment(images, AugmentationParams(**STILL | {"shift": 0.5}), generator())

    torch.testing.assert_close(result, images)


def test_images_of_a_batch_change_differently_and_stay_in_range():
    images = draw_images(1).expand(4, -1, -1, -1)

    result = augment(images, AugmentationParams(), generator())

    assert result.min() >= 0
    assert result.max() <= 1
    assert all(not torch.equal(result[0], result[index]) for index in (1, 2, 3))


def test_same_seed_gives_the_same_images_and_leaves_the_input():
    images = draw_images()
    before = images.clone()

    first, second = (augment(images, AugmentationParams(), generator(3)) for _ in range(2))

    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(images, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"zoom": (1.2, 0.8)}, "zoom is"),
        ({"brightness": (0.0, 1.0)}, "brightness is"),
        ({"shift": 1.0}, "shift is 1.0"),
        ({"rotation_deg": -1.0}, "rotation_deg is -1.0"),
    ],
)
def test_bad_range_is_refused(kwargs, message):
    with pytest.raises(InputContractError, match=message):
        AugmentationParams(**kwargs)
