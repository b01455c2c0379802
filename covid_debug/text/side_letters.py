"""The side letter inside a region that could not be read whole.

Lead markers carry a large L or R beside the small initials of a technologist, in every position;
others stand in a ring. Read as one line neither says anything. Here the glyphs of a region are
taken apart, each that may be an L or R is read alone, and the region is cut between the side letter
and the rest, so that a policy can keep the side and remove the initials.

An L is taken on the right half of a film only, an R on the left one, where films show these sides:
a corner of anything looks like an L.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.records import Point, TextRegion
from covid_debug.text.recognition import Reading
from covid_debug.text.screening import Gray

Mask = NDArray[np.bool_]
Recognise = Callable[[Sequence[Gray]], list[Reading]]

_PAD_SHARE: Final = 0.15
_SIDE_PX: Final = 96  # of the shorter side while glyphs are taken apart
_MAX_ZOOM: Final = 6.0
_WIDEST: Final = 4.0  # longer regions are lines
_GROUND_SHARE: Final = 0.45  # of the shorter side: nothing that wide is a stroke
_MIN_LEVEL: Final = 6.0  # gray levels
_SHARES_OF_INK: Final = (0.0, 0.55)  # thresholds: Otsu's, and one that parts glyphs that touch
_MIN_SHARE: Final = 0.15  # a side letter's part of its region's longer side
_MIN_GLYPH_PX: Final = 8.0  # film pixels
_RING_FILL: Final = 0.5  # share of what it encloses that a ring itself covers, at most
_SOLID: Final = (0.4, 0.9)  # share of its hull that an L or R covers
_ALIKE: Final = (0.8, 1.25)  # heights of letters of one word
_OFF_LINE: Final = 0.2  # of a letter's height: between the middles of letters of one line
_NARROWEST: Final = 0.15  # of a letter's height
_GAP: Final = 0.4  # of a letter's height, between letters of one word
_WORD: Final = 2  # as many others make a word of a letter
_MAX_READ: Final = 4
_RING_SHARE: Final = 0.4  # of the region's longer side: a smaller ring is an O
_INSET: Final = 0.18  # of a ring's width, between its outer edge and what it encloses
_RINGED: Final = frozenset("LRIS")  # left, right; izquierda; sinistra
_SURE_IN_RING: Final = 0.9
_ASLANT: Final = 12.0  # degrees
_INPUT_PX: Final = 48
_SURE: Final = 0.95
_HOPE: Final = 0.3  # a reading in one turn that makes others worth their time
_SAME: Final = 0.8  # of two glyphs' common area: one seen twice
_SOME_INK: Final = 0.008  # of the letter's area: smaller pieces beside it decide nothing
_STEP: Final = 15  # degrees between the directions of a cut


@dataclass(frozen=True, slots=True)
class Glyph:
    """A connected piece of ink.

    Attributes:
        mask: ``(h, w)`` in the enlarged crop.
        box: ``(x, y, width, height)`` there.
        ink: ``(h, w)`` float32, how far the crop stands out of its ground.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    ink: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """A side letter.

    Attributes:
        content: The letter.
        glyph: Its ink, or the ring round it.
        glyphs: All ink that was found in the same way.
    """

    content: str
    glyph: Glyph
    glyphs: Sequence[Glyph]


@dataclass(frozen=True, slots=True)
class Crop:
    """A region with room around, enlarged; ``film = crop / zoom + (left, top)``."""

    pixels: Gray
    zoom: float
    left: int
    top: int


def split_side_letter(
    region: TextRegion, image: Gray, recognise: Recognise
) -> tuple[TextRegion, ...]:
    """Cut the side letter out of a region.

    Args:
        region: A region that could not be read, or says nothing that is known.
        image: The film, uint8 ``(H, W)`` in [0, 255].
        recognise: Reads crops of 48 by 48 px.

    Returns:
        The region with the letter as its content, then the rest of the given region where there is
        any; both together cover what the given one covers. Nothing where no side letter is read.
    """
    x0, y0, x1, y1 = region.box
    height, width = image.shape
    if max(x1 - x0, y1 - y0) > _WIDEST * min(x1 - x0, y1 - y0):
        return ()
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return ()  # beside the film
    side = "L" if x0 + x1 > width else "R"
    crop = _cut(region, image)
    for is_dark in (False, True):
        ink = _find_ink(crop.pixels, is_dark=is_dark)
        several = [_find_glyphs(ink, share) for share in _SHARES_OF_INK]
        found = _read_ring(several, crop, recognise) or _find_letter(several, side, crop, recognise)
        if found is not None:
            return _split(region, found, crop)
    return ()


