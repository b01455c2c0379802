import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_debug.errors import InputContractError
from covid_debug.perturbation.baselines import BaselineSpec, blur_baseline, make_baseline
from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridUpsampler, upsampling_matrix
from tests.toys import formula, unchecked


def test_compose_with_ones_returns_the_image_and_zeros_the_baseline() -> None:
    image, baseline = formula((2, 1, 5, 5)), formula((2, 1, 5, 5), seed=2)

    assert torch.equal(compose(image, baseline, torch.ones_like(image)), image)
    assert torch.equal(compose(image, baseline, torch.zeros_like(image)), baseline)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(cells=st.integers(1, 9), extra=st.integers(0, 20))
def test_upsampling_rows_sum_to_one_and_are_not_negative(cells: int, extra: int) -> None:
    matrix = upsampling_matrix(cells, cells + extra, torch.zeros(1, dtype=torch.float64))

    assert bool((matrix >= 0).all())
    torch.testing.assert_close(matrix.sum(1), torch.ones(cells + extra, dtype=torch.float64))


def test_upsampling_equals_aligned_bilinear_interpolation() -> None:
    grid = formula((2, 1, 5, 7))
    upsampler = GridUpsampler((5, 7), (23, 31), grid)
    expected = torch.nn.functional.interpolate(
        grid, size=(23, 31), mode="bilinear", align_corners=True
    )

    torch.testing.assert_close(upsampler.upsample(grid), expected, rtol=0, atol=1e-14)


def test_projection_inverts_upsampling() -> None:
    grid = formula((2, 1, 6, 6))
    upsampler = GridUpsampler((6, 6), (25, 25), grid)

    torch.testing.assert_close(upsampler.project(upsampler.upsample(grid)), grid)


def test_upsampling_refuses_a_grid_finer_than_the_image() -> None:
    with pytest.raises(InputContractError, match="grid_size has 9 cells for 8 pixels"):
        upsampling_matrix(9, 8, torch.zeros(1))


def test_blur_keeps_constants_and_removes_contrast() -> None:
    flat = torch.full((1, 1, 40, 30), 0.3, dtype=torch.float64)
    square = flat.clone()
    square[..., 10:20, 10:20] = 1.0

    torch.testing.assert_close(blur_baseline(flat), flat)
    assert float(blur_baseline(square).std()) < 0.2 * float(square.std())


def test_blur_commutes_with_flip_and_transpose() -> None:
    image = formula((1, 1, 33, 33))

    torch.testing.assert_close(blur_baseline(image.flip(-1)), blur_baseline(image).flip(-1))
    torch.testing.assert_close(blur_baseline(image.mT), blur_baseline(image).mT)


def test_blur_equals_a_padded_gaussian_where_the_image_is_large_enough() -> None:
    image = formula((1, 1, 60, 60))
    offsets = torch.arange(51, dtype=torch.float64) - 25
    taps = torch.exp(-(offsets**2) / (2 * 50.0**2))
    taps = taps / taps.sum()
    padded = torch.nn.functional.pad(image, (25, 25, 25, 25), mode="reflect")
    expected = torch.nn.functional.conv2d(padded, (taps[:, None] * taps)[None, None])

    torch.testing.assert_close(blur_baseline(image), expected)


def test_constant_baseline_has_its_value() -> None:
    image = formula((1, 1, 4, 4))

    assert torch.equal(
        make_baseline(image, BaselineSpec("constant", 0.25)), torch.full_like(image, 0.25)
    )


def test_baseline_spec_refuses_bad_values() -> None:
    with pytest.raises(InputContractError, match="value is 2"):
        BaselineSpec("constant", 2.0)
    with unchecked(), pytest.raises(InputContractError, match="kind is 'noise'"):
        BaselineSpec("noise")


def test_projection_inverts_upsampling_of_an_oblong_grid() -> None:
    grid = formula((2, 1, 5, 7))
    upsampler = GridUpsampler((5, 7), (23, 31), grid)

    torch.testing.assert_close(upsampler.project(upsampler.upsample(grid)), grid)


@pytest.mark.parametrize(
    ("length", "n_taps", "sigma"),
    [(499, 51, 50), (500, 151, 150), (799, 151, 150), (800, 201, 200)],
)
def test_blur_has_the_papers_constants_for_every_size(length, n_taps, sigma) -> None:
    image = formula((1, 1, length, 1))
    reach = n_taps // 2
    taps = torch.exp(-(torch.arange(-reach, reach + 1).double() ** 2) / (2 * sigma**2))
    padded = torch.nn.functional.pad(image, (0, 0, reach, reach), mode="reflect")
    expected = torch.nn.functional.conv2d(padded, (taps / taps.sum()).view(1, 1, -1, 1))

    torch.testing.assert_close(blur_baseline(image), expected)
