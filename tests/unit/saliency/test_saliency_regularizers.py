import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.saliency.regularizers import (
    bilateral_total_variation,
    removed_area,
    total_variation,
)
from tests.toys import formula


def step_mask(side: int = 4) -> torch.Tensor:
    mask = torch.zeros(1, 1, side, side, dtype=torch.float64)
    mask[..., side // 2 :] = 1.0
    return mask


def test_removed_area_is_the_share_of_zeros() -> None:
    mask = step_mask()
    mask[..., 1] = 1.0  # one column of four is left at 0

    torch.testing.assert_close(removed_area(mask), torch.tensor([0.25]).double())


def test_total_variation_of_a_step_is_the_share_of_crossed_pairs() -> None:
    expected = torch.tensor([4 / 12], dtype=torch.float64)

    torch.testing.assert_close(total_variation(step_mask()), expected)
    torch.testing.assert_close(total_variation(step_mask().mT), expected)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_total_variation_of_a_constant_is_zero(power: float) -> None:
    mask = torch.full((2, 1, 5, 5), 0.4, dtype=torch.float64)

    assert float(total_variation(mask, power=power).abs().max()) == 0.0


def test_bilateral_discount_is_one_on_flat_images_and_small_on_image_edges() -> None:
    mask = step_mask()
    flat = torch.full_like(mask, 0.5)

    torch.testing.assert_close(
        bilateral_total_variation(mask, flat, sigma=5e-4), total_variation(mask)
    )
    assert float(bilateral_total_variation(mask, mask, sigma=5e-4)) < 1e-12


def test_bilateral_value_of_a_known_edge() -> None:
    mask = step_mask()
    images = 0.02 * mask
    expected = torch.tensor([4 / 12], dtype=torch.float64) * torch.exp(torch.tensor(-0.8).double())

    torch.testing.assert_close(bilateral_total_variation(mask, images, sigma=5e-4), expected)


def test_bilateral_is_equivariant_under_transposition() -> None:
    mask, images = formula((2, 1, 6, 6)), formula((2, 1, 6, 6), seed=5)

    torch.testing.assert_close(
        bilateral_total_variation(mask.mT, images.mT, sigma=0.01),
        bilateral_total_variation(mask, images, sigma=0.01),
    )


def test_bilateral_refuses_sigma_zero() -> None:
    with pytest.raises(InputContractError, match="sigma is 0"):
        bilateral_total_variation(step_mask(), step_mask(), sigma=0.0)
