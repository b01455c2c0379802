"""What looks like text and is none: arrows, wires, tubes, electrodes, fasteners, clips, rulers.

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


def _directions(angle: float) -> NDArray[np.float64]:
    """Return the unit vectors ahead and aside as rows: the matrix that turns rows of points."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def _stroke(layer: Layer, points: NDArray[np.float64], width: int) -> None:
    fixed = np.round(points * 16).astype(np.int32)
    cv2.polylines(layer, [fixed], False, 1.0, width, cv2.LINE_AA, 4)


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
    points = [np.round((outline @ _directions(angle) + (x, y)) * 16).astype(np.int32)]
    if rng.random() < 0.75:
        cv2.fillPoly(layer, points, 1.0, cv2.LINE_AA, 4)
    else:
        cv2.polylines(layer, points, True, 1.0, max(1, int(width / 2)), cv2.LINE_AA, 4)


def _electrode(layer: Layer, rng: np.random.Generator) -> None:
    """Electrode or snap fastener: a disc of concentric rings, round or seen at an angle."""
    spot, radius = _spot(layer, rng), float(rng.uniform(4, 16))
    squeeze, angle = (1.0 if rng.random() < 0.6 else rng.uniform(0.4, 1.0)), rng.uniform(0, 180)
    level = rng.uniform(0.3, 1.0)
    while radius >= 1.5:
        axes = (round(radius), max(1, round(radius * squeeze)))
        cv2.ellipse(layer, spot, axes, angle, 0, 360, level, -1, cv2.LINE_AA)
        radius *= rng.uniform(0.35, 0.85)
        level = rng.uniform(0.0, 0.6) if level > 0.6 else rng.uniform(0.6, 1.0)


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


