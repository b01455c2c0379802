"""Colours on top of films, for people only.

Nothing here changes what a model sees; maps are scaled for display and say nothing about units.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from covid_debug.errors import InputContractError
from covid_debug.records import TextRegion

# Anchors of a map whose lightness rises evenly from violet to pale yellow; every step is
# distinguishable in gray and with the common colour deficiencies.
_ANCHORS = np.array(
    [
        (59, 15, 112),
        (140, 41, 129),
        (205, 64, 113),
        (246, 110, 92),
        (254, 159, 109),
        (254, 207, 146),
        (252, 253, 191),
    ],
    np.float64,
)
_MAX_OPACITY = 0.85


def overlay_saliency(
    view: npt.NDArray[np.uint8], saliency: npt.NDArray[np.floating]
) -> npt.NDArray[np.uint8]:
    """Lay a saliency map over the view that it explains.

    The colours run from the map's median, or 0 where that is less, to its largest value, so that a
    constant map, or one without evidence for the target, shows the view alone.

    Args:
        view: ``(S, S)`` uint8, the model's view.
        saliency: ``(S, S)``, finite, larger = more evidence for the target; below 0 against it.

    Returns:
        ``(S, S, 3)`` RGB; low saliency is transparent, high saliency is bright.

    Raises:
        InputContractError: If the shapes differ or a value is not finite.
    """
    if view.ndim != 2 or view.dtype != np.uint8 or saliency.shape != view.shape:
        raise InputContractError(
            f"overlay_saliency: view is {view.shape} {view.dtype}, saliency {saliency.shape};"
            " expected uint8 (S, S) and the same shape"
        )
    layer = colour_saliency(saliency).astype(np.float64)
    opacity = _MAX_OPACITY * layer[..., 3:] / 255
    gray = np.repeat(view[..., None].astype(np.float64), 3, axis=2)
    return np.rint(gray * (1.0 - opacity) + layer[..., :3] * opacity).astype(np.uint8)


def colour_saliency(saliency: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Colour a saliency map as a layer of its own.

    Args:
        saliency: ``(S, S)``, finite, larger = more evidence for the target; below 0 against it.

    Returns:
        ``(S, S, 4)`` RGB and opacity, which runs from 0 at the map's median, or 0 where that is
        less, to 255 at its largest value; a map that is constant or nowhere above 0 is transparent.

    Raises:
        InputContractError: If a value is not finite.
    """
    values = saliency.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputContractError("colour_saliency: saliency has values that are not finite")
    low, high = max(float(np.median(values)), 0.0), float(values.max())
    strength = np.zeros_like(values)
    if high > low:
        strength = np.clip((values - low) / (high - low), 0.0, 1.0)
    layer = np.concatenate([_colour(strength), 255 * strength[..., None]], axis=-1)
    return np.asarray(np.rint(layer), np.uint8)


def colour_bar(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the colours of the overlay, low at the left, as ``(height, width, 3)`` RGB."""
    row = np.rint(_colour(np.linspace(0.0, 1.0, width))).astype(np.uint8)
    return np.repeat(row[None], height, axis=0)


def draw_regions(
    film: npt.NDArray[np.uint8],
    regions: Sequence[TextRegion],
    color: tuple[int, int, int] = (255, 176, 0),
) -> npt.NDArray[np.uint8]:
    """Outline text regions on a film.

    Args:
        film: ``(H, W)`` uint8.
        regions: Polygons in film pixels; parts outside the film are cut off.
        color: RGB of the outline.

    Returns:
        ``(H, W, 3)`` RGB; the line is about 1/300 of the film's longer side wide.

    Raises:
        InputContractError: If ``film`` is not a gray uint8 image.
    """
    if film.ndim != 2 or film.dtype != np.uint8:
        raise InputContractError(
            f"draw_regions: film has shape {film.shape} and type {film.dtype};"
            " expected (H, W) of uint8"
        )
    picture = np.repeat(film[..., None], 3, axis=2)
    width = max(1, round(max(film.shape) / 300))
    outlines = [np.rint(np.asarray(region.polygon)).astype(np.int32) for region in regions]
    cv2.polylines(picture, outlines, isClosed=True, color=color, thickness=width)
    return picture


def _colour(strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    places = np.linspace(0.0, 1.0, len(_ANCHORS))
    return np.stack([np.interp(strength, places, channel) for channel in _ANCHORS.T], axis=-1)
