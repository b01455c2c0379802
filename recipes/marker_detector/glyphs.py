"""Typesetting of markers: characters, lines and lead markers as layers with known boxes.

Draws single marks in their own small coordinate frame; where they go on a film and how they are
blended is decided in ``synthesis``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from covid_debug.records import Box

Layer = NDArray[np.float32]
Quads = NDArray[np.float32]

_HERSHEY = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_PLAIN,
)
_SKIPPED_FONTS = (
    "Symbol",
    "Dingbat",
    "Math",
    "Emoji",
    "cmex",
    "cmsy",
    "cmmi",
    "STIXSiz",
    "D050000L",
)
_SIDE_LETTERS = "LLLLLLLLRRRRRRDDPSGE"  # no I: alone it is a bar, as a clip is
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORDS = (
    "AP", "PA", "PORTABLE", "MOBILE", "ERECT", "SUPINE", "SITTING", "UPRIGHT", "LEFT", "RIGHT",
    "SEMI ERECT", "AP ERECT", "AP SUPINE", "CHEST", "THORAX", "TORACE", "RX TORAX", "BEDSIDE",
    "STANDING", "LAT", "ICU", "ITU", "MOB", "SEMI", "PORT", "DX", "SX", "LINKS", "RECHTS", "DEBOUT",
    "COUCHE", "DECUBITO", "SENTADO", "LIEGEND", "STEHEND", "Bett", "Rechts", "Links", "Erect",
    "Portable", "cm", "mm", "kV", "mAs", "Zoom", "Page", "day", "Day", "Fig", "Warning", "AP view",
    "Patient", "Series", "IM", "SE", "W", "C", "Z", "S", "ADM", "ER", "PRONE", "Not for diagnosis",
)  # fmt: skip
_MEASURED_NAMES = (
    "Mean", "Area", "SD", "Min", "Max", "Dist", "L", "D", "Avg", "Angle", "Length", "Perimeter",
    "Flaeche", "W", "C", "Z", "WL", "WW", "kV", "mAs", "S", "EI", "DI", "REX", "Im", "Se", "CTR",
)  # fmt: skip
_UNITS = ("", "mm", "cm", "mm2", "cm2", "px", "HU", "%", "kV", "mAs", "kVp", "deg", "x")


@dataclass(frozen=True, slots=True)
class DrawnMark:
    """One drawn mark, before it is placed.

    Attributes:
        ink: Coverage of the glyphs and their line art ``(h, w)`` in [0, 1].
        plate: Coverage of a plate under the glyphs; all 0 where there is none.
        characters: Corners of every character ``(n, 4, 2)`` in layer pixels.
        areas: Corners of every line of text ``(m, 4, 2)``; a circle counts to its text.
    """

    ink: Layer
    plate: Layer
    characters: Quads
    areas: Quads


def find_fonts(folders: Sequence[Path]) -> list[Path]:
    """Return font files below folders, sorted by name; those without letters are left out."""
    found = {
        path.name: path
        for folder in folders
        for pattern in ("*.ttf", "*.otf")
        for path in sorted(folder.rglob(pattern))
        if not any(word in path.name for word in _SKIPPED_FONTS)
    }
    return [found[name] for name in sorted(found) if _has_letters(found[name])]


def _has_letters(path: Path) -> bool:
    """Return whether a font draws different, visible L, R, g and 4."""
    face = _face(str(path), 24)
    drawn = {bytes(face.getmask(character)) for character in "LRg4"}
    return len(drawn) == 4 and all(any(pixels) for pixels in drawn)


def draw_mark(rng: np.random.Generator, fonts: Sequence[Path]) -> DrawnMark:
    """Return one random mark: a side letter, a lead marker with initials, or lines of text."""
    kind = rng.choice(
        ["letter", "lead", "initials", "lines", "print", "circled"],
        p=[0.26, 0.20, 0.07, 0.25, 0.12, 0.10],
    )
    size = _draw_size(rng)
    if kind == "lead":
        return _lead_marker(rng, fonts, size)
    if kind == "initials":
        return _spread_letters(rng, fonts, min(size, 34.0))
    if kind == "lines":
        n_lines = _n_lines(rng)
        most = 26.0 if n_lines > 1 or rng.random() < 0.7 else 60.0
        return _stack(
            [_line(_draw_line(rng), rng, fonts, min(size, most)) for _ in range(n_lines)], rng
        )
    if kind == "print":
        return _small_print(rng, fonts)
    letter = _line(_draw_letter(rng), rng, fonts, max(size, 9.0))
    return _circled(letter, rng) if kind == "circled" else letter


def _draw_size(rng: np.random.Generator) -> float:
    """Return a cap height in pixels: mostly 6 to 38, large letters up to a tenth of a film."""
    low, high = (6.0, 38.0) if rng.random() < 0.74 else (28.0, 95.0)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _small_print(rng: np.random.Generator, fonts: Sequence[Path]) -> DrawnMark:
    """Return dense lines of 4 to 10 px: image data, measured values, a long name and date."""
    size = rng.uniform(5.0, 10.0) if rng.random() < 0.7 else rng.uniform(4.0, 6.0)
    if rng.random() < 0.35:
        return _line(_long_text(rng), rng, fonts, size * rng.uniform(1.0, 1.8))
    texts = [_draw_measured(rng) if rng.random() < 0.6 else _draw_line(rng)
             for _ in range(int(rng.integers(1, 6)))]  # fmt: skip
    return _stack([_line(text, rng, fonts, size) for text in texts], rng)


def _draw_measured(rng: np.random.Generator) -> str:
    """Return a line of a measurement or of an image's data."""
    number = f"{rng.uniform(0, 300):.{int(rng.integers(0, 3))}f}"
    name = str(rng.choice(_MEASURED_NAMES))
    unit = str(rng.choice(_UNITS))
    return f"{name}{rng.choice([':', ': ', '=', ' = ', ' '])}{number}{rng.choice(['', ' '])}{unit}"


