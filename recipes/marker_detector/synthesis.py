"""Training samples: crops of films with planted markers, hard negatives, and exact targets.

Owns placing and degrading; typesetting is in ``glyphs``, negatives in ``clutter``, drawn arrows and
circles in ``annotations``, how ink meets a film in ``blending``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.records import Box
from recipes.marker_detector.annotations import draw_annotation, to_target
from recipes.marker_detector.backgrounds import Background, Gray
from recipes.marker_detector.blending import add_halo, blend, regrade
from recipes.marker_detector.clutter import draw_clutter
from recipes.marker_detector.glyphs import DrawnMark, Quads, draw_mark
from recipes.marker_detector.network import OUTPUT_STRIDE

Plane = NDArray[np.float32]

CROP_PX = 256
_TEMPLATE_PX = 64
_SIGMA = 0.36  # of the half box; a character's map falls to 0.02 at the box's edge
_DWELL_SHARE = 0.65  # of crops, on films that have own text or known hard negatives
_DWELL_ON_TEXT = 0.6  # of these, where a film has both
_MOST_NEEDED_PX = 3000  # of a mark that is cut by the crop
_SOFT_SHARE = 0.25  # of letters above 26 px: faint and out of the plane of the film
_TOUCHED_SHARE = 0.16  # of marks, by a clip, a wire or an edge that is no text
_COHEN = "covid-chestxray-dataset"
_COHEN_SHARE = 0.3  # of crops: a tenth of the films, but from many hospitals and journals


@dataclass(frozen=True, slots=True)
class Sample:
    """One training crop.

    Attributes:
        pixels: ``(256, 256)`` uint8.
        characters: Target ``(128, 128)``: a Gaussian hill on every character, in [0, 1].
        areas: Target ``(128, 128)``: 1 inside lines of text.
        annotations: Target ``(128, 128)``: 1 on arrows, circles and lines of a human hand.
        weights: ``(3, 128, 128)``: 0 where the truth of a target is unknown, otherwise 1; higher
            on small text and lower on large, which has many more pixels.
    """

    pixels: Gray
    characters: Plane
    areas: Plane
    annotations: Plane
    weights: Plane


def render_sample(
    backgrounds: Sequence[Background], fonts: Sequence[Path], rng: np.random.Generator
) -> Sample:
    """Render one training crop.

    Args:
        backgrounds: Films to plant on.
        fonts: Font files to write with.
        rng: Draws everything.

    Returns:
        The crop and its targets.
    """
    background = _draw_background(backgrounds, rng)
    crop = _crop(background, rng)
    characters, areas = crop.characters, crop.areas
    film = regrade(crop.pixels.astype(np.float32), rng)
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.4, 0.32, 0.18, 0.1]))):
        film = _add_layer(film, draw_clutter(rng, CROP_PX), areas, rng)
    drawn = _fill(crop.annotated, CROP_PX, 1.0)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.68, 0.22, 0.1]))):
        layer = draw_annotation(rng, CROP_PX)
        film = _add_layer(film, layer, areas, rng)
        np.maximum(drawn, to_target(layer), out=drawn)
    occupied = np.maximum(_fill([*areas, *crop.ignored], CROP_PX, 1.0), drawn)
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.2, 0.28, 0.28, 0.14, 0.1]))):
        planted = _plant(film, occupied, draw_mark(rng, fonts), rng)
        if planted is not None:
            film, new_characters, new_areas = planted
            characters, areas = [*characters, *new_characters], [*areas, *new_areas]
    side = CROP_PX // OUTPUT_STRIDE
    area_map = _fill(_shrunk(areas), side, 1.0)
    # A text's own surroundings stay in the loss, or its extent would not be learned.
    near_text = cv2.dilate(area_map, np.ones((3, 3), np.uint8))
    known = np.maximum(1 - _fill(_shrunk(crop.ignored), side, 1.0), near_text)
    for quad in areas:
        cv2.fillPoly(known, [_fixed(quad / np.float32(OUTPUT_STRIDE))], _emphasis(quad), shift=4)
    # What was once taken for text may be an arrow: no negative for annotations.
    not_hard = known * (1 - _fill(_shrunk(crop.hard), side, 1.0))
    drawn = np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    return Sample(
        _degrade(film, rng), _hills(characters, side), area_map,
        (drawn > 0.3).astype(np.float32) * (1 - area_map), np.stack([known, known, not_hard]),
    )  # fmt: skip


def _draw_background(backgrounds: Sequence[Background], rng: np.random.Generator) -> Background:
    few = [film for film in backgrounds if film.source == _COHEN]
    others = [film for film in backgrounds if film.source != _COHEN]
    chosen = few if few and (not others or rng.random() < _COHEN_SHARE) else others
    return chosen[int(rng.integers(len(chosen)))]


@dataclass(frozen=True, slots=True)
class _Crop:
    """A square of a film; corners or outlines ``(n, 2)`` of what it shows, in its pixels."""

    pixels: Gray
    characters: list[Plane]
    areas: list[Plane]
    ignored: list[Plane]
    hard: list[Plane]
    annotated: list[Plane]


def _crop(background: Background, rng: np.random.Generator) -> _Crop:
    """Return a square of the film, scaled, flipped and turned, with all its boxes mapped along."""
    height, width = background.pixels.shape
    scale = math.exp(rng.uniform(math.log(0.8), math.log(1.7)))
    side = min(CROP_PX / scale, height, width)
    scale = CROP_PX / side
    x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
    own = [text.box for text in background.texts]
    others = [*background.hard, *((*line.min(0), *line.max(0)) for line in background.annotated)]
    dwell_on = own if own and (not others or rng.random() < _DWELL_ON_TEXT) else others
    if dwell_on and rng.random() < _DWELL_SHARE:
        box = dwell_on[int(rng.integers(len(dwell_on)))]
        x = (box[0] + box[2]) / 2 - rng.uniform(0.1, 0.9) * side
        y = (box[1] + box[3]) / 2 - rng.uniform(0.1, 0.9) * side
    elif rng.random() < 0.35:
        x = float(rng.choice([0.0, width - side, x]))
        y = float(rng.choice([0.0, height - side, y]))
    x, y = float(np.clip(x, 0, width - side)), float(np.clip(y, 0, height - side))
    place = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
    place = _flip_and_turn(place, rng)
    shifted = place.copy()
    shifted[:, 2] += 0.5 * place[:, :2].sum(axis=1) - 0.5
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.warpAffine(
        background.pixels,
        shifted,
        (CROP_PX, CROP_PX),
        flags=method,
        borderMode=cv2.BORDER_REPLICATE,
    )
    characters: list[Plane] = []
    areas: list[Plane] = []
    for text in background.texts:
        areas.append(_map(_box_quads(text.box, 1)[0], place))
        characters.extend(_map(quad, place) for quad in _box_quads(text.box, text.n_characters))
    ignored = [_map(_box_quads(box, 1)[0], place) for box in background.ignored]
    hard = [_map(_box_quads(box, 1)[0], place) for box in background.hard]
    annotated = [_map(line, place) for line in background.annotated]
    return _Crop(np.asarray(pixels, np.uint8), characters, areas, ignored, hard, annotated)


def _flip_and_turn(place: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    matrix = np.vstack([place, [0, 0, 1]])
    if rng.random() < 0.4:
        matrix = np.array([[-1, 0, CROP_PX], [0, 1, 0], [0, 0, 1]]) @ matrix
    if rng.random() < 0.15:
        matrix = np.array([[0, -1, CROP_PX], [1, 0, 0], [0, 0, 1]]) @ matrix
    if rng.random() < 0.15:
        matrix = np.array([[-1, 0, CROP_PX], [0, -1, CROP_PX], [0, 0, 1]]) @ matrix
    if rng.random() < 0.4:
        angle, half = rng.normal(0, 0.12), CROP_PX / 2
        if rng.random() < 0.12:
            angle = rng.uniform(-math.pi, math.pi)
        cosine, sine = math.cos(angle), math.sin(angle)
        turn = np.array([[cosine, -sine, half - half * (cosine - sine)],
                         [sine, cosine, half - half * (sine + cosine)], [0, 0, 1]])  # fmt: skip
        matrix = turn @ matrix
    return matrix[:2]


def _box_quads(box: Box, n_parts: int) -> list[Plane]:
    """Return a box as corners, split into equal parts along its longer side."""
    x0, y0, x1, y1 = box
    along_x = x1 - x0 >= y1 - y0
    edges = np.linspace(x0 if along_x else y0, x1 if along_x else y1, n_parts + 1)
    quads = []
    for low, high in pairwise(edges):
        a, b, c, d = (low, y0, high, y1) if along_x else (x0, low, x1, high)
        quads.append(np.array([(a, b), (c, b), (c, d), (a, d)], np.float32))
    return quads


def _map(quad: Plane, place: NDArray[np.float64]) -> Plane:
    return np.asarray(quad @ place[:, :2].T + place[:, 2], np.float32)


def _add_layer(
    film: Plane, layer: Plane, areas: Sequence[Plane], rng: np.random.Generator
) -> Plane:
    """Return the film with a drawn layer that leaves its text free."""
    if areas:
        layer = layer * (1 - cv2.dilate(_fill(areas, CROP_PX, 1.0), np.ones((5, 5), np.uint8)))
    layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.3, 1.4)), np.float32)
    return blend(film, layer, rng, dark_share=0.3)


def _plant(
    film: Plane, occupied: Plane, mark: DrawnMark, rng: np.random.Generator
) -> tuple[Plane, list[Plane], list[Plane]] | None:
    """Return the film with a mark on a free place; None if there was none."""
    if not len(mark.areas):
        return None
    share = 0.35 if rng.random() < 0.75 else 0.17  # of a mark that is cut: a sliver at the border
    for _ in range(6):
        place = _draw_place(mark, rng)
        areas = [_map(quad, place) for quad in mark.areas]
        inside = _fill(areas, CROP_PX, 1.0)
        whole = sum(cv2.contourArea(quad) for quad in areas)
        taken = cv2.dilate(inside, np.ones((9, 9), np.uint8)) * occupied
        if inside.sum() >= min(share * whole, _MOST_NEEDED_PX) and not taken.any():
            break
    else:
        return None
    np.maximum(occupied, inside, out=occupied)
    size = (CROP_PX, CROP_PX)
    shifted = place.copy()
    shifted[:, 2] += 0.5 * place[:, :2].sum(axis=1) - 0.5
    ink = cv2.warpAffine(mark.ink, shifted, size, flags=cv2.INTER_AREA)
    height_px = math.sqrt(whole / max(1, len(mark.characters)))
    blur, contrast = rng.uniform(0.0, 0.09) * min(height_px, 20), None
    if height_px > 20 and rng.random() < 0.35:
        blur = rng.uniform(0.03, 0.1) * height_px  # lead letters out of the plane of the film
    if height_px > 26 and rng.random() < _SOFT_SHARE:
        blur, contrast = rng.uniform(0.03, 0.08) * height_px, rng.uniform(12, 40)
    if rng.random() < _TOUCHED_SHARE:
        film = _touch(film, inside, rng)
    if blur > 0.25:
        ink = cv2.GaussianBlur(ink, (0, 0), blur)
    plate = cv2.warpAffine(mark.plate, shifted, size)
    if not plate.any() and rng.random() < 0.16:
        plate = _draw_plate(areas, rng)
    if plate.any():
        level = float(rng.choice([rng.uniform(0, 40), rng.uniform(0, 255)]))
        film = film + plate * rng.uniform(0.4, 1.0) * (level - film)
    if rng.random() < 0.12:
        film = add_halo(film, ink, rng)
    film = blend(film, ink, rng, dark_share=0.2, contrast=contrast)
    characters = [_map(quad, place) for quad in mark.characters]
    return film, characters, areas


def _touch(film: Plane, inside: Plane, rng: np.random.Generator) -> Plane:
    """Return the film with something that is no text at the border of the text to come."""
    layer = draw_clutter(rng, CROP_PX)
    things, border = np.argwhere(layer > 0.5), np.argwhere(inside != cv2.erode(inside, np.ones(3)))
    if not len(things) or not len(border):
        return film
    shift = border[int(rng.integers(len(border)))] - things[int(rng.integers(len(things)))]
    moved = cv2.warpAffine(
        layer, np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float64), (CROP_PX, CROP_PX)
    )
    return blend(film, np.asarray(moved * (1 - 0.7 * inside), np.float32), rng, dark_share=0.3)


def _draw_place(mark: DrawnMark, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the 2x3 map from mark to crop: mirrored, turned, sheared, moved."""
    height, width = mark.ink.shape
    mirror = -1.0 if rng.random() < 0.2 else 1.0
    style = rng.random()
    if style < 0.55:
        angle = rng.normal(0, 0.05)
    elif style < 0.67:
        angle = float(rng.choice([0.5, 1.0, 1.5])) * math.pi + rng.normal(0, 0.1)
    elif style < 0.82:
        angle = rng.normal(0, 0.6)
    else:
        angle = rng.uniform(-math.pi, math.pi)
    aspect = math.exp(rng.normal(0, 0.12))
    cosine, sine = math.cos(angle), math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array(
        [[mirror * aspect, rng.normal(0, 0.06)], [0, 1 / aspect]]
    )
    reach = np.abs(linear) @ np.array([width, height]) / 2
    low = np.minimum(reach, CROP_PX / 2)
    if rng.random() < 0.24:
        low = low * rng.uniform(0.0, 1.0, 2)
    center = rng.uniform(low, CROP_PX - low)
    slack = np.maximum(reach - CROP_PX / 2, 0)  # of a long line, either end may be seen
    center = center + rng.uniform(-slack, slack)
    offset = center - linear @ np.array([width / 2, height / 2])
    return np.concatenate([linear, offset[:, None]], axis=1)


