"""Films with known text, and CRAFT's real network with weights made by hand."""

from pathlib import Path

import pytest
import torch

from covid_debug.text.craft import _build_network

WHITE_SCORE = 0.9


def write_brightness_weights(path: Path) -> Path:
    """Save weights that carry the red channel through the first blocks to the region score.

    A white pixel scores ``WHITE_SCORE``, a black one 0; the affinity score is 0 everywhere.
    """
    network = _build_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
        chain = [
            *(m for m in network.basenet.slice1 if isinstance(m, torch.nn.Conv2d)),
            *(m for m in network.conv_cls if isinstance(m, torch.nn.Conv2d)),
            network.upconv4.conv[3],
        ]
        for convolution in chain:
            centre = convolution.kernel_size[0] // 2
            convolution.weight[0, 0, centre, centre] = 1.0
        skip = network.upconv4.conv[0]
        skip.weight[0, skip.in_channels - 128, 0, 0] = 1.0
        white = (1 - 0.485) / 0.229
        network.conv_cls[-1].weight[0, 0, 0, 0] = WHITE_SCORE / white
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def craft_weights(tmp_path_factory) -> Path:
    """A weight file that turns CRAFT into a brightness detector."""
    return write_brightness_weights(tmp_path_factory.mktemp("craft") / "brightness.pth")
