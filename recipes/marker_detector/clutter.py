"""What looks like text and is none: wires, tubes, electrodes, jewellery, fasteners, clips, rulers.

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


def draw_spot(layer: Layer, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a point of a layer."""
    return int(rng.integers(layer.shape[1])), int(rng.integers(layer.shape[0]))


def directions(angle: float) -> NDArray[np.float64]:
    """Return the unit vectors ahead and aside as rows: the matrix that turns rows of points."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def draw_stroke(layer: Layer, points: NDArray[np.float64], width: int) -> None:
    """Draw a line through points ``(n, 2)`` into a layer."""
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


def _electrode(layer: Layer, rng: np.random.Generator) -> None:
    """Electrode or snap fastener: a disc of concentric rings, round or seen at an angle."""
    place, radius = draw_spot(layer, rng), float(rng.uniform(4, 16))
    squeeze, angle = (1.0 if rng.random() < 0.6 else rng.uniform(0.4, 1.0)), rng.uniform(0, 180)
    level = rng.uniform(0.3, 1.0)
    while radius >= 1.5:
        axes = (round(radius), max(1, round(radius * squeeze)))
        cv2.ellipse(layer, place, axes, angle, 0, 360, level, -1, cv2.LINE_AA)
        radius *= rng.uniform(0.35, 0.85)
        level = rng.uniform(0.0, 0.6) if level > 0.6 else rng.uniform(0.6, 1.0)


def _ring(layer: Layer, rng: np.random.Generator) -> None:
    place, radius = draw_spot(layer, rng), int(rng.integers(4, 22))
    axes = (radius, max(2, int(radius * rng.uniform(0.5, 1.0))))
    cv2.ellipse(
        layer, place, axes, rng.uniform(0, 180), 0, 360, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA
    )


def _coin(layer: Layer, rng: np.random.Generator) -> None:
    cv2.circle(layer, draw_spot(layer, rng), int(rng.integers(3, 22)), 1.0, -1, cv2.LINE_AA)


def _zipper(layer: Layer, rng: np.random.Generator) -> None:
    x, y = draw_spot(layer, rng)
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
    x, y = draw_spot(layer, rng)
    size = (int(rng.integers(10, 60)), int(rng.integers(10, 60)))
    box = cv2.boxPoints(((float(x), float(y)), size, rng.uniform(-30, 30)))
    points = [np.round(box * 16).astype(np.int32)]
    if rng.random() < 0.6:
        cv2.fillPoly(layer, points, rng.uniform(0.4, 1.0), cv2.LINE_AA, 4)
    else:
        cv2.polylines(layer, points, True, 1.0, int(rng.integers(1, 3)), cv2.LINE_AA, 4)


def _ruler(layer: Layer, rng: np.random.Generator) -> None:
    x, y = draw_spot(layer, rng)
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
        x, y = draw_spot(layer, rng)
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
    x, y = draw_spot(layer, rng)
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
    x, y = draw_spot(layer, rng)
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
    x, y = draw_spot(layer, rng)
    size, angle = rng.uniform(5, 14), rng.uniform(0, 360)
    ahead, aside = directions(math.radians(angle))

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
    x, y = draw_spot(layer, rng)
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
    x, y = draw_spot(layer, rng)
    n_turns, pitch = int(rng.integers(3, 10)), rng.uniform(3, 8)
    half = rng.uniform(1.0, 3.5) * pitch
    along = np.arange(8 * n_turns) / 8 * pitch
    across = half * np.sin(np.arange(8 * n_turns) / 8 * 2 * math.pi)
    if rng.random() < 0.3:
        across = half * np.sign(across)
    angle = rng.uniform(0, 2 * math.pi)
    points = np.stack([along, across], axis=1) @ directions(angle) + (x, y)
    draw_stroke(layer, points, max(1, int(pitch / 3)))


def _snap(layer: Layer, rng: np.random.Generator) -> None:
    """A monitoring electrode: a faint pad, a bright snap in it, and the wire that leaves it."""
    x, y = draw_spot(layer, rng)
    radius = int(rng.integers(3, 10))
    if rng.random() < 0.6:
        pad = int(radius * rng.uniform(1.8, 3.2))
        cv2.circle(layer, (x, y), pad, rng.uniform(0.1, 0.4), -1, cv2.LINE_AA)
    cv2.circle(layer, (x, y), radius, 1.0, int(rng.choice([-1, 1, 2])), cv2.LINE_AA)
    cv2.circle(layer, (x, y), max(1, radius // 2), rng.uniform(0.0, 1.0), -1, cv2.LINE_AA)
    if rng.random() < 0.8:
        heading = np.cumsum(rng.normal(0, 0.2, 20)) + rng.uniform(0, 2 * math.pi)
        steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * rng.uniform(2, 7)
        path = np.array([x, y]) + np.cumsum(steps, axis=0)
        draw_stroke(layer, path, int(rng.integers(1, 4)))


def _necklace(layer: Layer, rng: np.random.Generator) -> None:
    """A chain: beads or links along a hanging curve, perhaps with a pendant."""
    x, y = draw_spot(layer, rng)
    half, sag = rng.uniform(30, 120), rng.uniform(5, 90)
    n_beads = int(rng.integers(12, 60))
    across = np.linspace(-1, 1, n_beads)
    places = np.stack([x + half * across, y + sag * (1 - across**2)], axis=1)
    radius, linked = int(rng.integers(1, 5)), rng.random() < 0.4
    for k, (u, v) in enumerate(places):
        axes = (radius + 1, max(1, radius - k % 2)) if linked else (radius, radius)
        cv2.ellipse(layer, (int(u), int(v)), axes, 0, 0, 360, 1.0, 1 if linked else -1, cv2.LINE_AA)
    if rng.random() < 0.5:
        spot, size = (int(x), int(y + sag + 2 * radius)), int(rng.integers(3, 12))
        if rng.random() < 0.5:
            cv2.line(layer, (spot[0], spot[1] - size), (spot[0], spot[1] + size), 1.0, 2)
            cv2.line(layer, (spot[0] - size // 2, spot[1]), (spot[0] + size // 2, spot[1]), 1.0, 2)
        else:
            cv2.ellipse(layer, spot, (size // 2 + 1, size), 0, 0, 360, 1.0, -1, cv2.LINE_AA)


def _earring(layer: Layer, rng: np.random.Generator) -> None:
    """A hoop or a hook with a drop, a stud, a hair pin."""
    x, y = draw_spot(layer, rng)
    size, width = int(rng.integers(3, 14)), int(rng.integers(1, 4))
    start = rng.uniform(0, 360)
    span = rng.uniform(200, 360)
    cv2.ellipse(layer, (x, y), (size, size), 0, start, start + span, 1.0, width, cv2.LINE_AA)
    if rng.random() < 0.6:
        drop = (x + int(rng.normal(0, 2)), y + size + int(rng.integers(1, 6)))
        axes = (
            max(1, int(size * rng.uniform(0.2, 0.7))),
            max(1, int(size * rng.uniform(0.3, 1.2))),
        )
        cv2.ellipse(layer, drop, axes, 0, 0, 360, 1.0, int(rng.choice([-1, 1])), cv2.LINE_AA)


def _pacemaker(layer: Layer, rng: np.random.Generator) -> None:
    """A can with its header, circuits inside, and one to three leads with thick ends."""
    x, y = draw_spot(layer, rng)
    axes = (int(rng.integers(14, 45)), int(rng.integers(14, 45)))
    tilt = rng.uniform(0, 180)
    cv2.ellipse(layer, (x, y), axes, tilt, 0, 360, rng.uniform(0.5, 1.0), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        u, v = int(x + rng.normal(0, axes[0] / 3)), int(y + rng.normal(0, axes[1] / 3))
        corner = (u + int(rng.integers(3, 14)), v + int(rng.integers(3, 14)))
        cv2.rectangle(layer, (u, v), corner, rng.uniform(0.2, 1.0), int(rng.choice([-1, 1])))
    header = (x + int(rng.normal(0, 3)), y - axes[1])
    cv2.circle(layer, header, int(rng.integers(3, 8)), 0.6, 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(1, 4))):
        heading = np.cumsum(rng.normal(0, 0.12, 50)) + rng.uniform(0, 2 * math.pi)
        steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * rng.uniform(2, 6)
        path = np.cumsum(steps, axis=0) + header
        draw_stroke(layer, path, int(rng.integers(1, 3)))
        draw_stroke(layer, path[-5:], int(rng.integers(2, 6)))


def _port(layer: Layer, rng: np.random.Generator) -> None:
    """An implanted port: a disc or a drop with a ring in it, and the tube that leaves it."""
    spot = np.array(draw_spot(layer, rng), float)
    radius, angle = rng.uniform(7, 26), rng.uniform(0, 2 * math.pi)
    ahead, aside = directions(angle)
    if rng.random() < 0.5:
        turn = np.linspace(0, 2 * math.pi, 40)
        axes = np.array([1.0, rng.uniform(0.6, 1.0)])
        body = np.stack([np.cos(turn), np.sin(turn)], axis=1) * axes
    else:  # a drop, a heart or a rounded triangle
        turn = np.linspace(0, 2 * math.pi, 40)
        long = rng.uniform(0.2, 0.8) * np.maximum(np.cos(turn), 0) ** 2
        body = np.stack([np.cos(turn) * (1 + long), np.sin(turn)], axis=1)
    outline = spot + radius * body @ np.stack([ahead, aside])
    fixed = [np.round(outline * 16).astype(np.int32)]
    if rng.random() < 0.7:
        cv2.fillPoly(layer, fixed, rng.uniform(0.2, 0.7), cv2.LINE_AA, 4)
    if rng.random() < 0.7:
        cv2.polylines(layer, fixed, True, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    center = (int(spot[0]), int(spot[1]))
    inner = max(2, round(radius * rng.uniform(0.35, 0.75)))
    cv2.circle(layer, center, inner, 1.0, int(rng.integers(1, 5)), cv2.LINE_AA)
    if rng.random() < 0.4:
        cv2.circle(layer, center, max(1, inner // 2), rng.uniform(0, 1), -1, cv2.LINE_AA)
    stub = spot + radius * np.outer([0.9, rng.uniform(1.3, 1.9)], ahead)
    draw_stroke(layer, stub, max(2, round(radius * rng.uniform(0.15, 0.4))))
    heading = angle + np.cumsum(rng.normal(0, 0.15, 40))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * rng.uniform(2, 6)
    draw_stroke(layer, stub[1] + np.cumsum(steps, axis=0), int(rng.integers(1, 4)))


def _staples(layer: Layer, rng: np.random.Generator) -> None:
    """Staples and ligating clips: short bars, alone, in pairs or as open boxes, near each other."""
    place = np.array(draw_spot(layer, rng), float)
    length, width = rng.uniform(3, 12), int(rng.integers(1, 4))
    heading, spread = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 1.5)
    for _ in range(int(rng.integers(1, 9))):
        ahead, aside = directions(heading + rng.normal(0, spread))
        size, pick = length * rng.uniform(0.6, 1.2), rng.random()
        wide = size * rng.uniform(0.2, 0.6)
        if pick < 0.4:
            draw_stroke(layer, place + np.outer([-0.5, 0.5], ahead) * size, width)
        elif pick < 0.7:  # two legs that meet or nearly meet
            legs = np.array([[1.0, 0.5], [0.0, 0.0], [1.0, -0.5]]) * (size, wide)
            draw_stroke(layer, place + legs @ np.stack([ahead, aside]), width)
        else:
            legs = np.array([[0.0, 0.5], [1.0, 0.5], [1.0, -0.5], [0.0, -0.5]]) * (wide, size)
            draw_stroke(layer, place + legs @ np.stack([ahead, aside]), width)
        place = place + rng.normal(0, 2.2, 2) * length


def _strand(layer: Layer, rng: np.random.Generator) -> None:
    """A necklace of one thin line, closed or not."""
    x, y = draw_spot(layer, rng)
    half, sag = rng.uniform(25, 130), rng.uniform(15, 130)
    across = np.linspace(-1, 1, 40)
    fall = 1 - np.abs(across) ** rng.uniform(1.4, 3.0)
    draw_stroke(layer, np.stack([x + half * across, y + sag * fall], axis=1),
                int(rng.integers(1, 3)))  # fmt: skip


def _drain(layer: Layer, rng: np.random.Generator) -> None:
    """A drain: a faint tube with an opaque stripe that side holes interrupt."""
    curve = _curve(layer, rng)
    width = int(rng.integers(4, 13))
    cv2.polylines(layer, [curve], False, rng.uniform(0.1, 0.5), width, cv2.LINE_AA, 4)
    for first in range(0, len(curve) - 3, int(rng.integers(4, 20))):
        piece = curve[first : first + int(rng.integers(3, 18))]
        cv2.polylines(layer, [piece], False, 1.0, max(1, width // 4), cv2.LINE_AA, 4)


_KINDS: tuple[Callable[[Layer, np.random.Generator], None], ...] = (
    _wire, _wire, _tube, _electrode, _electrode, _snap, _snap, _ring, _coin, _zipper, _plate,
    _plate, _ruler, _bars, _edge, _clips, _clips, _hooks, _hooks, _clasp, _loops, _loops, _coil,
    _necklace, _necklace, _earring, _earring, _pacemaker, _drain, _port, _port,
    _staples, _staples, _strand,
)  # fmt: skip