def _long_text(rng: np.random.Generator) -> str:
    parts = [_draw_line(rng) for _ in range(int(rng.integers(2, 4)))]
    return str(rng.choice([" ", "  ", ", ", " - "])).join(parts)[:44]


def _n_lines(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, 4], p=[0.68, 0.18, 0.08, 0.06]))


def _draw_letter(rng: np.random.Generator) -> str:
    pick = rng.random()
    if pick < 0.72:
        return str(rng.choice(list(_SIDE_LETTERS)))
    if pick < 0.9:
        return str(rng.choice(list(_LETTERS)))
    return str(rng.choice(list("abcdefghkmnrst0123456789")))


def _initials(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 4))))


def _draw_line(rng: np.random.Generator) -> str:
    """Return a line as found on films: words, numbers, dates, codes, initials."""
    digits = "".join(str(digit) for digit in rng.integers(0, 10, int(rng.integers(1, 8))))
    n_letters = int(rng.integers(3, 10))
    scramble = "".join(rng.choice(list(_LETTERS + _LETTERS.lower()), n_letters))
    initials = _initials(rng)
    choices = (
        str(rng.choice(_WORDS)),
        f"{rng.choice(_WORDS)} {rng.choice(_WORDS)}",
        digits,
        _date(rng),
        f"{rng.choice(list('SZCWILM'))}: {digits}",
        f"{initials}{digits[:2]}",
        f"{initials} {digits}",
        initials,
        scramble,
    )
    shares = [0.42, 0.10, 0.10, 0.10, 0.08, 0.04, 0.04, 0.06, 0.06]
    return choices[int(rng.choice(len(choices), p=shares))]


def _date(rng: np.random.Generator) -> str:
    day, month = f"{rng.integers(1, 29):02d}", f"{rng.integers(1, 13):02d}"
    year = str(rng.integers(1998, 2022))
    parts = [day, month, year] if rng.random() < 0.7 else [year, month, day]
    clock = f" {rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}" if rng.random() < 0.4 else ""
    return str(rng.choice(list("./-"))).join(parts) + clock


