"""Narrows a text region from its box to the letters inside.

Owns the decision which pixels of a box belong to the text. Where that decision is not safe, the
whole box is the answer: text that stays is worse than skin that goes.
"""

import dataclasses
from typing import Final, Literal

import cv2
import numpy as np

from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.masks import Mask, PlacedMask
from covid_debug.imaging.reading import Pixels
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion

MaskKind = Literal["glyphs", "box"]

_BACKGROUND_RADIUS_PX: Final = 4.0
_RING_PX: Final = 8
_MIN_RING_SHARE: Final = 0.05
_TEXTURE_LAG_PX: Final = 4
_MAX_OVERHANG_PX: Final = 10
_OVERHANG_SHARE: Final = 0.2
_WEAK: Final = (3.0, 0.02)  # noise units, share of the grey range; the larger one counts
_STRONG: Final = (6.0, 0.06)
_MIN_SHARE: Final = 0.02
_MAX_SHARE: Final = 0.7


def mask_box(region: TextRegion, shape: tuple[int, ...], dilation_px: int) -> PlacedMask:
    """Mask the whole region.

    Args:
        region: Polygon in film pixels.
        shape: ``(H, W)`` of the film; the region is cut off there.
        dilation_px: Growth of the region in pixels.

    Returns:
        The region and what it grew by, at its place.
    """
    top, left, high, wide = _window(region, shape, dilation_px + 1)
    return PlacedMask(top, left, _draw(region, top, left, (high, wide), dilation_px))


def mask_glyphs(
    pixels: Pixels, region: TextRegion, hidden: Mask, *, dilation_px: int, grey_range: float
) -> tuple[PlacedMask, MaskKind]:
    """Mask the letters of a region.

    The film that would be there without text is predicted from around the region (Gaussian mean).
    Pixels that differ from it by more than the texture around the region are letters: a hysteresis
    of six and three noise units, so that dark rims and compression ringing that touch a stroke go
    with it. Strokes, circles and frames may leave the box by up to 20 % of its height.

    Args:
        pixels: ``(H, W)``, 8 or 16 bit.
        region: Polygon in film pixels, at least partly inside.
        hidden: ``(H, W)``, True in every region of the film: no source for the prediction.
        dilation_px: Growth of the letters in pixels, for anti-aliased edges.
        grey_range: Largest minus smallest grey value that counts as full contrast.

    Returns:
        The letters and ``"glyphs"``; or the whole region and ``"box"``, when less than 2 % or more
        than 70 % of the region stands out, or when the region leaves no surroundings to predict
        from.
    """
    box = region.box
    overhang = dilation_px + min(
        _MAX_OVERHANG_PX, round(_OVERHANG_SHARE * min(box[2] - box[0], box[3] - box[1]))
    )
    top, left, high, wide = _window(region, pixels.shape, overhang + _RING_PX)
    core = _draw(region, top, left, (high, wide), 0)
    search = _draw(region, top, left, (high, wide), overhang)
    window = (slice(top, top + high), slice(left, left + wide))
    unseen = search | hidden[window]
    ring = ~unseen
    whole = mask_box(region, pixels.shape, dilation_px)
    if not core.any() or ring.mean() < _MIN_RING_SHARE:
        return whole, "box"

    crop: Pixels = pixels[window].copy()
    # Not Telea: it extrapolates gradients, and with them the noise.
    background = inpaint(crop, unseen, method="blur", radius_px=_BACKGROUND_RADIUS_PX)
    contrast = cv2.absdiff(crop, background).astype(np.float32)
    noise = _texture(crop, ring)
    weak, strong = (max(units * noise, share * grey_range) for units, share in (_WEAK, _STRONG))
    near = _draw(region, top, left, (high, wide), dilation_px + 1)
    # Further out only what stands out as clearly as letters, or anatomy would come along.
    stands_out = (near & (contrast > weak)) | (search & (contrast > strong))
    letters = _keep_seeded(stands_out, core & (contrast > strong))
    share = float((letters & core).sum() / core.sum())
    if share < _MIN_SHARE:
        return whole, "box"
    is_solid = share > _MAX_SHARE
    side = 2 * dilation_px + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    grown = cv2.dilate((letters | core if is_solid else letters).astype(np.uint8), kernel) > 0
    return PlacedMask(top, left, grown), "box" if is_solid else "glyphs"


def _window(region: TextRegion, shape: tuple[int, ...], margin: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the region with a margin, inside the film."""
    x_min, y_min, x_max, y_max = region.box
    top, left = max(int(np.floor(y_min)) - margin, 0), max(int(np.floor(x_min)) - margin, 0)
    bottom = min(int(np.ceil(y_max)) + margin, shape[0])
    right = min(int(np.ceil(x_max)) + margin, shape[1])
    return top, left, max(bottom - top, 0), max(right - left, 0)


def _draw(
    region: TextRegion, top: int, left: int, shape: tuple[int, int], dilation_px: int
) -> Mask:
    polygon = tuple((x - left, y - top) for x, y in region.polygon)
    local = dataclasses.replace(region, polygon=polygon)
    return regions_to_mask([local], shape[1], shape[0], dilation_px=dilation_px)


def _texture(crop: Pixels, ring: Mask) -> float:
    """Return the robust spread of grey values a few pixels apart, outside the region."""
    values = crop.astype(np.float32)
    lag = _TEXTURE_LAG_PX
    steps = [
        np.abs(values[:, lag:] - values[:, :-lag])[ring[:, lag:] & ring[:, :-lag]],
        np.abs(values[lag:] - values[:-lag])[ring[lag:] & ring[:-lag]],
    ]
    pairs = np.concatenate(steps)
    # The median of |a - b| of two normal draws is 0.6745 * sqrt(2) standard deviations.
    return float(np.median(pairs) / 0.9539) if pairs.size else 0.0


def _keep_seeded(candidates: Mask, seeds: Mask) -> Mask:
    """Return the connected pieces of the candidates that contain a seed."""
    n_labels, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=8)
    has_seed = np.zeros(n_labels, np.bool_)
    has_seed[np.unique(labels[seeds & candidates])] = True
    has_seed[0] = False
    chosen: Mask = has_seed[labels]
    return chosen
