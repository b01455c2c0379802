"""Planted text: how it is drawn, where it may lie on a film, and the film with it.

Owns the pixels of one plant. Which film bears which plant is decided in
:mod:`benchmarks.plants.dealing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_debug.imaging.geometry import ViewGeometry
from covid_debug.imaging.masks import Mask

Pixels = NDArray[np.uint8]
Role = Literal["learned", "harmless"]

FONTS = {"hershey": cv2.FONT_HERSHEY_SIMPLEX, "hershey_serif": cv2.FONT_HERSHEY_COMPLEX}
FONT_NAMES = ("pillow", *FONTS)
_DRAWN_PX = 96  # glyphs are drawn at about this height, then shrunk to the wanted one
_CHEST_SHARE = 0.2  # plants that lie anywhere in the view; the others lie near its border
_BORDER_SHARES = (0.02, 0.12)  # distance of these to the nearest border, of the view's side
_LEAST_CONTRAST = 60.0  # gray levels between the plant and what lies under it
_MAX_TRIES = 200


@dataclass(frozen=True, slots=True)
class Plant:
    """One planted text on one film.

    Attributes:
        role: ``"learned"`` or ``"harmless"``.
        content: Its characters.
        font: One of :data:`FONT_NAMES`.
        height_share: Height of the letters as a share of the film's height.
        top: First row of its box on the film.
        left: First column of its box on the film.
        high: Rows of its box.
        wide: Columns of its box.
        gray: Gray value of the ink, in [0, 255].
    """

    role: Role
    content: str
    font: str
    height_share: float
    top: int
    left: int
    high: int
    wide: int
    gray: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of its box."""
        return slice(self.top, self.top + self.high), slice(self.left, self.left + self.wide)


@dataclass(frozen=True, slots=True)
class Look:
    """What a plant looks like, before it has a place; the fields are those of :class:`Plant`."""

    role: Role
    content: str
    font: str
    height_share: float
    gray: int


def draw_glyphs(content: str, font: str, height_px: int) -> NDArray[np.float64]:
    """Return the ink of a text.

    Args:
        content: Characters.
        font: One of :data:`FONT_NAMES`.
        height_px: Rows wanted.

    Returns:
        ``(height_px, W)`` in [0, 1], cropped to the ink.
    """
    size = (4 * _DRAWN_PX, _DRAWN_PX * (2 + 2 * len(content)))
    if font == "pillow":
        picture = Image.new("L", size[::-1])
        place = (_DRAWN_PX, _DRAWN_PX)
        face = ImageFont.load_default(size=_DRAWN_PX)
        ImageDraw.Draw(picture).text(place, content, fill=255, font=face)
        canvas = np.asarray(picture)
    else:
        canvas = np.zeros(size, np.uint8)
        place = (_DRAWN_PX, 3 * _DRAWN_PX)
        cv2.putText(canvas, content, place, FONTS[font], _DRAWN_PX / 24, 255, 10, cv2.LINE_AA)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    ink = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
    width_px = max(1, round(ink.shape[1] * height_px / ink.shape[0]))
    shrunk = cv2.resize(ink, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(shrunk, 0.0, 1.0), np.float64)  # rounding may exceed 1


def find_place(
    look: Look,
    film: Pixels,
    taken: Mask,
    geometry: ViewGeometry,
    generator: np.random.Generator,
) -> Plant | None:
    """Give a plant a place: inside the view, mostly near its border, on ground dark enough.

    Args:
        look: What the plant looks like.
        film: ``(H, W)`` uint8.
        taken: ``(H, W)`` bool, True where nothing may be planted.
        geometry: Where the view lies on the film.
        generator: Source of the draws; advanced.

    Returns:
        The plant, or None where no draw fitted.
    """
    high = max(5, round(look.height_share * film.shape[0]))
    wide = draw_glyphs(look.content, look.font, high).shape[1]
    free_y, free_x = geometry.side - high, geometry.side - wide
    if free_y < 0 or free_x < 0:
        return None
    for _ in range(_MAX_TRIES):
        y, x = int(generator.integers(free_y + 1)), int(generator.integers(free_x + 1))
        if generator.random() >= _CHEST_SHARE:
            away = round(generator.uniform(*_BORDER_SHARES) * geometry.side)
            edge = int(generator.integers(4))
            if edge < 2:
                y = min(away, free_y) if edge == 0 else max(0, free_y - away)
            else:
                x = min(away, free_x) if edge == 2 else max(0, free_x - away)
        top, left = y + geometry.y0, x + geometry.x0
        window = slice(top, top + high), slice(left, left + wide)
        if taken[window].any() or look.gray - film[window].mean() < _LEAST_CONTRAST:
            continue
        return Plant(
            look.role,
            look.content,
            look.font,
            look.height_share,
            top,
            left,
            high,
            wide,
            look.gray,
        )
    return None


def burn(film: Pixels, plants: Sequence[Plant]) -> Pixels:
    """Return the film with its plants.

    Args:
        film: ``(H, W)`` uint8; not changed.
        plants: What is burned in, in any order: plants do not overlap.

    Returns:
        ``(H, W)`` uint8, equal to ``film`` outside the plants' boxes.
    """
    burned = film.copy()
    for plant in plants:
        ink = draw_glyphs(plant.content, plant.font, plant.high)
        under = film[plant.window].astype(np.float64)
        burned[plant.window] = np.rint(under + ink * (plant.gray - under)).astype(np.uint8)
    return burned
