"""Training examples: films with known lungs, bent, exposed, covered and clipped at random.

Owns augmentation. An example is what the finder sees (:func:`prepare_film`) and the share of lung
in each cell of its grid.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.data.phantom import plan_pool, render_lungs, render_phantom
from covid_debug.imaging.lungs import GRID_SIDE, prepare_film

SIDE = 144  # films are kept as squares of this side
_WHITE, _BLACK = 255.0, 0.0

Gray = NDArray[np.uint8]
Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class KnownFilm:
    """A film as a square of :data:`SIDE` pixels with its lungs.

    Attributes:
        pixels: ``(SIDE, SIDE)`` uint8.
        lungs: ``(SIDE, SIDE)`` uint8, 255 in the lungs.
    """

    pixels: Gray
    lungs: Gray


def to_square(film: Gray, lungs: NDArray[np.bool_]) -> KnownFilm:
    """Return a film of any size as a square; the aspect ratio is lost, as in the finder."""
    size = (SIDE, SIDE)
    drawn = lungs.astype(np.uint8) * 255
    return KnownFilm(
        np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA), np.uint8),
        np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.uint8),
    )


def render_phantoms(n: int, seed: int) -> list[KnownFilm]:
    """Return marked phantoms with their lungs."""
    plans = plan_pool("train", n, seed=seed, text_correlation=1 / 3, val_share=0)
    return [
        to_square(render_phantom(seed, plan).marked, render_lungs(seed, plan)) for plan in plans
    ]


def draw_example(film: KnownFilm, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return one example: the square that the network sees and its targets in [0, 1]."""
    pixels, lungs = film.pixels.astype(np.float32), film.lungs
    if rng.random() < 0.5:
        pixels, lungs = pixels[:, ::-1], lungs[:, ::-1]
    if rng.random() < 0.5:
        pixels = _cloud_lungs(pixels, lungs, rng)
    pixels, lungs = _bend(np.ascontiguousarray(pixels), np.ascontiguousarray(lungs), rng)
    pixels = _expose(pixels, rng)
    pixels = _cover(pixels, rng)
    pixels += rng.uniform(0, 10) * rng.standard_normal(pixels.shape, dtype=np.float32)
    seen = prepare_film(np.asarray(np.clip(pixels, 0, 255), np.uint8))
    target = cv2.resize(lungs, (GRID_SIDE, GRID_SIDE), interpolation=cv2.INTER_AREA)
    return seen, np.asarray(target / np.float32(255), np.float32)


def _cloud_lungs(pixels: Plane, lungs: Gray, rng: np.random.Generator) -> Plane:
    """Return the film with one to three white opacities in the lungs."""
    rows, columns = np.nonzero(lungs)
    if len(rows) == 0:
        return pixels
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    haze = np.zeros_like(pixels)
    for _ in range(int(rng.integers(1, 4))):
        k = int(rng.integers(len(rows)))
        radius = rng.uniform(0.08, 0.30, 2) * SIDE
        distance = ((x - columns[k]) / radius[0]) ** 2 + ((y - rows[k]) / radius[1]) ** 2
        haze = np.maximum(haze, np.float32(rng.uniform(0.3, 1.0)) * np.exp(-(distance**2)))
    white = np.percentile(pixels, rng.uniform(60, 90))
    return np.asarray(pixels + haze * np.maximum(white - pixels, 0), np.float32)


def _bend(pixels: Plane, lungs: Gray, rng: np.random.Generator) -> tuple[Plane, Gray]:
    """Move, turn, stretch and warp; what comes from outside the film is a border."""
    angle, shear = rng.normal(0, 0.10), rng.normal(0, 0.05)
    scale_x, scale_y = np.exp(rng.normal(0.0, 0.16, 2))
    move = rng.normal(0, 0.06, 2) * SIDE
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[scale_x, shear], [0, scale_y]])
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    x, y = x - SIDE / 2, y - SIDE / 2
    warp = [_wave(rng, 0.02 * SIDE) for _ in range(2)]
    source_x = linear[0, 0] * x + linear[0, 1] * y + SIDE / 2 + move[0] + warp[0]
    source_y = linear[1, 0] * x + linear[1, 1] * y + SIDE / 2 + move[1] + warp[1]
    maps = (source_x.astype(np.float32), source_y.astype(np.float32))
    if rng.random() < 0.4:
        border, fill = cv2.BORDER_REPLICATE, 0.0
    else:
        border, fill = cv2.BORDER_CONSTANT, _WHITE if rng.random() < 0.3 else _BLACK
    bent = cv2.remap(pixels, *maps, cv2.INTER_LINEAR, borderMode=border, borderValue=fill)
    moved = cv2.remap(lungs, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(bent, np.float32), np.asarray(moved, np.uint8)


def _wave(rng: np.random.Generator, strength: float) -> Plane:
    """Return a smooth random field of the square's size."""
    coarse = rng.standard_normal((5, 5), dtype=np.float32) * np.float32(strength)
    return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def _expose(pixels: Plane, rng: np.random.Generator) -> Plane:
    """Return the film with another gamma, an uneven beam, other sharpness."""
    level = np.clip(pixels / 255, 0, 1) ** np.exp(rng.normal(0, 0.35))
    level = level + _wave(rng, rng.uniform(0, 0.10))
    blurred = cv2.GaussianBlur(level, (0, 0), rng.uniform(1, 8))
    level = level + rng.uniform(-0.5, 1.5) * (level - blurred)
    if rng.random() < 0.2:
        level = np.minimum(level, np.percentile(level, rng.uniform(70, 99)))
    return np.asarray(np.clip(level, 0, 1) * 255, np.float32)


def _cover(pixels: Plane, rng: np.random.Generator) -> Plane:
    """Return the film with borders, plates, strokes and lines on it."""
    pixels = np.ascontiguousarray(pixels)
    if rng.random() < 0.35:
        for side in range(4):
            width = int(rng.uniform(0, 0.10) * SIDE * (rng.random() < 0.6))
            strip = np.rot90(pixels, side)[:width]
            strip[:] = _WHITE if rng.random() < 0.4 else _BLACK
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.integers(0, SIDE, 2)
        wide, high = rng.integers(3, 32), rng.integers(3, 12)
        shade = float(rng.choice([_BLACK, _WHITE]))
        cv2.rectangle(pixels, (int(x), int(y)), (int(x + wide), int(y + high)), shade, -1)
    for _ in range(int(rng.integers(0, 4))):
        knots = rng.integers(0, SIDE, (3, 2)).astype(np.int32)
        cv2.polylines(pixels, [knots], False, float(rng.uniform(160, 255)), 1, cv2.LINE_AA)
    return pixels