def _read_ring(
    several: Sequence[Sequence[Glyph]], crop: Crop, recognise: Recognise
) -> Found | None:
    """Return a ring of which the inside alone reads as a letter of a side in some language."""
    for glyphs in several:
        for ring in glyphs:
            x, y, wide, high = ring.box
            if max(wide, high) < _RING_SHARE * max(ring.mask.shape) or not _is_ring(ring):
                continue
            by_x, by_y = math.floor(_INSET * wide), math.floor(_INSET * high)
            inside = crop.pixels[y + by_y : y + high - by_y, x + by_x : x + wide - by_x]
            (reading,) = recognise([np.ascontiguousarray(inside)])
            if reading.content in _RINGED and reading.score >= _SURE_IN_RING:
                return Found(reading.content, ring, glyphs)
    return None


def _cut(region: TextRegion, image: Gray) -> Crop:
    x0, y0, x1, y1 = region.box
    height, width = image.shape
    room = max(2.0, _PAD_SHARE * min(x1 - x0, y1 - y0))
    left, top = max(0, int(x0 - room)), max(0, int(y0 - room))
    right, bottom = min(width, math.ceil(x1 + room)), min(height, math.ceil(y1 + room))
    pixels = image[top:bottom, left:right]
    zoom = min(max(1.0, _SIDE_PX / min(pixels.shape)), _MAX_ZOOM)
    size = round(pixels.shape[1] * zoom), round(pixels.shape[0] * zoom)
    large = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return Crop(np.asarray(large, np.uint8), zoom, left, top)


def _find_ink(pixels: Gray, *, is_dark: bool) -> NDArray[np.float32]:
    """Return how far strokes stand out of the ground, whatever lies below them."""
    side = max(5, int(_GROUND_SHARE * min(pixels.shape))) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    wide = cv2.copyMakeBorder(pixels, side, side, side, side, cv2.BORDER_REPLICATE)
    way = cv2.MORPH_BLACKHAT if is_dark else cv2.MORPH_TOPHAT
    ink = cv2.morphologyEx(wide, way, kernel)[side:-side, side:-side]
    return np.asarray(ink, np.float32)


def _find_glyphs(ink: NDArray[np.float32], share: float) -> list[Glyph]:
    """Return the connected pieces of ink above Otsu's threshold and a share of the strongest."""
    values = ink.astype(np.uint8).reshape(-1, 1)
    otsu, _ = cv2.threshold(values, 0, 255, cv2.THRESH_OTSU)
    level = max(otsu, share * float(np.percentile(ink, 98)), _MIN_LEVEL)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(
        (ink > level).astype(np.uint8), connectivity=4
    )
    return [
        Glyph(labels == number, tuple(map(int, stats[number, :4])), ink)  # type: ignore[arg-type]
        for number in range(1, n)
    ]


def _find_letter(
    several: Sequence[Sequence[Glyph]], side: str, crop: Crop, recognise: Recognise
) -> Found | None:
    """Return the glyph that reads as the side."""
    chosen: list[Found] = []
    for glyphs in several:
        for glyph in _choose(glyphs, crop.zoom):
            if all(_differ(glyph, other.glyph) for other in chosen):
                chosen.append(Found(side, glyph, glyphs))
    chosen = chosen[:_MAX_READ]
    upright = [_draw(one.glyph, 0.0) for one in chosen]
    scores = _read_turned(upright, side, recognise)
    again: list[tuple[Found, Gray]] = []
    for one, drawn, score in zip(chosen, upright, scores, strict=True):
        if score >= _SURE:
            return one
        angle = _angle_of(one.glyph)
        if score >= _HOPE or abs(angle) > _ASLANT:
            again.append((one, drawn[:, ::-1]))
        if abs(angle) > _ASLANT:
            again.append((one, _draw(one.glyph, angle)))
    scores = _read_turned([drawn for _, drawn in again], side, recognise)
    return next(
        (one for (one, _), score in zip(again, scores, strict=True) if score >= _SURE), None
    )


