"""What a human hand drew on a film and is no text: arrows, circles, ellipses, measuring lines.

Each is drawn with its own target: the network tells these annotations from text.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from recipes.marker_detector.clutter import Layer, directions, draw_spot, draw_stroke


def draw_annotation(rng: np.random.Generator, side: int) -> Layer:
    """Draw one annotation.

    Args:
        rng: Draws kind, place and size.
        side: Side of the square layer in pixels.

    Returns:
        Layer ``(side, side)`` in [0, 1].
    """
    layer = np.zeros((side, side), np.float32)
    _KINDS[int(rng.integers(len(_KINDS)))](layer, rng)
    return layer


def to_target(layer: Layer) -> NDArray[np.float32]:
    """Return where an annotation is: its strokes, with small enclosed parts filled."""
    drawn = cv2.dilate((layer > 0.25).astype(np.uint8), np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    small = [line for line in contours if cv2.contourArea(line) < _MOST_FILLED_PX]
    cv2.drawContours(drawn, small, -1, 1, -1)
    return np.asarray(drawn, np.float32)


_MOST_FILLED_PX = 900  # a larger outline is a circle round a finding, which is no annotation


def draw_frame(layer: Layer, rng: np.random.Generator) -> None:
    """Draw the circle, ellipse or box of a measured region as a thin line."""
    x, y = draw_spot(layer, rng)
    axes = (int(rng.integers(6, 70)), int(rng.integers(6, 70)))
    width = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    pick = rng.random()
    if pick < 0.35:
        cv2.circle(layer, (x, y), axes[0], 1.0, width, cv2.LINE_AA)
    elif pick < 0.8:
        cv2.ellipse(layer, (x, y), axes, rng.uniform(0, 180), 0, 360, 1.0, width, cv2.LINE_AA)
    else:
        corner = (x + axes[0], y + axes[1])
        cv2.rectangle(layer, (x - axes[0], y - axes[1]), corner, 1.0, width)


def draw_caliper(layer: Layer, rng: np.random.Generator) -> None:
    """Draw a measuring line: straight, with ticks or crosses at its ends, sometimes dotted."""
    x, y = draw_spot(layer, rng)
    angle = rng.uniform(0, math.pi) if rng.random() < 0.7 else float(rng.integers(2)) * math.pi / 2
    ahead, aside = directions(angle)
    ends = np.array([x, y]) + np.outer([0.0, rng.uniform(15, 150)], ahead)
    width, reach = int(rng.choice([1, 2], p=[0.7, 0.3])), rng.uniform(3, 8)
    if rng.random() < 0.3:
        n_dashes = int(rng.integers(4, 16))
        for k in range(n_dashes):
            shares = np.array([[k], [k + 0.5]]) / n_dashes
            draw_stroke(layer, ends[0] + shares * (ends[1] - ends[0]), width)
    else:
        draw_stroke(layer, ends, width)
    crossed = rng.random() < 0.5
    for end in ends:
        draw_stroke(layer, np.stack([end - reach * aside, end + reach * aside]), width)
        if crossed:
            draw_stroke(layer, np.stack([end - reach * ahead, end + reach * ahead]), width)


def draw_arrow(layer: Layer, rng: np.random.Generator) -> None:
    """Draw a broad arrow, filled or as an outline."""
    x, y = draw_spot(layer, rng)
    length, angle = rng.uniform(10, 80), rng.uniform(0, 2 * math.pi)
    width, head = rng.uniform(0.05, 0.16) * length, rng.uniform(0.3, 0.5) * length
    outline = np.array(
        [(0, -width), (length - head, -width), (length - head, -head * 0.7), (length, 0),
         (length - head, head * 0.7), (length - head, width), (0, width)]
    )  # fmt: skip
    points = [np.round((outline @ directions(angle) + (x, y)) * 16).astype(np.int32)]
    if rng.random() < 0.75:
        cv2.fillPoly(layer, points, 1.0, cv2.LINE_AA, 4)
    else:
        cv2.polylines(layer, points, True, 1.0, max(1, int(width / 2)), cv2.LINE_AA, 4)


def draw_thin_arrow(layer: Layer, rng: np.random.Generator) -> None:
    """Draw a line with an open or filled head at one or both ends, sometimes crossed or dashed."""
    x, y = draw_spot(layer, rng)
    length, angle = rng.uniform(10, 50), rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.4:
        angle = float(rng.integers(4)) * math.pi / 2
    width, head = int(rng.integers(1, 5)), rng.uniform(0.2, 0.5) * length
    ahead, aside = directions(angle)
    aside = aside * rng.uniform(0.3, 0.9) * head
    start = np.array([x, y], float)
    end = start + length * ahead
    n_dashes = int(rng.integers(3, 6)) if rng.random() < 0.2 else 1
    filled = 0.5 if n_dashes > 1 else 1.0
    for k in range(n_dashes):
        ends = [start + (end - start) * (k + part) / n_dashes for part in (0.0, filled)]
        draw_stroke(layer, np.stack(ends), width)
    tips = [(end, -ahead)] if rng.random() < 0.7 else [(end, -ahead), (start, ahead)]
    for tip, back in tips:
        barbs = [tip + head * back + aside, tip, tip + head * back - aside]
        draw_stroke(layer, np.stack(barbs), width)
    if len(tips) > 1 and rng.random() < 0.5:
        middle = (start + end) / 2
        draw_stroke(layer, np.stack([middle + 2 * aside, middle - 2 * aside]), width)


def draw_arrowhead(layer: Layer, rng: np.random.Generator) -> None:
    """Draw a head without a shaft, filled, notched or not."""
    x, y = draw_spot(layer, rng)
    length, half = rng.uniform(8, 36), rng.uniform(0.25, 0.6)
    notch = rng.uniform(0.0, 0.4) if rng.random() < 0.6 else 0.0
    outline = length * np.array([(0, -half), (1, 0), (0, half), (notch, 0)])
    points = outline @ directions(rng.uniform(0, 2 * math.pi)) + (x, y)
    cv2.fillPoly(layer, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)


_KINDS: tuple[Callable[[Layer, np.random.Generator], None], ...] = (
    draw_arrow, draw_arrow, draw_arrow, draw_thin_arrow, draw_thin_arrow, draw_arrowhead,
    draw_arrowhead, draw_frame, draw_frame, draw_caliper,
)  # fmt: skip