def _line(text: str, rng: np.random.Generator, fonts: Sequence[Path], cap_px: float) -> DrawnMark:
    """Return one typeset line; every non-space character gets its own box."""
    if rng.random() < 0.12:
        return _hershey_line(text, rng, cap_px)
    face = _face(str(fonts[int(rng.integers(len(fonts)))]), max(6, round(cap_px / 0.72)))
    spacing = rng.uniform(0, 0.25) * cap_px if rng.random() < 0.2 else 0.0
    left, top, right, bottom = face.getbbox(text)
    width = int(right - left + spacing * len(text)) + 6
    image = Image.new("L", (max(width, 4), max(int(bottom - top) + 6, 4)))
    pen = ImageDraw.Draw(image)
    boxes = []
    for index, character in enumerate(text):
        x = 3 - left + face.getlength(text[:index]) + spacing * index
        pen.text((x, 3 - top), character, fill=255, font=face)
        if not character.isspace():
            x0, y0, x1, y1 = face.getbbox(character)
            boxes.append((x + x0, 3 - top + y0, x + x1, 3 - top + y1))
    return _from_ink(np.asarray(image, np.float32) / np.float32(255), boxes)


def _hershey_line(text: str, rng: np.random.Generator, cap_px: float) -> DrawnMark:
    font = int(rng.choice(_HERSHEY))
    stroke = max(1, round(cap_px / rng.uniform(6, 14)))
    scale = cap_px / (9.0 if font == cv2.FONT_HERSHEY_PLAIN else 21.0)
    (width, height), below = cv2.getTextSize(text, font, scale, stroke)
    layer = np.zeros((height + below + 12, width + 12), np.uint8)
    cv2.putText(layer, text, (6, height + 6), font, scale, 255, stroke, cv2.LINE_AA)
    edges = [
        6 + cv2.getTextSize(text[:i], font, scale, stroke)[0][0] * (i > 0) for i in range(len(text))
    ]
    edges.append(width + 6)
    boxes = [(edges[i], 6, edges[i + 1], height + 6) for i, c in enumerate(text) if not c.isspace()]
    return _from_ink(layer.astype(np.float32) / np.float32(255), boxes)


def _from_ink(ink: Layer, boxes: Sequence[Box]) -> DrawnMark:
    rows, columns = np.flatnonzero((ink > 0.2).any(axis=1)), np.flatnonzero((ink > 0.2).any(axis=0))
    if not len(rows) or not boxes:
        empty = np.zeros((0, 4, 2), np.float32)
        return DrawnMark(ink, np.zeros_like(ink), empty, empty)
    bounds = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    tight = [
        (max(x0, bounds[0]), max(y0, bounds[1]), min(x1, bounds[2]), min(y1, bounds[3]))
        for x0, y0, x1, y1 in boxes
    ]
    characters = np.array([_corners(box) for box in tight], np.float32)
    return DrawnMark(ink, np.zeros_like(ink), characters, np.array([_corners(bounds)], np.float32))


def _corners(box: Sequence[float]) -> list[tuple[float, float]]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _lead_marker(rng: np.random.Generator, fonts: Sequence[Path], size: float) -> DrawnMark:
    """Return a side letter with the radiographer's small initials beside or below."""
    size = max(size, 13.0)
    letter = _line(str(rng.choice(list("LLLLRRRR"))), rng, fonts, size)
    small = size * rng.uniform(0.32, 0.62)
    initials = _line(_initials(rng), rng, fonts, min(max(small, 6.0), 40.0))
    pick = rng.random()
    if pick < 0.45:
        mark = _join(letter, initials, rng.uniform(0.0, 0.15) * size, below=True, rng=rng)
    elif pick < 0.65:
        mark = _join(letter, _turned(initials), rng.uniform(0.0, 0.15) * size, below=False, rng=rng)
    elif pick < 0.8:
        column = initials
        for _ in range(int(rng.integers(1, 3))):
            one = _line(str(rng.choice(list(_LETTERS))), rng, fonts, max(small, 6.0))
            column = _join(column, one, 0.15 * small, below=True, rng=rng)
        mark = _join(letter, column, 0.1 * size, below=False, rng=rng)
    else:
        mark = letter
    if rng.random() < 0.35:
        mark = _with_ball(mark, rng)
    return mark