def _hooks(layer: Layer, rng: np.random.Generator) -> None:
    """Hooks and eyes of clothing: pairs of small loops on short bars, in rows and columns."""
    x, y = _spot(layer, rng)
    radius, width = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    reach = round(radius * rng.uniform(2.5, 5.0))
    upright, squared = rng.random() < 0.3, rng.random() < 0.3
    column, row = reach + radius * int(rng.integers(3, 7)), radius * int(rng.integers(4, 9))
    for i, j in np.ndindex(int(rng.integers(1, 4)), int(rng.integers(1, 5))):
        for side in (-1, 1):
            far = 0 if side < 0 else reach
            for along, across in ((far, -radius), (far, radius), (reach // 2, 0)):
                u, v = i * column + along, j * row + across
                spot = (x + v, y + u) if upright else (x + u, y + v)
                if squared and across == 0:
                    corner = (spot[0] + radius, spot[1] + radius)
                    cv2.rectangle(layer, spot, corner, 1.0, width)
                else:
                    cv2.circle(layer, spot, radius, 1.0, width, cv2.LINE_AA)


def _clasp(layer: Layer, rng: np.random.Generator) -> None:
    """A clip of a monitoring lead: a thick arc, a bar well behind it (no D), a dot, a wire."""
    x, y = _spot(layer, rng)
    size, angle = rng.uniform(5, 14), rng.uniform(0, 360)
    ahead, aside = _directions(math.radians(angle))

    def place(u: float, v: float) -> tuple[int, int]:
        point = np.array([x, y]) + size * (u * ahead + v * aside)
        return int(point[0]), int(point[1])

    axes = (round(size), max(2, round(size * rng.uniform(0.4, 0.9))))
    span, width = rng.uniform(120, 220), int(rng.integers(1, max(3, int(size / 2))))
    cv2.ellipse(layer, (x, y), axes, angle, -span / 2, span / 2, 1.0, width, cv2.LINE_AA)
    if rng.random() < 0.7:
        ends = place(-1.3, -0.8), place(-0.9, 0.8)
        cv2.line(layer, *ends, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    if rng.random() < 0.7:
        cv2.circle(layer, place(rng.uniform(-1, 0.6), 0), max(1, round(size / 4)), 1.0,
                   int(rng.choice([1, -1])), cv2.LINE_AA)  # fmt: skip
    if rng.random() < 0.6:
        cv2.line(layer, (x, y), place(-rng.uniform(1, 4), rng.normal(0, 1)), 1.0, 1, cv2.LINE_AA)


def _loops(layer: Layer, rng: np.random.Generator) -> None:
    """Sternal wires and spinous processes: upright or flat loops in a column, some twisted."""
    x, y = _spot(layer, rng)
    axes = np.array([rng.uniform(3, 14), rng.uniform(3, 14)])
    width, twisted = int(rng.integers(1, 4)), rng.random() < 0.5
    pitch = int(axes[1] * rng.uniform(1.8, 4))
    for k in range(int(rng.integers(1, 5))):
        spot = (x + int(rng.normal(0, 2)), y + k * pitch)
        first, second = np.maximum(2, np.round(axes * rng.uniform(0.8, 1.2, 2))).astype(int)
        cv2.ellipse(layer, spot, (int(first), int(second)), rng.normal(0, 12), 0, 360, 1.0, width,
                    cv2.LINE_AA)  # fmt: skip
        if twisted:
            end = (spot[0] + int(rng.normal(0, 4)), spot[1] + int(rng.uniform(0.5, 1.6) * second))
            cv2.line(layer, spot, end, 1.0, width, cv2.LINE_AA)


def _coil(layer: Layer, rng: np.random.Generator) -> None:
    """A spring, a coiled tube or a bent wire: a zigzag along a line."""
    x, y = _spot(layer, rng)
    n_turns, pitch = int(rng.integers(3, 10)), rng.uniform(3, 8)
    half = rng.uniform(1.0, 3.5) * pitch
    along = np.arange(8 * n_turns) / 8 * pitch
    across = half * np.sin(np.arange(8 * n_turns) / 8 * 2 * math.pi)
    if rng.random() < 0.3:
        across = half * np.sign(across)
    angle = rng.uniform(0, 2 * math.pi)
    points = np.stack([along, across], axis=1) @ _directions(angle) + (x, y)
    _stroke(layer, points, max(1, int(pitch / 3)))


def _thin_arrow(layer: Layer, rng: np.random.Generator) -> None:
    """A line with an open or filled head at one or both ends, sometimes crossed or dashed."""
    x, y = _spot(layer, rng)
    length, angle = rng.uniform(10, 50), rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.4:
        angle = float(rng.integers(4)) * math.pi / 2
    width, head = int(rng.integers(1, 5)), rng.uniform(0.2, 0.5) * length
    ahead, aside = _directions(angle)
    aside = aside * rng.uniform(0.3, 0.9) * head
    start = np.array([x, y], float)
    end = start + length * ahead
    n_dashes = int(rng.integers(3, 6)) if rng.random() < 0.2 else 1
    filled = 0.5 if n_dashes > 1 else 1.0
    for k in range(n_dashes):
        ends = [start + (end - start) * (k + part) / n_dashes for part in (0.0, filled)]
        _stroke(layer, np.stack(ends), width)
    tips = [(end, -ahead)] if rng.random() < 0.7 else [(end, -ahead), (start, ahead)]
    for tip, back in tips:
        barbs = [tip + head * back + aside, tip, tip + head * back - aside]
        _stroke(layer, np.stack(barbs), width)
    if len(tips) > 1 and rng.random() < 0.5:
        middle = (start + end) / 2
        _stroke(layer, np.stack([middle + 2 * aside, middle - 2 * aside]), width)


_KINDS: tuple[Callable[[Layer, np.random.Generator], None], ...] = (
    _wire, _wire, _tube, _arrow, _arrow, _thin_arrow, _thin_arrow, _electrode, _electrode, _ring,
    _coin, _zipper, _plate, _plate, _ruler, _bars, _edge, _clips, _hooks, _hooks, _clasp,
    _loops, _loops, _coil,
)  # fmt: skip
