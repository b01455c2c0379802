"""Baselines: what a film looks like where its content is removed.

Owns the blur of the papers and constant images; does not decide which pixels are replaced.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from covid_debug.ranges import check_choices, check_range
from covid_debug.shapes import Images

BaselineKind = Literal["blur", "constant"]


@dataclass(frozen=True, slots=True)
class BaselineSpec:
    """How a baseline is made.

    Attributes:
        kind: ``"blur"``, the papers' strong Gaussian blur, or ``"constant"``.
        value: Intensity in [0, 1] of a constant baseline; unused by the blur.
    """

    kind: BaselineKind = "blur"
    value: float = 0.0

    def __post_init__(self) -> None:
        """Check the kind and the value."""
        check_choices(self, "perturbation.baselines")
        check_range(self, "[0, 1]", "value", where="perturbation.baselines")


def make_baseline(images: Images, spec: BaselineSpec) -> Tensor:
    """Return the baseline of each image, same shape and dtype, never aliasing the input."""
    if spec.kind == "blur":
        return blur_baseline(images)
    return torch.full_like(images, spec.value)


def blur_baseline(images: Images) -> Tensor:
    """Blur images so strongly that evidence disappears and brightness stays.

    A separable Gaussian with the papers' constants: 51 taps, sigma 50 px below 500 px; 151/150
    from 500 px; 201/200 from 800 px. Borders are reflected; where the image is smaller than the
    kernel's reach, the reflection repeats. The blur is applied as two matrix products, so it is
    deterministic on every device.

    Args:
        images: Canonical images in [0, 1].

    Returns:
        Blurred images in [0, 1]; a constant image is its own baseline up to rounding.
    """
    height, width = images.shape[-2:]
    rows = _blur_matrix(height, images.dtype, images.device)
    columns = _blur_matrix(width, images.dtype, images.device)
    return (rows @ images @ columns.T).clamp(0, 1)


@functools.lru_cache(maxsize=8)  # an audit asks once a film
@torch.inference_mode(mode=False)  # what is kept may meet a gradient later
def _blur_matrix(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the blur as a matrix with reflected borders; each row sums to 1."""
    n_taps, sigma_px = (51, 50) if length < 500 else (151, 150) if length < 800 else (201, 200)
    offsets = torch.arange(n_taps, device=device) - n_taps // 2
    taps = torch.exp(-(offsets.double() ** 2) / (2.0 * sigma_px**2))
    taps = taps / taps.sum()
    positions = torch.arange(length, device=device)[:, None] + offsets
    period = max(2 * (length - 1), 1)
    folded = positions.remainder(period)
    reflected = torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(folded)
    matrix = torch.zeros(length, length, dtype=torch.float64, device=device)
    for tap, column in zip(taps, reflected.T, strict=True):
        matrix[torch.arange(length, device=device), column] += tap
    return matrix.to(dtype)