def _spread_letters(rng: np.random.Generator, fonts: Sequence[Path], size: float) -> DrawnMark:
    """Return single letters far apart, as glued on by hand, each its own region."""
    mark = _line(str(rng.choice(list(_LETTERS))), rng, fonts, size)
    for _ in range(int(rng.integers(1, 3))):
        other = _line(
            str(rng.choice(list(_LETTERS + "01"))), rng, fonts, size * rng.uniform(0.8, 1.2)
        )
        mark = _join(mark, other, rng.uniform(0.5, 1.3) * size, below=rng.random() < 0.5, rng=rng)
    return mark


def _stack(lines: Sequence[DrawnMark], rng: np.random.Generator) -> DrawnMark:
    mark = lines[0]
    for line in lines[1:]:
        mark = _join(mark, line, rng.uniform(0.0, 0.4) * line.ink.shape[0], below=True, rng=rng)
    return mark


def _join(
    first: DrawnMark, second: DrawnMark, gap: float, *, below: bool, rng: np.random.Generator
) -> DrawnMark:
    """Return both marks, the second below or to the right of the first."""
    (h1, w1), (h2, w2) = first.ink.shape, second.ink.shape
    if below:
        x, y = int(max(w1 - w2, 0) * rng.random()), int(h1 - 4 + gap)
    else:
        x, y = int(w1 - 4 + gap), int(max(h1 - h2, 0) * rng.random())
    x, y = max(x, 0), max(y, 0)
    shape = (max(h1, y + h2), max(w1, x + w2))
    ink = np.zeros(shape, np.float32)
    ink[:h1, :w1] = first.ink
    ink[y : y + h2, x : x + w2] = np.maximum(ink[y : y + h2, x : x + w2], second.ink)
    shift = np.array([x, y], np.float32)
    return DrawnMark(
        ink, np.zeros_like(ink),
        np.concatenate([first.characters, second.characters + shift]),
        np.concatenate([first.areas, second.areas + shift]),
    )  # fmt: skip


def _turned(mark: DrawnMark) -> DrawnMark:
    """Return the mark turned by a quarter."""
    height = mark.ink.shape[0]

    def turn(quads: Quads) -> Quads:
        return np.stack([height - quads[..., 1], quads[..., 0]], axis=-1).astype(np.float32)

    ink = np.ascontiguousarray(np.rot90(mark.ink, -1))
    return DrawnMark(ink, np.zeros_like(ink), turn(mark.characters), turn(mark.areas))


def _with_ball(mark: DrawnMark, rng: np.random.Generator) -> DrawnMark:
    """Return the mark with the disc or bubble level that some carry; it is no text."""
    radius = max(2, round(mark.ink.shape[1] * rng.uniform(0.15, 0.3)))
    ink = np.pad(mark.ink, ((0, 2 * radius + 4), (0, max(0, 2 * radius + 4 - mark.ink.shape[1]))))
    center = (radius + 2, ink.shape[0] - radius - 2)
    thickness = -1 if rng.random() < 0.5 else max(1, radius // 3)
    cv2.circle(ink, center, radius, float(rng.uniform(0.5, 1)), thickness, cv2.LINE_AA)
    return DrawnMark(ink, np.zeros_like(ink), mark.characters, mark.areas)


def _circled(mark: DrawnMark, rng: np.random.Generator) -> DrawnMark:
    """Return a letter in a circle, perhaps on a disc; the circle belongs to its text."""
    rows, columns = mark.ink.shape
    radius = np.hypot(rows, columns) / 2 * rng.uniform(0.95, 1.25)
    side = int(2 * radius) + 8
    top, start = (side - rows) // 2, (side - columns) // 2
    ink = np.zeros((side, side), np.float32)
    ink[top : top + rows, start : start + columns] = mark.ink
    stroke = max(1, round(radius * rng.uniform(0.05, 0.14)))
    cv2.circle(ink, (side // 2, side // 2), int(radius), 1.0, stroke, cv2.LINE_AA)
    plate = np.zeros_like(ink)
    if rng.random() < 0.5:
        cv2.circle(plate, (side // 2, side // 2), int(radius + stroke), 1.0, -1, cv2.LINE_AA)
    box = (side / 2 - radius, side / 2 - radius, side / 2 + radius, side / 2 + radius)
    shift = np.array([start, top], np.float32)
    return DrawnMark(ink, plate, mark.characters + shift, np.array([_corners(box)], np.float32))


@lru_cache(maxsize=4096)
def _face(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size_px)
