"""The marker detector's network: a small fully convolutional encoder and decoder.

Heat maps at half resolution in the spirit of CRAFT [baek2019craft]: where the centre of a
character is, and which pixels lie in a line of text. The second replaces CRAFT's affinity: most
markers are single letters, which have no neighbour to be linked to, and their extent matters. A
third map holds what a human hand drew: arrows, circles, measuring lines.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTPUT_STRIDE = 2
N_MAPS = 3


class MarkerNet(nn.Module):
    """Maps films to logits of characters, text areas and annotations.

    The encoder halves the resolution five times (1/2 to 1/32); the decoder adds each level back,
    coarse to fine, so that the finest map knows whether a bright corner is an ``L`` or a rib, and
    letters of a tenth of the film are seen whole.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = (16, 32, 64, 96, 96)) -> None:
        """Build the layers.

        Args:
            widths: Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the film's resolution.
        """
        super().__init__()
        half, quarter, eighth, sixteenth, coarsest = widths
        self.scale_2 = nn.Sequential(_conv(1, half, stride=2), _conv(half, half))
        self.scale_4 = nn.Sequential(_conv(half, quarter, stride=2), _Residual(quarter))
        self.scale_8 = nn.Sequential(_conv(quarter, eighth, stride=2), _Residual(eighth))
        self.scale_16 = nn.Sequential(_conv(eighth, sixteenth, stride=2), _Residual(sixteenth))
        self.scale_32 = nn.Sequential(
            _conv(sixteenth, coarsest, stride=2), _Residual(coarsest), _Residual(coarsest, 2)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(wide, narrow, 1) for wide, narrow in pairwise(reversed(widths))
        )
        self.merge = nn.ModuleList(_conv(width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(half, N_MAPS, 1)
        nn.init.constant_(self.head.get_parameter("bias"), -3.0)  # text is rare

    def forward(self, films: Tensor) -> Tensor:
        """Return logits ``(N, 3, H/2, W/2)``: character centres, text area, annotations.

        Args:
            films: ``(N, 1, H, W)`` in [0, 1]; ``H`` and ``W`` multiples of 32.
        """
        levels = [films - 0.5]
        for stage in (self.scale_2, self.scale_4, self.scale_8, self.scale_16, self.scale_32):
            levels.append(stage(levels[-1]))
        coarse = levels[-1]
        for reduce, merge, fine in zip(self.reduce, self.merge, levels[-2:0:-1], strict=True):
            upward = functional.interpolate(
                reduce(coarse), scale_factor=2.0, mode="bilinear", align_corners=False
            )
            coarse = merge(upward + fine)
        logits: Tensor = self.head(coarse)
        return logits


def _conv(n_in: int, n_out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions round a shortcut."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, width, dilation=dilation),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return torch.relu(features + self.body(features))
