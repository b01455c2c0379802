"""Fills chosen pixels of a film from the pixels around them.

Owns the fill algorithms and the guarantee that nothing outside the mask changes. It does not
decide what is masked.
"""

from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np

from covid_debug.catalog import Catalog
from covid_debug.errors import InputContractError
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import Pixels
from covid_debug.imaging.transplant import transplant

TRANSPLANT: Final = "transplant"
_RIM_PX: Final = 3
"""Width beyond ``radius_px`` that the fast-marching distance field of OpenCV can reach."""


def inpaint(
    pixels: Pixels,
    mask: Mask,
    *,
    method: str = "telea",
    radius_px: float = 10.0,
    avoid: Mask | None = None,
) -> Pixels:
    """Replace the masked pixels by what their surroundings suggest.

    Works on crops around groups of masked pixels. Groups that are further apart than twice the
    reach of the fill cannot influence each other, so that a crop with one reach of margin gives
    the same values as the whole film.

    Args:
        pixels: Gray film ``(H, W)``, 8 or 16 bit; both depths are filled natively.
        mask: ``(H, W)``, True where a pixel is to be replaced. Not all of it may be True.
        method: ``"telea"`` (Telea 2004, what was published for COVIDx++), ``"navier_stokes"``
            (Bertalmio 2001), ``"local_median"`` (each connected patch becomes the median of the
            unmasked pixels within ``radius_px`` of it), ``"blur"`` (Gaussian mean of the unmasked
            pixels; sigma is ``radius_px``, or the depth of the patch if that is more) or
            ``"transplant"`` (film from a place that looks alike, see
            :func:`covid_debug.imaging.transplant.transplant`; Telea where there is none).
        radius_px: Reach of the fill in film pixels, above 0.
        avoid: ``(H, W)``, True where ``"transplant"`` must not copy from; the other fills take
            no account of it.

    Returns:
        A new array of the same shape and type; equal to ``pixels`` wherever ``mask`` is False.

    Raises:
        InputContractError: If shape, type or radius are wrong or the mask covers everything.
        CatalogError: If the method is unknown.
    """
    fill = METHODS[method]
    _check_arguments(pixels, mask, radius_px)

    if method == TRANSPLANT:
        filled, mask = transplant(pixels, mask, avoid)
    else:
        filled = pixels.copy()
    reach = int(np.ceil(radius_px)) + _RIM_PX
    for rows, columns, patch in _iter_patches(mask, reach):
        crop = filled[rows, columns]
        # The corner of a crop may show part of another patch: hidden too, but not written here.
        crop[patch] = fill(crop, mask[rows, columns], radius_px)[patch]
    return filled


def _check_arguments(pixels: Pixels, mask: Mask, radius_px: float) -> None:
    if pixels.ndim != 2 or pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise InputContractError(
            f"inpaint: pixels are {pixels.dtype} with shape {pixels.shape}; "
            "expected one gray film (H, W) of uint8 or uint16"
        )
    if mask.shape != pixels.shape or mask.dtype != np.bool_:
        raise InputContractError(
            f"inpaint: mask is {mask.dtype} with shape {mask.shape}; "
            f"expected bool with the film's shape {pixels.shape}"
        )
    if not (np.isfinite(radius_px) and radius_px > 0):
        raise InputContractError(f"inpaint: radius_px is {radius_px}; expected more than 0")
    if mask.size and mask.all():
        raise InputContractError(
            "inpaint: mask covers the whole film; expected some pixels to fill from"
        )


def _iter_patches(mask: Mask, reach: int) -> Iterator[tuple[slice, slice, Mask]]:
    """Yield row and column slices and the mask of each group of nearby masked pixels."""
    raised = mask.astype(np.uint8)
    width = 2 * reach + 1
    grown = cv2.dilate(raised, np.ones((width, width), np.uint8))
    # Outlines take a thirtieth of the time of labels; a group inside a ring goes with the ring.
    outlines, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for outline in outlines:
        left, top, wide, high = cv2.boundingRect(outline)
        # The grown box already holds one reach of margin on every side inside the film.
        rows, columns = slice(top, top + high), slice(left, left + wide)
        inside = np.zeros((high, wide), np.uint8)
        cv2.drawContours(inside, [outline], -1, 1, cv2.FILLED, offset=(-left, -top))
        yield rows, columns, mask[rows, columns] & (inside > 0)


def _fill_telea(crop: Pixels, hidden: Mask, radius_px: float) -> Pixels:
    return _fill_opencv(crop, hidden, radius_px, cv2.INPAINT_TELEA)


def _fill_navier_stokes(crop: Pixels, hidden: Mask, radius_px: float) -> Pixels:
    return _fill_opencv(crop, hidden, radius_px, cv2.INPAINT_NS)


def _fill_opencv(crop: Pixels, hidden: Mask, radius_px: float, flag: int) -> Pixels:
    source = np.ascontiguousarray(crop)
    filled: Pixels = cv2.inpaint(source, hidden.astype(np.uint8), radius_px, flag)
    return filled


def _fill_local_median(crop: Pixels, hidden: Mask, radius_px: float) -> Pixels:
    filled = crop.copy()
    reach = int(np.ceil(radius_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    n_labels, labels = cv2.connectedComponents(hidden.astype(np.uint8), connectivity=8)
    for label in range(1, n_labels):
        piece = (labels == label).astype(np.uint8)
        ring = (cv2.dilate(piece, kernel) > 0) & ~hidden
        if not ring.any():
            ring = ~hidden
        filled[piece > 0] = np.median(crop[ring]).astype(crop.dtype)
    return filled


def _fill_blur(crop: Pixels, hidden: Mask, radius_px: float) -> Pixels:
    # Depth counts from the known pixels only: the edge of the film is no source of values.
    depth = float(cv2.distanceTransform(hidden.astype(np.uint8), cv2.DIST_L2, 5).max())
    sigma = max(radius_px, depth)
    known = (~hidden).astype(np.float32)
    weights = cv2.GaussianBlur(known, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    values = cv2.GaussianBlur(crop * known, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    top = np.iinfo(crop.dtype).max
    mean = values / np.maximum(weights, np.finfo(np.float32).tiny)
    filled: Pixels = np.clip(np.rint(mean), 0, top).astype(crop.dtype)
    return filled


FILLS: Final = Catalog[Callable[[Pixels, Mask, float], Pixels]](
    "imaging.inpainting",
    {
        "telea": _fill_telea,
        "navier_stokes": _fill_navier_stokes,
        "local_median": _fill_local_median,
        "blur": _fill_blur,
    },
)
"""Fills that look no further than their reach: the same on a window as on the whole film."""

METHODS: Final = Catalog[Callable[[Pixels, Mask, float], Pixels]](
    "imaging.inpainting",
    {**FILLS, TRANSPLANT: _fill_telea},  # Telea fills what transplantation leaves
)
"""All names that :func:`inpaint` takes."""
