"""What a detector missed and what it covered needlessly, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.records import Box, TextRegion
from covid_debug.text.base import Gray

MAX_TILES = 160
_TILE = (236, 176)  # width and height of the picture in it
_CAPTION_PX = 34
_COLUMNS = 8
_MARGIN = (14, 0.8)  # pixels, and share of the shorter side
_MAX_ZOOM = 8.0
_WANTED = (240, 200, 0)
_SEEN = (255, 90, 90)
_PAPER = 250

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Case:
    """One place of a film.

    Attributes:
        pixels: The film, ``(H, W)`` uint8.
        box: The place in film pixels.
        wanted: Annotated boxes of the film.
        seen: Regions of the film.
        caption: Two short lines.
    """

    pixels: Gray
    box: Box
    wanted: tuple[Box, ...]
    seen: tuple[TextRegion, ...]
    caption: tuple[str, str]


def write_sheet(path: Path, cases: Sequence[Case]) -> None:
    """Write a contact sheet; nothing without cases.

    Each tile is a place enlarged, its gray levels stretched: annotated boxes in yellow, regions
    in red.

    Args:
        path: A ``.png`` file.
        cases: At most :data:`MAX_TILES` are shown, numbered from 1 in this order.
    """
    shown = [_draw_case(number, case) for number, case in enumerate(cases[:MAX_TILES], start=1)]
    if not shown:
        return
    blank = np.full_like(shown[0], _PAPER)
    shown += [blank] * (-len(shown) % min(_COLUMNS, len(shown)))
    columns = min(_COLUMNS, len(shown))
    rows = [np.hstack(shown[at : at + columns]) for at in range(0, len(shown), columns)]
    _, encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    path.write_bytes(encoded.tobytes())


def _draw_case(number: int, case: Case) -> Picture:
    x0, y0, x1, y1 = case.box
    margin = _MARGIN[0] + _MARGIN[1] * min(x1 - x0, y1 - y0)
    height, width = case.pixels.shape
    left, top = int(max(x0 - margin, 0)), int(max(y0 - margin, 0))
    right, bottom = int(min(np.ceil(x1 + margin), width)), int(min(np.ceil(y1 + margin), height))
    crop = case.pixels[top:bottom, left:right]
    zoom = min(_MAX_ZOOM, _TILE[0] / crop.shape[1], _TILE[1] / crop.shape[0])
    size = (max(round(crop.shape[1] * zoom), 1), max(round(crop.shape[0] * zoom), 1))
    large = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
    picture = cv2.cvtColor(_stretch(large), cv2.COLOR_GRAY2RGB)
    corner = np.array([left, top])
    for polygon, colour in (
        *((region.polygon, _SEEN) for region in case.seen),
        *((((a, b), (c, b), (c, d), (a, d)), _WANTED) for a, b, c, d in case.wanted),
    ):
        points = np.rint((np.asarray(polygon) - corner) * zoom).astype(np.int32)
        cv2.polylines(picture, [points], isClosed=True, color=colour, lineType=cv2.LINE_AA)
    tile = np.full((_TILE[1] + _CAPTION_PX + 6, _TILE[0] + 6, 3), _PAPER, np.uint8)
    tile[_CAPTION_PX : _CAPTION_PX + size[1], : size[0]] = picture
    for line, text in enumerate((f"{number}  {case.caption[0]}", case.caption[1])):
        plain = text.encode("ascii", "replace").decode()
        place = (2, 12 + 14 * line)
        cv2.putText(
            tile, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (30, 30, 30), 1, cv2.LINE_AA
        )
    return tile


def _stretch(crop: Gray) -> Gray:
    low, high = np.percentile(crop, (0.5, 99.5))
    scaled = (crop.astype(np.float32) - low) * (255 / max(high - low, 1))
    stretched: Gray = np.clip(scaled, 0, 255).astype(np.uint8)
    return stretched
