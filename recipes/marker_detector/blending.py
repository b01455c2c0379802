"""How ink meets a film: painted over it or added as lead absorbs, at a drawn contrast.

Owns contrast, polarity and outlines; what is drawn is decided elsewhere.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
_LEAST_CONTRAST = 10.0  # gray levels over smooth ground
_FAINT_SHARE = 0.38


def regrade(film: Plane, rng: np.random.Generator) -> Plane:
    """Return the film ``(H, W)`` with another contrast, gamma and, rarely, polarity."""
    level = np.clip(film / 255, 0, 1) ** np.float32(math.exp(rng.normal(0, 0.25)))
    level = (level - 0.5) * rng.uniform(0.6, 1.15) + 0.5 + rng.normal(0, 0.06)
    if rng.random() < 0.06:
        level = 1 - level
    return np.asarray(np.clip(level, 0, 1) * 255, np.float32)


def blend(
    film: Plane,
    ink: Plane,
    rng: np.random.Generator,
    *,
    dark_share: float,
    contrast: float | None = None,
) -> Plane:
    """Return the film with ink painted over or added as lead absorbs.

    Args:
        film: ``(H, W)`` in [0, 255].
        ink: Coverage ``(H, W)`` in [0, 1].
        rng: Draws contrast, polarity and the way of blending.
        dark_share: Share of dark ink on ground that is neither very dark nor very bright.
        contrast: Gray levels of ink that is added as lead absorbs; None draws them.

    Returns:
        ``(H, W)`` in [0, 255].
    """
    inside = ink > 0.5
    local, least = _measure_ground(film, inside)
    if contrast is not None:
        sign = -1 if local + contrast > 255 else 1
        return np.asarray(np.clip(film + sign * contrast * ink, 0, 255), np.float32)
    contrast = _draw_contrast(least, rng)
    room = 255 - local
    # On bright ground bright ink has little room: such letters are faint, as on mediastinum.
    dark = room < least or (local > 205 and rng.random() < 0.6)
    dark = dark or (local > 45 and rng.random() < dark_share)
    if not dark and contrast > room:
        contrast = max(least, room * rng.uniform(0.5, 1.0))
    if rng.random() < 0.45:
        added = film + (-contrast if dark else contrast) * ink
        return np.asarray(np.clip(added, 0, 255), np.float32)
    level = max(local - contrast, 0) if dark else min(local + contrast, 255)
    if rng.random() < 0.25:
        level = 0.0 if dark else 255.0
    elif rng.random() < 0.12:  # a colour turned gray: one level, whatever is under it
        levels = rng.uniform(60, 200, 4)
        level = float(max(levels, key=lambda one: abs(one - local)))
    return np.asarray(film + ink * rng.uniform(0.85, 1.0) * (level - film), np.float32)


def _measure_ground(film: Plane, inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the level under the ink, and the least contrast that can be seen there."""
    if not inside.any():
        return float(film.mean()), 2 * _LEAST_CONTRAST
    seen = film[inside]
    fine = (film - cv2.blur(film, (9, 9)))[inside]
    thin = 9.0 if inside.sum() < 250 else 0.0
    least = max(_LEAST_CONTRAST + thin, 2.4 * float(fine.std()), 0.4 * float(seen.std()))
    return float(np.median(seen)), least


def _draw_contrast(least: float, rng: np.random.Generator) -> float:
    if rng.random() < _FAINT_SHARE:
        return least + rng.uniform(0, 30)
    return max(20 + 200 * float(rng.beta(1.0, 1.6)), 1.2 * least)


def add_halo(film: Plane, ink: Plane, rng: np.random.Generator) -> Plane:
    """Return the film with an outline or a shadow for bright ink."""
    wide = cv2.dilate(ink, np.ones((3, 3), np.uint8))
    if rng.random() < 0.5:
        wide = np.roll(ink, (1, 1), (0, 1))
    return np.asarray(film + wide * rng.uniform(0.5, 1.0) * (rng.uniform(0, 60) - film), np.float32)
