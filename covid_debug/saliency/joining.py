"""What comes out of a method, group by group: checked, and joined to one batch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from covid_debug.errors import ExplanationError


def check_map(name: str, saliency: Tensor, images: Tensor, offset: int) -> None:
    """Refuse a map that has not the images' shape, device and type, or is not finite.

    Args:
        name: Method.
        saliency: Its maps of a group.
        images: The group.
        offset: Place of the group's first image in the batch, for the message.

    Raises:
        ExplanationError: With the number of the first bad image.
    """
    if saliency.shape != images.shape or saliency.device != images.device:
        raise ExplanationError(
            f"{name}: saliency has shape {tuple(saliency.shape)} on {saliency.device};"
            f" expected {tuple(images.shape)} on {images.device}"
        )
    if saliency.dtype != images.dtype:
        raise ExplanationError(f"{name}: saliency is {saliency.dtype}; expected {images.dtype}")
    bad = (~saliency.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise ExplanationError(
            f"{name}: saliency of image {offset + bad[0]} is not finite"
            f" ({len(bad)} of {len(images)} images); check the model's outputs on this image"
        )


def join_grids(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return the grids of all groups, None where the method has none."""
    grids = [part for part in parts if part is not None]
    return torch.cat(grids).detach() if grids else None


def join_diagnostics(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the diagnostics of all groups."""
    return {key: torch.cat([part[key] for part in parts]).detach() for key in parts[0]}
