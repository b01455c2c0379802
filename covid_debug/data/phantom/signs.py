"""Disease signs of the phantom's classes; everything a model may rightly learn.

The signs imitate how the diseases look at reading distance: one lobar consolidation for pneumonia,
bilateral peripheral ground glass in the lower zones for COVID-19. Nothing here knows sites or text.
"""

import numpy as np

from covid_debug.data.phantom.anatomy import Chest
from covid_debug.data.phantom.canvas import Plane, cloud

CLASS_NAMES = ("normal", "pneumonia", "COVID-19")
# Where consolidations lie: side, centre in body coordinates, radius.
_LOBES = (
    (-1, (-0.48, -0.52), 0.30),   # right upper
    (-1, (-0.42, 0.18), 0.27),    # right middle
    (-1, (-0.60, 0.36), 0.30),    # right lower
    (1, (0.48, -0.45), 0.31),     # left upper
    (1, (0.62, 0.36), 0.30),      # left lower
)  # fmt: skip
_WEAKEST, _STRONGEST = 0.45, 1.0


def draw_strength(label_index: int, rng: np.random.Generator) -> float:
    """Return how marked a sign is, drawn: 0 for normal, otherwise in [0.45, 1]."""
    return 0.0 if label_index == 0 else float(rng.uniform(_WEAKEST, _STRONGEST))


def render_sign(chest: Chest, label_index: int, strength: float, rng: np.random.Generator) -> Plane:
    """Attenuation that the disease adds.

    Args:
        chest: The healthy chest.
        label_index: Place of the class in :data:`CLASS_NAMES`.
        strength: Value of :func:`draw_strength`; scales the density.
        rng: Draws place, shape and texture.

    Returns:
        Map of the film's size, >= 0; 0 everywhere outside the lungs and for normal films.
    """
    if label_index == 0:
        return np.zeros_like(chest.lungs)
    render = _consolidation if label_index == 1 else _ground_glass
    return np.asarray(np.float32(strength) * render(chest, rng), np.float32)


def _consolidation(chest: Chest, rng: np.random.Generator) -> Plane:
    side, center, radius = _LOBES[int(rng.integers(len(_LOBES)))]
    radius *= rng.uniform(0.8, 1.15)
    shift = rng.normal(0, 0.05, 2)
    blob = _blob(chest, (center[0] + shift[0], center[1] + shift[1]), radius, 0.10, rng)
    mottle = 1 + np.float32(0.12) * cloud(rng, blob.shape, chest.pose.unit_px * 0.05)
    lung = chest.right if side < 0 else chest.left
    return np.asarray(0.42 * blob * mottle * lung * np.sqrt(chest.lungs), np.float32)


def _ground_glass(chest: Chest, rng: np.random.Generator) -> Plane:
    haze = np.zeros_like(chest.lungs)
    for side, lung in ((-1, chest.right), (1, chest.left)):
        for _ in range(int(rng.integers(2, 4))):
            center = (side * rng.uniform(0.56, 0.80), rng.uniform(0.02, 0.50))
            patch = _blob(chest, center, rng.uniform(0.15, 0.25), 0.16, rng) * lung
            haze = np.maximum(haze, rng.uniform(0.7, 1.0) * patch)
    reticular = 1 + np.float32(0.28) * cloud(rng, haze.shape, chest.pose.unit_px * 0.032)
    return np.asarray(0.32 * haze * np.maximum(reticular, 0) * np.sqrt(chest.lungs), np.float32)


def _blob(
    chest: Chest,
    center: tuple[float, float],
    radius: float,
    softness: float,
    rng: np.random.Generator,
) -> Plane:
    """Return a ragged disc: 1 inside, fading to 0 over ``softness`` body units."""
    distance = np.hypot(chest.x - np.float32(center[0]), chest.y - np.float32(center[1]))
    ragged = distance + np.float32(0.055) * cloud(rng, distance.shape, chest.pose.unit_px * 0.14)
    return np.asarray(1 / (1 + np.exp((ragged - radius) / np.float32(softness / 3))), np.float32)
