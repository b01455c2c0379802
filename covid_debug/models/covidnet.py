"""A network in the style of COVID-Net [wang2020covidnet].

The published design was never released as code; PEPX stages, depths and long-range connections
follow the paper's text and figure, the inner widths are ours, and the default head is light.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from covid_debug.errors import InputContractError


class PEPX(nn.Module):
    """Project, expand, look around, project, extend.

    Two 1x1 convolutions (first projection, expansion), a 3x3 depth-wise convolution, and two more
    1x1 convolutions (second projection, extension). Batch normalisation and ReLU follow the
    expansion, the depth-wise convolution and the extension; the two projections stay linear, so
    that each pair of 1x1 convolutions is a low-rank map.
    """

    def __init__(self, n_in: int, n_out: int, *, projection: float, expansion: float) -> None:
        """Build the block.

        Args:
            n_in: Channels in.
            n_out: Channels out.
            projection: Channels of both projections as a share of ``n_out``.
            expansion: Channels of the expansion as a share of ``n_out``.
        """
        super().__init__()
        n_low = max(round(n_out * projection), 1)
        n_high = max(round(n_out * expansion), 1)
        self.layers = nn.Sequential(
            nn.Conv2d(n_in, n_low, 1, bias=False),
            nn.Conv2d(n_low, n_high, 1, bias=False),
            nn.BatchNorm2d(n_high),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_high, n_high, 3, padding=1, groups=n_high, bias=False),
            nn.BatchNorm2d(n_high),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_high, n_low, 1, bias=False),
            nn.Conv2d(n_low, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, n_out, H, W)`` features of ``(N, n_in, H, W)`` features."""
        result: Tensor = self.layers(features)
        return result


class Stage(nn.Module):
    """Halve the resolution, then PEPX blocks that each see the sum of everything before them.

    A side 1x1 convolution carries the stage's input past all blocks (the paper's long-range
    connection); each later block receives the side path plus every earlier block's output, and so
    does the next stage.
    """

    def __init__(
        self, n_in: int, n_out: int, depth: int, *, projection: float, expansion: float
    ) -> None:
        """Build a stage of ``depth`` blocks with ``n_out`` channels."""
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.side = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))
        self.blocks = nn.ModuleList(
            PEPX(n_in if index == 0 else n_out, n_out, projection=projection, expansion=expansion)
            for index in range(depth)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, n_out, H/2, W/2)`` features."""
        pooled = self.pool(features)
        total: Tensor = self.side(pooled)
        for index, block in enumerate(self.blocks):
            total = total + block(pooled if index == 0 else total)
        return total


class CovidNet(nn.Module):
    """Stem 7x7 of stride 2, four PEPX stages, a head.

    At 224 pixels the stages work at 56, 28, 14 and 7 pixels, as in the paper. The defaults are a
    narrow network for a CPU; ``PAPER_PARAMS`` has the published widths and dense head.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int = 1,
        stem_width: int = 24,
        widths: Sequence[int] = (48, 96, 192, 384),
        depths: Sequence[int] = (3, 4, 6, 3),
        projection: float = 0.25,
        expansion: float = 0.5,
        head_grid: int = 1,
        head_widths: Sequence[int] = (),
    ) -> None:
        """Build the network with freshly drawn weights.

        Args:
            n_classes: Number of logits.
            channels: Image planes.
            stem_width: Channels after the stem.
            widths: Channels of each stage.
            depths: PEPX blocks of each stage.
            projection: Width of a block's projections as a share of its output.
            expansion: Width of a block's expansion as a share of its output.
            head_grid: Side of the grid to which the last features are averaged before they are
                flattened; 1 is global pooling, 7 the paper's flattening at 224 pixels.
            head_widths: Dense layers before the logits.

        Raises:
            InputContractError: If a number is not positive or widths and depths differ in length.
        """
        super().__init__()
        counts = (n_classes, channels, stem_width, head_grid, *widths, *depths, *head_widths)
        if min(counts) < 1 or min(projection, expansion) <= 0:
            raise InputContractError(
                f"covidnet: widths {tuple(widths)}, depths {tuple(depths)} and every other size"
                " must be positive"
            )
        if not widths or len(widths) != len(depths):
            raise InputContractError(
                f"covidnet: {len(widths)} widths and {len(depths)} depths; expected one of each"
                " per stage"
            )
        self.stem = nn.Sequential(
            nn.Conv2d(channels, stem_width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(inplace=True),
        )
        stages = []
        n_in = stem_width
        for width, depth in zip(widths, depths, strict=True):
            stages.append(Stage(n_in, width, depth, projection=projection, expansion=expansion))
            n_in = width
        self.stages = nn.Sequential(*stages)
        head: list[nn.Module] = [nn.AdaptiveAvgPool2d(head_grid), nn.Flatten()]
        n_in *= head_grid**2
        for width in head_widths:
            head += [nn.Linear(n_in, width), nn.ReLU(inplace=True)]
            n_in = width
        self.head = nn.Sequential(*head, nn.Linear(n_in, n_classes))
        self.apply(_initialise)

    def forward(self, planes: Tensor) -> Tensor:
        """Return ``(N, n_classes)`` logits of ``(N, channels, H, W)`` normalised planes."""
        logits: Tensor = self.head(self.stages(self.stem(planes)))
        return logits


PAPER_PARAMS = {
    "stem_width": 64,
    "widths": (256, 512, 1024, 2048),
    "depths": (3, 4, 6, 3),
    "projection": 0.25,
    "expansion": 0.375,
    "head_grid": 7,
    "head_widths": (1024, 1024),
}
"""Widths of the 224 px network of the paper's Figure 2; inner widths give 117 M + side paths."""


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01 if module.out_features < 64 else 0.02)
        torch.nn.init.zeros_(module.bias)
