"""The text that sites burn into their films, with its exact outline.

Owns sites, fonts and compositing; where a site's marker goes with a class is decided in ``plan``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion

Pixels = NDArray[np.uint8]
Patch = NDArray[np.float32]
Frame = Literal["none", "dark box", "bright box", "circle", "underline"]

_LETTERS = "ABCDEFGHJKLMNPRSTVW"


@dataclass(frozen=True, slots=True)
class Mark:
    """One piece of text as a site writes it.

    Attributes:
        write: Draws the characters.
        font: File name of a DejaVu font, or ``"hershey"`` for OpenCV's stroke font.
        size: Height of a line as a share of the view's side.
        place: Centre as shares of the view's square (x, y).
        frame: What is drawn around or under the characters.
        level: Gray level of the characters, 0..1.
        opacity: How much of the film the characters hide, 0..1.
        mirrored: Lead letters laid upside down read from behind.
        turn: Spread of the rotation in degrees.
    """

    write: Callable[[np.random.Generator], str]
    font: str
    size: float
    place: tuple[float, float]
    frame: Frame = "none"
    level: float = 0.95
    opacity: float = 1.0
    mirrored: bool = False
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital: the marks that it puts inside the field a model sees, and its projection."""

    name: str
    view: str
    marks: tuple[Mark, ...]


def _fixed(text: str) -> Callable[[np.random.Generator], str]:
    return lambda _: text


def _initials(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 4))))


def _date(rng: np.random.Generator) -> str:
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(2009, 2021)
    return f"{day:02d}.{month:02d}.{year}"


def _number(rng: np.random.Generator) -> str:
    return str(rng.integers(10_000, 999_999))


SITES: dict[str, tuple[Site, ...]] = {
    "normal": (
        Site("alder", "PA", (Mark(_fixed("R"), "hershey", 0.070, (0.09, 0.10), turn=4),)),
        Site(
            "birch", "PA",
            (
                Mark(_fixed("L"), "DejaVuSans-Bold.ttf", 0.068, (0.92, 0.065)),
                Mark(_fixed("ERECT"), "DejaVuSans.ttf", 0.038, (0.90, 0.14)),
            ),
        ),
    ),
    "pneumonia": (
        Site("cedar", "PA",
             (Mark(_fixed("PA"), "DejaVuSans-Bold.ttf", 0.060, (0.12, 0.07), "bright box", 0.04),)),
        Site(
            "dogwood", "PA",
            (
                Mark(_fixed("R"), "DejaVuSans-Bold.ttf", 0.072, (0.07, 0.33), level=1.0,
                     opacity=0.8, mirrored=True, turn=9),
                Mark(_initials, "DejaVuSans.ttf", 0.040, (0.075, 0.41), level=1.0, opacity=0.8,
                     mirrored=True, turn=5),
            ),
        ),
    ),
    "COVID-19": (
        Site("elm", "AP",
             (Mark(_fixed("AP PORTABLE"), "DejaVuSansMono-Bold.ttf", 0.046, (0.76, 0.06),
                   "dark box", 0.97, 0.96),)),
        Site(
            "fir", "AP",
            (
                Mark(_fixed("L"), "DejaVuSerif-Bold.ttf", 0.062, (0.91, 0.16), "circle", 0.97),
                Mark(_fixed("SUPINE"), "hershey", 0.040, (0.87, 0.25), "underline"),
            ),
        ),
    ),
}  # fmt: skip

# Numbers and dates that any site may add, in places that no site's own mark takes.
_NEUTRAL = (
    Mark(_date, "DejaVuSansMono.ttf", 0.032, (0.14, 0.965), level=0.85),
    Mark(_number, "hershey", 0.034, (0.86, 0.965), level=0.80),
    Mark(_number, "DejaVuSans.ttf", 0.034, (0.50, -0.045), level=0.9),
    Mark(_initials, "DejaVuSans-Bold.ttf", 0.036, (0.62, 0.965), "dark box", 0.9, 0.9),
)


def site_named(name: str) -> tuple[str, Site]:
    """Return a site with the class that its markers go with.

    Raises:
        KeyError: If no site has this name.
    """
    for class_name, sites in SITES.items():
        for site in sites:
            if site.name == name:
                return class_name, site
    raise KeyError(name)


def draw_neutral(rng: np.random.Generator) -> tuple[Mark, ...]:
    """Return the class-neutral text of a film: none, one or two pieces."""
    n_marks = int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))
    picked = rng.choice(len(_NEUTRAL), n_marks, replace=False)
    return tuple(_NEUTRAL[int(i)] for i in sorted(picked))