def _read_turned(drawn: Sequence[Gray], side: str, recognise: Recognise) -> list[float]:
    """Return how surely each drawn glyph reads as the side in the best of four turns."""
    crops = [np.ascontiguousarray(np.rot90(seen, turn)) for seen in drawn for turn in range(4)]
    scores = [one.score if one.content.upper() == side else 0.0 for one in recognise(crops)]
    return [max(scores[at : at + 4]) for at in range(0, len(scores), 4)]


def _choose(glyphs: Sequence[Glyph], zoom: float) -> list[Glyph]:
    """Return the glyphs that may be an L or R, the largest first."""
    chosen = []
    for glyph in glyphs:
        long = max(glyph.box[2:])
        if long < _MIN_SHARE * max(glyph.mask.shape) or long < _MIN_GLYPH_PX * zoom:
            continue
        least, most = _SOLID
        is_letter = least <= _measure_solidity(glyph) <= most and not _is_ring(glyph)
        if is_letter and not _stands_in_word(glyph, glyphs):
            chosen.append(glyph)
    return sorted(chosen, key=lambda one: -one.box[2] * one.box[3])


def _stands_in_word(glyph: Glyph, glyphs: Sequence[Glyph]) -> bool:
    """Tell whether upright letters of the same height join up with it, as in initials "LPM"."""
    x, y, wide, high = glyph.box
    least, most = _ALIKE
    line = sorted(
        (left, left + width)
        for left, top, width, height in (one.box for one in glyphs if one is not glyph)
        if least < height / high < most
        and abs(top + height / 2 - y - high / 2) < _OFF_LINE * high
        and width > _NARROWEST * high
    )
    reach, n_joined = (x, x + wide), 0
    for _ in line:
        near = [
            one
            for one in line
            if one[0] - reach[1] < _GAP * high and reach[0] - one[1] < _GAP * high
        ]
        n_joined = len(near)
        reach = (min([reach[0], *(a for a, _ in near)]), max([reach[1], *(b for _, b in near)]))
    return n_joined >= _WORD


def _differ(glyph: Glyph, other: Glyph) -> bool:
    return float((glyph.mask & other.mask).sum()) < _SAME * float((glyph.mask | other.mask).sum())


def _angle_of(glyph: Glyph) -> float:
    rows, columns = np.nonzero(glyph.mask)
    _, _, angle = cv2.minAreaRect(np.stack([columns, rows], axis=1).astype(np.float32))
    return float(angle - 90 if angle > 45 else angle)


