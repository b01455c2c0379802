"""Random views of the training films, on tensors and a whole batch at a time.

Ranges are COVID-Net's [wang2020covidnet]. Two deviations: what is turned or shifted in from outside
repeats the border instead of being black, because black wedges are a mark that only training films
would carry; mirroring is off by default, because it mirrors side markers and the heart.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from covid_debug.errors import InputContractError
from covid_debug.ranges import check_range


@dataclass(frozen=True, slots=True)
class AugmentationParams:
    """Ranges of the random changes; each image draws its own.

    Attributes:
        rotation_deg: Largest rotation to either side, in degrees.
        shift: Largest shift to either side, as a share of the side of the view.
        zoom: Smallest and largest magnification.
        brightness: Smallest and largest factor on intensities; the result is clipped to [0, 1].
        flip: Whether half of the images are mirrored left to right.
    """

    rotation_deg: float = 10.0
    shift: float = 0.1
    zoom: tuple[float, float] = (0.85, 1.15)
    brightness: tuple[float, float] = (0.9, 1.1)
    flip: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputContractError: If a range is negative or not ordered.
        """
        for name, (low, high) in (("zoom", self.zoom), ("brightness", self.brightness)):
            if not 0 < low <= high:
                raise InputContractError(
                    f"augmentation: {name} is ({low}, {high}); expected 0 < low <= high"
                )
        check_range(self, "[0, 180]", "rotation_deg", where="augmentation")
        check_range(self, "[0, 1)", "shift", where="augmentation")


def augment(
    images: Tensor,
    params: AugmentationParams,
    generator: torch.Generator,
    *,
    n_drawn: int | None = None,
    share: slice = slice(None),
) -> Tensor:
    """Rotate, zoom, shift, mirror and brighten each image by its own random amounts.

    Args:
        images: Canonical ``(N, 1, H, W)`` in [0, 1].
        params: Ranges.
        generator: On the CPU, so that draws do not depend on the device.
        n_drawn: Images of the batch for which amounts are drawn; None is those that are given.
        share: Which of the batch's images are given.

    Returns:
        New images of the same shape, in [0, 1], bilinear.
    """
    n = len(images) if n_drawn is None else n_drawn

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator)[share] * (high - low) + low

    angle = draw(-params.rotation_deg, params.rotation_deg) * (math.pi / 180)
    scale = 1 / draw(*params.zoom)
    shift_x, shift_y = (2 * draw(-params.shift, params.shift) for _ in range(2))
    mirror = 1 - 2 * ((torch.rand(n, generator=generator)[share] < 0.5) & params.flip).float()
    brightness = draw(*params.brightness)
    # Rows map output coordinates in [-1, 1] to the point of the input that is looked up.
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack(
        [
            torch.stack([cosine * mirror, -sine, shift_x], dim=1),
            torch.stack([sine * mirror, cosine, shift_y], dim=1),
        ],
        dim=1,
    ).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return (moved * brightness.to(images)[:, None, None, None]).clamp_(0, 1)
