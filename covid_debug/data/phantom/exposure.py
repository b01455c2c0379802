"""From attenuation to an 8-bit film: exposure, scatter, contrast, noise, collimation.

Knows nothing of anatomy or of markers; acquisition is drawn alike for all classes and sites.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.data.phantom.canvas import Plane, cloud, smooth


def expose(density: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn line integrals into a positive film (bone bright).

    Args:
        density: Attenuation along each ray, 0 = air.
        rng: Draws exposure, contrast, noise and collimation.

    Returns:
        Film of the same size, uint8.
    """
    height, width = density.shape
    scatter = rng.uniform(0.10, 0.30)
    veiled = (1 - scatter) * density + scatter * smooth(density, width / 12)
    detail = veiled - smooth(veiled, width / 28)
    veiled = veiled + rng.uniform(0.1, 0.9) * detail
    black, white = rng.uniform(0.02, 0.12), rng.uniform(1.05, 1.45)
    film = np.clip((veiled - black) / (white - black), 0, 1.2)
    film = np.minimum(film, 1) ** rng.uniform(0.75, 1.15)
    film = film * film * (3 - 2 * film) * 0.35 + film * 0.65
    film *= _vignette(height, width, rng)
    grain = rng.standard_normal((height, width), dtype=np.float32)
    grain = 0.55 * grain + 1.3 * cv2.GaussianBlur(grain, (0, 0), 0.9)
    film = film + rng.uniform(0.006, 0.020) * grain * (0.45 + 0.8 * film)
    low, high = rng.uniform(0.0, 0.06), rng.uniform(0.86, 0.99)
    film = low + (high - low) * film
    if rng.random() < 0.4:
        film = _collimate(np.asarray(film, np.float32), rng)
    return np.asarray(np.clip(np.round(film * 255), 0, 255), np.uint8)


def _vignette(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Return an uneven beam: darker towards a random side and the corners, by a tenth at most."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope_x, slope_y = rng.normal(0, 0.035), rng.normal(0, 0.035)
    field = 1 + slope_x * x + slope_y * y - rng.uniform(0, 0.08) * (x * x + y * y)
    field = field + 0.008 * cloud(rng, (height, width), width / 3)
    return np.asarray(field, np.float32)


def _collimate(film: Plane, rng: np.random.Generator) -> Plane:
    """Return the film with black, slightly rotated borders where the collimator closed."""
    height, width = film.shape
    margins = rng.uniform(0.0, 0.045, 4) * (rng.random(4) < 0.6)
    corners = np.array(
        [
            (margins[0] * width, margins[1] * height),
            ((1 - margins[2]) * width, margins[1] * height),
            ((1 - margins[2]) * width, (1 - margins[3]) * height),
            (margins[0] * width, (1 - margins[3]) * height),
        ]
    )
    turn = rng.normal(0, 0.008)
    corners += np.array([[-turn * height, turn * width]]) * np.array([[1], [1], [-1], [-1]]) / 2
    opening = np.zeros((height, width), np.uint8)
    cv2.fillPoly(opening, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    light = smooth(opening.astype(np.float32) / np.float32(255), 1.2)
    return np.asarray(film * light + rng.uniform(0.0, 0.03) * (1 - light), np.float32)