def _outline(glyph: Glyph) -> NDArray[np.int32]:
    outlines, _ = cv2.findContours(
        glyph.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return np.asarray(max(outlines, key=len), np.int32)


def _measure_solidity(glyph: Glyph) -> float:
    area = cv2.contourArea(cv2.convexHull(_outline(glyph)))
    return float(glyph.mask.sum() / max(area, 1.0))


def _is_ring(glyph: Glyph) -> bool:
    return bool(glyph.mask.sum() < _RING_FILL * cv2.contourArea(_outline(glyph)))


def _draw(glyph: Glyph, angle: float) -> Gray:
    """Draw a glyph alone, bright on dark, in a square."""
    x, y, wide, high = glyph.box
    near = cv2.dilate(glyph.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    full = max(float(np.percentile(glyph.ink[glyph.mask], 80)), 1.0)
    drawn = np.clip(np.where(near, glyph.ink, 0) / full * 200 + 30, 0, 240).astype(np.uint8)
    turn = cv2.getRotationMatrix2D((x + wide / 2, y + high / 2), angle, 1.0)
    rows, columns = np.nonzero(glyph.mask)
    points = np.stack([columns, rows, np.ones_like(rows)], axis=1) @ turn.T
    low, top = points.min(axis=0), points.max(axis=0)
    side = 1.25 * float((top - low).max() + 1)
    turn[:, 2] += side / 2 - (low + top) / 2
    square = cv2.warpAffine(drawn, turn, (math.ceil(side), math.ceil(side)), borderValue=30)
    return np.asarray(
        cv2.resize(square, (_INPUT_PX, _INPUT_PX), interpolation=cv2.INTER_AREA), np.uint8
    )


def _split(region: TextRegion, found: Found, crop: Crop) -> tuple[TextRegion, ...]:
    """Cut a region between the letter and all other ink, by a straight line in the widest gap."""
    whole = _ring_round(found.glyph, found.glyphs)
    mine = _to_film(whole, crop)
    others = [_to_film(one, crop) for one in found.glyphs if _is_beside(one, whole, region, crop)]
    letter = replace(region, content=found.content)
    if not others:
        return (letter,)
    rest = np.concatenate(others)
    best: tuple[float, tuple[float, float], float] = (0.0, (0.0, 0.0), 0.0)
    for degrees in range(0, 360, _STEP):
        way = (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        end, start = float((mine @ way).max()), float((rest @ way).min())
        if start - end > best[0]:
            best = (start - end, way, (start + end) / 2)
    if best[0] == 0:
        # No line parts them: the letter's hull is the side, the rest stays the whole region.
        hull = cv2.convexHull(mine.astype(np.float32))[:, 0]
        outline = tuple((float(x), float(y)) for x, y in hull)
        return (replace(letter, polygon=outline), replace(region, content=None))
    _, (x, y), at = best
    halves = (
        cut_polygon(region.polygon, (x, y), at),
        cut_polygon(region.polygon, (-x, -y), -at),
    )
    if min(map(len, halves)) < 3:
        return (letter,)
    return (
        replace(letter, polygon=halves[0]),
        replace(region, polygon=halves[1], content=None),
    )


def _ring_round(glyph: Glyph, glyphs: Sequence[Glyph]) -> Glyph:
    """Return the ring in which a letter stands, or the letter."""
    for one in glyphs:
        if one is not glyph and _is_ring(one) and _lies_in(glyph.box, one.box):
            return one
    return glyph


def _lies_in(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    (x, y, wide, high), (left, top, width, height) = box, other
    is_right = left <= x and x + wide <= left + width
    return is_right and top <= y and y + high <= top + height


def _is_beside(one: Glyph, whole: Glyph, region: TextRegion, crop: Crop) -> bool:
    """Tell whether a glyph is other ink of the region, neither of the marker nor a speck."""
    _, _, wide, high = whole.box
    if one is whole or one.mask.sum() < _SOME_INK * wide * high:
        return False
    x0, y0, x1, y1 = region.box
    x, y = _to_film(one, crop).mean(axis=0)
    if not (x0 <= x <= x1 and y0 <= y <= y1) or _lies_in(whole.box, one.box):
        return False
    return not (_is_ring(whole) and _lies_in(one.box, whole.box))


def _to_film(glyph: Glyph, crop: Crop) -> NDArray[np.float64]:
    """Return the corners of a glyph's pixels on its outline, in film pixels, ``(n, 2)``."""
    outline = _outline(glyph)[:, 0].astype(np.float64)
    corners = np.concatenate([outline + shift for shift in ((0, 0), (1, 0), (0, 1), (1, 1))])
    return corners / crop.zoom + (crop.left, crop.top)


def cut_polygon(polygon: Sequence[Point], way: tuple[float, float], at: float) -> tuple[Point, ...]:
    """Return the part of a polygon that lies before a line.

    Args:
        polygon: Corners in order; convex.
        way: Unit vector across the line.
        at: Where the line crosses it: points with ``point . way <= at`` stay.

    Returns:
        Corners in order; fewer than three where nothing is left.

    Source: Sutherland and Hodgman 1974, one edge.
    """
    kept: list[Point] = []
    ahead = [x * way[0] + y * way[1] - at for x, y in polygon]
    for index, (x, y) in enumerate(polygon):
        before, here = ahead[index - 1], ahead[index]
        if (before < 0 < here) or (here < 0 < before):
            last_x, last_y = polygon[index - 1]
            share = before / (before - here)
            kept.append((last_x + share * (x - last_x), last_y + share * (y - last_y)))
        if here <= 0:
            kept.append((x, y))
    return tuple(kept)
