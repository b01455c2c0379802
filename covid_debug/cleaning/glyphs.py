"""Narrows a text region from its box to the letters inside.

Owns the decision which pixels of a box belong to the text. Where that decision is not safe, the
whole box is the answer: text that stays is worse than skin that goes.
"""

import dataclasses
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from covid_debug.cleaning.plates import find_plate
from covid_debug.imaging.masks import Mask, PlacedMask, grow_mask, scale_of
from covid_debug.imaging.reading import Pixels
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion

MaskKind = Literal["glyphs", "box"]

_HATS: Final = (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)
_WIDEST_SHARE: Final = 0.8  # of the region's shorter side; what is wider is no stroke
_WIDEST_PX: Final = 48
_THIN_SHARE: Final = 0.35  # of the widest: rims and shadows around strokes
_LEVEL_PERCENTILE: Final = 95.0
_FILM_PERCENTILE: Final = 90.0
_MIN_LEVEL: Final = 0.05  # of the grey range
_MIN_AROUND: Final = 0.05  # of the window
_MIN_RATIO: Final = 1.5  # letters to what stands out of the film around
_STRONG: Final = 0.35  # of the letters' level
_FAR: Final = 0.5
_WEAK: Final = 0.15
_HALO_PX: Final = 2
_RING_PX: Final = 8
_OVERHANG_PX: Final = 10
_OVERHANG_SHARE: Final = 0.2
_MIN_SHARE: Final = 0.02
_MAX_SHARE: Final = 0.7
_MARGIN_PX: Final = 7
_MARGIN_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True)
class TextMask:
    """What is filled for one region.

    Attributes:
        placed: The mask at its place.
        kind: ``"glyphs"`` for letters, ``"box"`` for the whole region.
        is_incomplete: Whether something of the text is known to stay, such as a large plate.
    """

    placed: PlacedMask
    kind: MaskKind
    is_incomplete: bool = False


@dataclass(frozen=True, slots=True)
class _Site:
    """A region in the film around it; all arrays ``(h, w)``.

    Attributes:
        crop: The film.
        core: True inside the region.
        search: True where its letters may be.
        around: True where there is film without text.
        side: Shorter side of the region in pixels.
        widest: Width of the widest stroke in pixels, odd.
        unit: Pixels of this film for one pixel of a film of 640 px.
    """

    crop: Pixels
    core: Mask
    search: Mask
    around: Mask
    side: float
    widest: int
    unit: float


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
) -> TextMask:
    """Mask the letters of a region.

    Letters are what is narrower than 0.8 of the region and stands out of both its sides (a top hat,
    bright or dark, whichever is the stronger): a slope or the border of a body does not, and a bone
    stands out less than letters. What has at least 0.35 of the letters' contrast is ink; rims,
    shadows and blurred borders within 2 px are taken with it from 0.15 on. Outside the region ink
    is followed by up to 20 % of its height where it is connected and strong (0.5). The plate or
    disc that the letters stand on, or the ring around them, goes with them, see
    :func:`covid_debug.cleaning.plates.find_plate`. Lengths in pixels grow with films larger than
    640 px.

    Args:
        pixels: ``(H, W)``, 8 or 16 bit.
        region: Polygon in film pixels, at least partly inside.
        hidden: ``(H, W)``, True in every region of the film: not what the film is like.
        dilation_px: Growth of the letters in film pixels, for anti-aliased edges and halos.
        grey_range: Largest minus smallest grey value that counts as full contrast.

    Returns:
        The letters; or the whole region, when they stand out too little, when something fainter
        elsewhere in it may be text, when they fill nearly all of it or there is no film around.
    """
    height, width = pixels.shape
    x_min, y_min, x_max, y_max = region.box
    side = min(x_max - x_min, y_max - y_min)
    unit = scale_of(pixels.shape)
    overhang = dilation_px + round(min(_OVERHANG_PX * unit, _OVERHANG_SHARE * side))
    margin = max(overhang, round(side)) + round(_RING_PX * unit)
    top, left, high, wide = _window(region, pixels.shape, margin)
    core = _draw(region, top, left, (high, wide), 0)
    if not core.any():
        return TextMask(mask_box(region, pixels.shape, dilation_px), "box")
    crop = pixels[top : top + high, left : left + wide]
    plate, is_large = find_plate(
        crop,
        core,
        (top > 0, top + high < height, left > 0, left + wide < width),
        film_area=height * width,
        grey_range=grey_range,
    )
    # A drawn arrow is one shape as wide as its region, no strokes.
    share = 1.0 if region.kind == "annotation" else _WIDEST_SHARE
    widest = int(np.clip(share * side, 5, _WIDEST_PX * unit)) | 1
    search = _draw(region, top, left, (high, wide), overhang)
    around = ~(search | hidden[top : top + high, left : left + wide])
    letters = _find_letters(_Site(crop, core, search, around, side, widest, unit), grey_range)
    ink = core if letters is None else letters
    kind: MaskKind = "box" if letters is None or (core & ~letters).sum() == 0 else "glyphs"
    grown = grow_mask(ink | plate, dilation_px)
    return TextMask(PlacedMask(top, left, grown).trimmed(), kind, is_large)


def _find_letters(site: _Site, grey_range: float) -> Mask | None:
    """Return the letters of a region, or None where they cannot be told from the film."""
    hats = [_stand_out(site.crop, kind, site.widest) for kind in _HATS]
    levels = [float(np.percentile(hat[site.core], _LEVEL_PERCENTILE)) for hat in hats]
    first = int(np.argmax(levels))
    level, hat = levels[first], hats[first]
    beside = hat[site.around]
    if beside.size < _MIN_AROUND * site.crop.size:
        return None
    film = float(np.percentile(beside, _FILM_PERCENTILE))
    faintest = max(_MIN_LEVEL * grey_range, _MIN_RATIO * film)
    if level < faintest:
        return None
    rim = _stand_out(site.crop, _HATS[1 - first], max(int(_THIN_SHARE * site.widest), 3) | 1)
    strong = site.core & (hat > _STRONG * level)
    far = site.search & ((hat > max(_FAR * level, film)) | (rim > _FAR * level))
    ink = _keep_seeded(strong | far, strong)
    share = float((ink & site.core).sum() / site.core.sum())
    if share < _MIN_SHARE or not _is_complete(ink, hat, site, faintest):
        return None
    if share > _MAX_SHARE:
        ink |= site.core
    weak = (hat > _WEAK * level) | (rim > _WEAK * level)
    return np.asarray(ink | (weak & site.search & grow_mask(ink, round(_HALO_PX * site.unit))))


def _stand_out(crop: Pixels, kind: int, widest: int) -> Pixels:
    return np.asarray(cv2.morphologyEx(crop, kind, np.ones((widest, widest), np.uint8)))


def _is_complete(ink: Mask, hat: Pixels, site: _Site, faintest: float) -> bool:
    """Return whether nothing else in the region stands out: no letter is fainter than the rest."""
    margin = round(max(_MARGIN_PX * site.unit, _MARGIN_SHARE * site.side))
    rest = hat[site.core & ~grow_mask(ink, margin)]
    return not rest.size or float(np.percentile(rest, _LEVEL_PERCENTILE)) <= faintest


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


def _keep_seeded(candidates: Mask, seeds: Mask) -> Mask:
    """Return the connected pieces of the candidates that contain a seed."""
    n_labels, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=8)
    has_seed = np.zeros(n_labels, np.bool_)
    has_seed[np.unique(labels[seeds & candidates])] = True
    has_seed[0] = False
    chosen: Mask = has_seed[labels]
    return chosen
