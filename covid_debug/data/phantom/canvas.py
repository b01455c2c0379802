"""Drawing in body coordinates: the pose of a patient on a film, strokes, smooth noise.

Owns the map from body units to pixels and the primitive shapes; knows no anatomy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Points = NDArray[np.float64]

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the body lies on the film.

    Body coordinates: the origin is the middle of the chest, ``x`` grows towards the right border
    of the film (the patient's left side), ``y`` downwards; the outer edge of the lungs lies near
    ``|x| = 0.9``, apices near ``y = -0.95``, diaphragm near ``y = 0.6``.

    Attributes:
        width: Film width in pixels.
        height: Film height in pixels.
        center: Film position of the body's origin in pixels.
        unit_px: Pixels in one body unit.
        tilt: Rotation in radians, clockwise on the film.
    """

    width: int
    height: int
    center: tuple[float, float]
    unit_px: float
    tilt: float

    def to_film(self, points: Points) -> Points:
        """Return body points ``(n, 2)`` as film pixels."""
        cosine, sine = math.cos(self.tilt), math.sin(self.tilt)
        rotation = np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray(points @ rotation * self.unit_px + np.array(self.center))

    def grid(self) -> tuple[Plane, Plane]:
        """Return body coordinates ``(x, y)`` of every pixel centre, each ``(H, W)``."""
        columns = (np.arange(self.width, dtype=np.float32) + 0.5 - self.center[0]) / self.unit_px
        rows = (np.arange(self.height, dtype=np.float32) + 0.5 - self.center[1]) / self.unit_px
        cosine, sine = np.float32(math.cos(self.tilt)), np.float32(math.sin(self.tilt))
        x = cosine * columns[None, :] + sine * rows[:, None]
        y = cosine * rows[:, None] - sine * columns[None, :]
        return x.astype(np.float32), y.astype(np.float32)


class Canvas:
    """Strokes and filled shapes, drawn in body coordinates on an 8-bit layer."""

    def __init__(self, pose: Pose) -> None:
        """Start with an empty layer of the film's size."""
        self._pose = pose
        self._layer = np.zeros((pose.height, pose.width), np.uint8)

    def fill(self, points: Points, level: float) -> None:
        """Fill a closed outline with a level in [0, 1]."""
        self._fill_film(self._pose.to_film(points), level)

    def tube(self, points: Points, widths: Sequence[float] | Points, level: float) -> None:
        """Draw a stroke along ``points`` whose width (body units) may change on the way."""
        film = self._pose.to_film(points)
        tangent = np.empty_like(film)
        tangent[1:-1] = film[2:] - film[:-2]
        tangent[0], tangent[-1] = film[1] - film[0], film[-1] - film[-2]
        length = np.hypot(tangent[:, 0], tangent[:, 1]) + 1e-6
        half = np.asarray(widths, dtype=np.float64) * (self._pose.unit_px / 2) / length
        offset = np.empty_like(film)
        offset[:, 0], offset[:, 1] = -tangent[:, 1] * half, tangent[:, 0] * half
        self._fill_film(np.concatenate([film + offset, (film - offset)[::-1]]), level)

    def line(self, points: Points, width_px: int, level: float) -> None:
        """Draw a thin polyline of a width in pixels."""
        cv2.polylines(
            self._layer, [_fixed(self._pose.to_film(points))], False, round(255 * level),
            width_px, cv2.LINE_AA, _SUBPIXEL_BITS,
        )  # fmt: skip

    def read(self, blur: float) -> Plane:
        """Return the layer in [0, 1], blurred by ``blur`` body units."""
        layer = self._layer
        sigma_px = blur * self._pose.unit_px
        if sigma_px > 0.3:
            layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma_px), np.uint8)
        return layer * np.float32(1 / 255)

    def _fill_film(self, film: Points, level: float) -> None:
        cv2.fillPoly(
            self._layer, [_fixed(film)], round(255 * level), cv2.LINE_AA, _SUBPIXEL_BITS
        )  # fmt: skip


def _fixed(points: Points) -> NDArray[np.int32]:
    """Return film pixels in OpenCV's fixed point; pixel ``i`` covers ``[i, i+1)``."""
    return np.round((points - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def smooth(plane: Plane, sigma_px: float) -> Plane:
    """Return a Gaussian blur; wide kernels are computed on a smaller copy."""
    if sigma_px < 0.3:
        return plane
    height, width = plane.shape
    factor = max(1, int(sigma_px / 3))
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px), np.float32)
    small_size = (max(2, width // factor), max(2, height // factor))
    small = cv2.resize(plane, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / factor)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def spline(knots: Sequence[tuple[float, float]], n_points: int = 60) -> Points:
    """Return the open Catmull-Rom curve through the knots, ``(n_points, 2)``."""
    control = np.asarray(knots, dtype=np.float64)
    control = np.concatenate(
        [2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]]
    )
    position = np.linspace(0, len(knots) - 1 - 1e-9, n_points)
    segment = position.astype(int)
    t = (position - segment)[:, None]
    a, b, c, d = (control[segment + k] for k in range(4))
    return np.asarray(
        0.5
        * (
            2 * b
            + (c - a) * t
            + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - 3 * c + d - a) * t**3
        )
    )


def cloud(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Plane:
    """Return a smooth random field, mean 0, spread about 1, blobs of ``scale_px`` pixels."""
    height, width = shape
    coarse = (max(2, round(width / scale_px) + 2), max(2, round(height / scale_px) + 2))
    method = cv2.INTER_CUBIC if scale_px > 12 else cv2.INTER_LINEAR
    values = rng.standard_normal((coarse[1], coarse[0]), dtype=np.float32)
    return np.asarray(cv2.resize(values, (width, height), interpolation=method), np.float32)


def ellipsoid(x: Plane, y: Plane, center: tuple[float, float], radii: tuple[float, float]) -> Plane:
    """Return the thickness of an ellipsoid seen from the front: 1 in its centre, 0 outside."""
    inside = 1 - ((x - center[0]) / radii[0]) ** 2 - ((y - center[1]) / radii[1]) ** 2
    return np.sqrt(np.maximum(inside, 0), dtype=np.float32)