def _draw_plate(areas: Sequence[Plane], rng: np.random.Generator) -> Plane:
    corners = np.concatenate(areas)
    center, size, angle = cv2.minAreaRect(corners)
    margin = rng.uniform(2, 0.5 * min(size) + 4)
    box = cv2.boxPoints((center, (size[0] + 2 * margin, size[1] + 2 * margin), angle))
    plate = _fill([np.asarray(box, np.float32)], CROP_PX, 1.0)
    if rng.random() < 0.35:
        inner = cv2.erode(plate, np.ones((3, 3), np.uint8), iterations=int(rng.integers(1, 3)))
        plate = plate - inner
    return np.asarray(cv2.GaussianBlur(plate, (0, 0), rng.uniform(0.3, 1.2)), np.float32)


def _degrade(film: Plane, rng: np.random.Generator) -> Gray:
    """Return the finished crop with blur, noise and JPEG traces."""
    if rng.random() < 0.25:
        film = np.asarray(cv2.GaussianBlur(film, (0, 0), rng.uniform(0.3, 1.0)), np.float32)
    if rng.random() < 0.4:
        noise = rng.standard_normal(film.shape, dtype=np.float32)
        film = film + np.float32(rng.uniform(0.5, 6)) * noise
    pixels = np.clip(np.round(film), 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
        encoded = cv2.imencode(".jpg", pixels, quality)[1]
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return pixels


def _fill(quads: Sequence[Plane], side: int, level: float) -> Plane:
    canvas = np.zeros((side, side), np.float32)
    for quad in quads:
        cv2.fillPoly(canvas, [_fixed(quad)], level, shift=4)
    return canvas


def _fixed(quad: Plane) -> NDArray[np.int32]:
    return np.asarray(np.round((quad - 0.5) * 16), np.int32)


def _emphasis(quad: Plane) -> float:
    """Return how much a pixel of this text counts."""
    sides = np.hypot(*(quad[1:] - quad[:-1]).T)
    return float(np.clip(12 / max(float(sides.min()), 1.0), 0.3, 1.5))


def _shrunk(quads: Sequence[Plane]) -> list[Plane]:
    return [quad / np.float32(OUTPUT_STRIDE) for quad in quads]


def _template() -> Plane:
    axis = (np.arange(_TEMPLATE_PX, dtype=np.float32) + 0.5) / _TEMPLATE_PX * 2 - 1
    hill = np.exp(-(axis**2) / (2 * _SIGMA**2))
    return np.asarray(hill[:, None] * hill[None, :], np.float32)


_HILL = _template()
_HILL_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32) * _TEMPLATE_PX - 0.5


