"""What looks like text and is none: arrows, wires, tubes, electrodes, coins, zippers, rulers.

Draws hard negatives into a layer; nothing here appears in any target.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Layer = NDArray[np.float32]


def draw_clutter(rng: np.random.Generator, side: int) -> Layer:
    """Draw one object that is no text.

    Args:
        rng: Draws kind, place, size and strength.
        side: Side of the square layer in pixels.

    Returns:
        Layer ``(side, side)`` in [0, 1].
    """
    layer = np.zeros((side, side), np.float32)
    _KINDS[int(rng.integers(len(_KINDS)))](layer, rng)
    return layer


def _spot(layer: Layer, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(layer.shape[1])), int(rng.integers(layer.shape[0]))


def _curve(layer: Layer, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return a smooth wandering line as 1/16 pixels."""
    side = layer.shape[0]
    heading = np.cumsum(rng.normal(0, 0.16, 60)) + rng.uniform(0, 2 * math.pi)
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * side / 45
    points = rng.uniform(0, side, 2) + np.cumsum(steps, axis=0)
    return np.asarray(np.round(points * 16), np.int32)


def _wire(layer: Layer, rng: np.random.Generator) -> None:
    cv2.polylines(layer, [_curve(layer, rng)], False, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA, 4)


def _tube(layer: Layer, rng: np.random.Generator) -> None:
    curve, width = _curve(layer, rng), int(rng.integers(5, 12))
    cv2.polylines(layer, [curve], False, 1.0, width, cv2.LINE_AA, 4)
    cv2.polylines(layer, [curve], False, 0.35, max(1, width - 2), cv2.LINE_AA, 4)


def _arrow(layer: Layer, rng: np.random.Generator) -> None:
    x, y = _spot(layer, rng)
    length, angle = rng.uniform(12, 60), rng.uniform(0, 2 * math.pi)
    width, head = rng.uniform(0.05, 0.16) * length, rng.uniform(0.3, 0.5) * length
    outline = np.array(
        [(0, -width), (length - head, -width), (length - head, -head * 0.7), (length, 0),
         (length - head, head * 0.7), (length - head, width), (0, width)]
    )  # fmt: skip
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = [np.round((outline @ turn + (x, y)) * 16).astype(np.int32)]
    if rng.random() < 0.75:
        cv2.fillPoly(layer, points, 1.0, cv2.LINE_AA, 4)
    else:
        cv2.polylines(layer, points, True, 1.0, max(1, int(width / 2)), cv2.LINE_AA, 4)


def _electrode(layer: Layer, rng: np.random.Generator) -> None:
    spot, radius = _spot(layer, rng), int(rng.integers(4, 14))
    cv2.circle(layer, spot, radius, 0.5, -1 if rng.random() < 0.5 else 2, cv2.LINE_AA)
    cv2.circle(layer, spot, max(2, radius // 2), 1.0, -1, cv2.LINE_AA)


def _ring(layer: Layer, rng: np.random.Generator) -> None:
    spot, radius = _spot(layer, rng), int(rng.integers(4, 22))
    axes = (radius, max(2, int(radius * rng.uniform(0.5, 1.0))))
    cv2.ellipse(
        layer, spot, axes, rng.uniform(0, 180), 0, 360, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA
    )


def _coin(layer: Layer, rng: np.random.Generator) -> None:
    cv2.circle(layer, _spot(layer, rng), int(rng.integers(3, 22)), 1.0, -1, cv2.LINE_AA)


def _zipper(layer: Layer, rng: np.random.Generator) -> None:
    x, y = _spot(layer, rng)
    pitch, width = int(rng.integers(3, 7)), int(rng.integers(4, 10))
    upright = rng.random() < 0.6
    for k in range(int(rng.integers(10, 40))):
        if upright:
            cv2.line(
                layer,
                (x + (k % 2) * 2, y + k * pitch),
                (x + width + (k % 2) * 2, y + k * pitch),
                1.0,
                1,
            )
        else:
            cv2.line(
                layer,
                (x + k * pitch, y + (k % 2) * 2),
                (x + k * pitch, y + width + (k % 2) * 2),
                1.0,
                1,
            )


def _plate(layer: Layer, rng: np.random.Generator) -> None:
    x, y = _spot(layer, rng)
    size = (int(rng.integers(10, 60)), int(rng.integers(10, 60)))
    box = cv2.boxPoints(((float(x), float(y)), size, rng.uniform(-30, 30)))
    points = [np.round(box * 16).astype(np.int32)]
    if rng.random() < 0.6:
        cv2.fillPoly(layer, points, rng.uniform(0.4, 1.0), cv2.LINE_AA, 4)
    else:
        cv2.polylines(layer, points, True, 1.0, int(rng.integers(1, 3)), cv2.LINE_AA, 4)


def _ruler(layer: Layer, rng: np.random.Generator) -> None:
    x, y = _spot(layer, rng)
    pitch, upright = int(rng.integers(4, 14)), rng.random() < 0.7
    for k in range(int(rng.integers(6, 22))):
        length = int((9 if k % 5 == 0 else 5) * pitch / 8) + 2
        end = (x + length, y + k * pitch) if upright else (x + k * pitch, y + length)
        start = (x, y + k * pitch) if upright else (x + k * pitch, y)
        cv2.line(layer, start, end, 1.0, 1)
    if rng.random() < 0.5:
        far = (x, y + 22 * pitch) if upright else (x + 22 * pitch, y)
        cv2.line(layer, (x, y), far, 1.0, 1)


def _bars(layer: Layer, rng: np.random.Generator) -> None:
    """Straight single strokes: film edges, needles, dashes."""
    for _ in range(int(rng.integers(1, 4))):
        x, y = _spot(layer, rng)
        length, angle = rng.uniform(6, 120), rng.uniform(0, math.pi)
        end = (int(x + length * math.cos(angle)), int(y + length * math.sin(angle)))
        cv2.line(layer, (x, y), end, 1.0, int(rng.integers(1, 6)), cv2.LINE_AA)


def _edge(layer: Layer, rng: np.random.Generator) -> None:
    """One half of the crop brighter or darker, as at a collimator's border."""
    side = layer.shape[0]
    offset, slope = rng.uniform(0.05, 0.95) * side, rng.normal(0, 0.04)
    columns = np.arange(side)
    inside = columns[:, None] > offset + slope * columns[None, :]
    layer[inside if rng.random() < 0.5 else inside.T] = 1.0


def _clips(layer: Layer, rng: np.random.Generator) -> None:
    """Surgical clips and sternal wires: short bent strokes in a row."""
    x, y = _spot(layer, rng)
    for k in range(int(rng.integers(2, 7))):
        axes = (int(rng.integers(2, 7)), int(rng.integers(2, 7)))
        center = (x + int(rng.normal(0, 5)), y + k * int(rng.integers(8, 24)))
        start = rng.uniform(0, 360)
        cv2.ellipse(
            layer,
            center,
            axes,
            0,
            start,
            start + rng.uniform(60, 300),
            1.0,
            int(rng.integers(1, 3)),
            cv2.LINE_AA,
        )


_KINDS: tuple[Callable[[Layer, np.random.Generator], None], ...] = (
    _wire, _wire, _tube, _arrow, _arrow, _electrode, _ring, _coin, _zipper, _plate, _plate, _ruler,
    _bars, _edge, _clips,
)  # fmt: skip
