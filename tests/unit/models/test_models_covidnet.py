"""Parameter counts and connections of the COVID-Net-style network."""

import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.models.covidnet import PAPER_PARAMS, PEPX, CovidNet, Stage


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def pepx_count(n_in, n_out, n_low, n_high):
    convolutions = n_in * n_low + n_low * n_high + 9 * n_high + n_high * n_low + n_low * n_out
    return convolutions + 2 * (n_high + n_high + n_out)


def test_pepx_has_the_parameters_of_its_five_convolutions():
    block = PEPX(10, 16, projection=0.25, expansion=0.5)

    assert count(block) == pepx_count(10, 16, 4, 8)


def network_count(*, channels, stem, widths, depths, projection, expansion, head):
    total = 49 * channels * stem + 2 * stem + head
    n_in = stem
    for width, depth in zip(widths, depths, strict=True):
        low, high = round(width * projection), round(width * expansion)
        total += n_in * width + 2 * width
        total += pepx_count(n_in, width, low, high)
        total += (depth - 1) * pepx_count(width, width, low, high)
        n_in = width
    return total


def test_default_network_has_the_counted_parameters():
    expected = network_count(
        channels=1,
        stem=24,
        widths=(48, 96, 192, 384),
        depths=(3, 4, 6, 3),
        projection=0.25,
        expansion=0.5,
        head=384 * 3 + 3,
    )

    assert count(CovidNet(3)) == expected == 631_827


def test_paper_network_has_the_counted_parameters():
    head = 2048 * 49 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 3 + 3
    expected = network_count(
        channels=3,
        stem=64,
        widths=(256, 512, 1024, 2048),
        depths=(3, 4, 6, 3),
        projection=0.25,
        expansion=0.375,
        head=head,
    )

    with torch.device("meta"):
        network = CovidNet(3, channels=3, **PAPER_PARAMS)

    assert count(network) == expected == 119_835_875


def test_stage_sums_the_side_path_and_every_block():
    stage = Stage(2, 4, 3, projection=0.5, expansion=1.0).eval()
    features = torch.rand(1, 2, 4, 4)

    result = stage(features)

    pooled = stage.pool(features)
    side, first = stage.side(pooled), stage.blocks[0](pooled)
    second = stage.blocks[1](side + first)
    third = stage.blocks[2](side + first + second)
    torch.testing.assert_close(result, side + first + second + third)


@pytest.mark.parametrize("image_size", [64, 96])
def test_any_image_size_gives_one_row_of_logits(image_size):
    network = CovidNet(3, channels=3, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)).eval()

    assert network(torch.rand(2, 3, image_size, image_size)).shape == (2, 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widths": (8, 8), "depths": (1,)}, "2 widths and 1 depths"),
        ({"widths": (0,), "depths": (1,)}, "must be positive"),
        ({"projection": 0.0}, "must be positive"),
        ({"widths": (), "depths": ()}, "0 widths"),
    ],
)
def test_bad_size_is_refused(params, message):
    with pytest.raises(InputContractError, match=message):
        CovidNet(3, **params)