def burn(film: Pixels, mark: Mark, rng: np.random.Generator) -> tuple[Pixels, TextRegion]:
    """Burn one mark into a film.

    Args:
        film: ``(H, W)`` uint8; not changed.
        mark: What to write and where.
        rng: Draws characters, a small shift, rotation and blur.

    Returns:
        The new film and the outline of the text with its frame; no pixel outside the outline
        differs from ``film``.
    """
    height, width = film.shape
    geometry = compute_geometry(width, height, ViewSpec())
    content = mark.write(rng)
    ink, cover = _typeset(content, mark, max(9, round(mark.size * geometry.side)))
    blur = float(rng.uniform(0.3, 0.7))
    jitter = rng.uniform(-0.012, 0.012, 2)
    angle = math.radians(rng.normal(0, mark.turn)) if mark.turn else 0.0
    center = np.array([geometry.x0, geometry.y0]) + (np.array(mark.place) + jitter) * geometry.side
    half = np.array([ink.shape[1], ink.shape[0]]) / 2
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    outline = (signs * half) @ turn
    reach = np.abs(outline).max(axis=0) + 1
    center = np.clip(center, reach, np.maximum(np.array([width, height]) - reach, reach))
    region = TextRegion(
        tuple((round(float(x), 2), round(float(y), 2)) for x, y in outline + center),
        1.0,
        content,
        "truth",
    )
    low = np.maximum(np.floor(center - reach).astype(int) - 1, 0)
    high = np.minimum(np.ceil(center + reach).astype(int) + 1, [width, height])
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    # Patch pixel centres lie at +0.5, on the patch as on the film.
    shift = center - half @ turn + 0.5 * turn.sum(axis=0) - 0.5 - low
    place = np.concatenate([turn.T, shift[:, None]], axis=1)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    local = TextRegion(tuple((x - low[0], y - low[1]) for x, y in region.polygon), 1.0, None, "")
    inside = regions_to_mask((local,), *size)
    ink, cover = (
        inside * cv2.GaussianBlur(cv2.warpAffine(plane, place, size), (0, 0), blur)
        for plane in (ink, cover)
    )
    background = 0.03 if mark.frame == "dark box" else 0.93
    burned = film[window].astype(np.float32) / 255
    burned += cover * (background - burned)
    burned += ink * mark.opacity * (mark.level - burned)
    result = film.copy()
    result[window] = np.clip(np.round(burned * 255), 0, 255).astype(np.uint8)
    return result, region


def _typeset(content: str, mark: Mark, line_px: int) -> tuple[Patch, Patch]:
    """Return (ink, cover) in [0, 1]: the characters with their line art, and the filled box."""
    glyphs = _glyphs(content, mark.font, line_px)
    pad = max(3, round(line_px * (0.32 if mark.frame != "none" else 0.12)))
    ink = np.pad(glyphs, pad)
    cover = np.zeros_like(ink)
    stroke = max(1, round(line_px / 14))
    rows, columns = ink.shape
    if mark.frame == "circle":
        side = max(rows, columns) + 2
        square = np.zeros((side, side), np.float32)
        top, start = (side - rows) // 2, (side - columns) // 2
        square[top : top + rows, start : start + columns] = ink
        middle = (side // 2, side // 2)
        cv2.circle(square, middle, side // 2 - stroke - 1, 1.0, stroke, cv2.LINE_AA)
        ink, cover = square, np.zeros_like(square)
    elif mark.frame == "underline":
        ink[-pad + stroke : -pad + 2 * stroke, pad:-pad] = 1.0
    elif mark.frame != "none":
        cover[2:-2, 2:-2] = 0.95
    if mark.mirrored:
        ink, cover = ink[:, ::-1], cover[:, ::-1]
    return np.ascontiguousarray(np.clip(ink, 0, 1)), np.ascontiguousarray(cover)


def _glyphs(content: str, font: str, line_px: int) -> Patch:
    """Return the characters, cropped to their ink, capital letters ``line_px`` high."""
    if font == "hershey":
        scale, stroke = line_px / 21, max(1, round(line_px / 9))
        (width, height), below = cv2.getTextSize(content, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        layer = np.zeros((height + below + 8, width + 8), np.uint8)
        cv2.putText(
            layer, content, (4, height + 4), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke,
            cv2.LINE_AA,
        )  # fmt: skip
    else:
        face = _font(font, round(line_px / 0.73))
        left, top, right, bottom = face.getbbox(content)
        image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
        ImageDraw.Draw(image).text((4 - left, 4 - top), content, fill=255, font=face)
        layer = np.asarray(image)
    rows, columns = np.flatnonzero(layer.any(axis=1)), np.flatnonzero(layer.any(axis=0))
    cropped = layer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cropped.astype(np.float32) / np.float32(255)


@cache
def _font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """Return a DejaVu font; matplotlib ships them under a free licence."""
    import matplotlib  # noqa: PLC0415  (only the fonts are needed, and only here)

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size_px)