def _hills(quads: Sequence[Quads], side: int) -> Plane:
    """Return the character target: a Gaussian warped into every character's box."""
    canvas = np.zeros((side, side), np.float32)
    for quad in quads:
        visible = _visible_part(quad, side * OUTPUT_STRIDE)
        if visible is None:
            continue
        corners = _not_too_thin(visible) / OUTPUT_STRIDE - 0.5
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, side)
        if np.any(high <= low):
            continue
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        warp = cv2.getPerspectiveTransform(_HILL_CORNERS, (corners - low).astype(np.float32))
        hill = cv2.warpPerspective(_HILL, warp, size)
        window = canvas[low[1] : high[1], low[0] : high[0]]
        np.maximum(window, hill, out=window)
    return canvas


def _visible_part(quad: Plane, side: int) -> Plane | None:
    """Return a character's box within the crop: a cut character is as certain as a whole one."""
    if quad.min() >= 0 and quad.max() <= side:
        return quad
    frame = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32)
    area, part = cv2.intersectConvexConvex(quad, frame)
    if area < 1:
        return None
    across, along = quad[1] - quad[0], quad[3] - quad[0]
    basis = np.stack([across, along])
    places = (part.reshape(-1, 2) - quad[0]) @ np.linalg.inv(basis)
    low, high = places.min(axis=0), places.max(axis=0)
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    return np.asarray(corners @ basis + quad[0], np.float32)


def _not_too_thin(quad: Plane) -> Plane:
    """Return the box of a thin character (I, 1, a dot) widened to half of its length."""
    across, along = quad[1] - quad[0], quad[3] - quad[0]
    width, height = float(np.hypot(*across)), float(np.hypot(*along))
    need_x = max(0.0, 0.5 * height - width, 4.0 - width) / 2
    need_y = max(0.0, 0.5 * width - height, 4.0 - height) / 2
    side_x = across / max(width, 1e-3) * need_x
    side_y = along / max(height, 1e-3) * need_y
    grown = quad + np.stack([-side_x - side_y, side_x - side_y, side_x + side_y, side_y - side_x])
    return np.asarray(grown, np.float32)
