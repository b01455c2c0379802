"""Arithmetic of axis-aligned boxes ``(x_min, y_min, x_max, y_max)`` in pixels."""

from covid_debug.records import Box, Point


def to_polygon(box: Box) -> tuple[Point, ...]:
    """Return the four corners, from the top left one clockwise."""
    x_min, y_min, x_max, y_max = box
    return ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))


def area_of(box: Box) -> float:
    """Return width times height."""
    return (box[2] - box[0]) * (box[3] - box[1])


def enclose(first: Box, second: Box) -> Box:
    """Return the smallest box that holds both."""
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def intersect(first: Box, second: Box) -> float:
    """Return the shared area; 0 where they only touch."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return width * height if width > 0 and height > 0 else 0.0


def intersection_over_union(first: Box, second: Box) -> float:
    """Return the shared area over the area of both together, in [0, 1]."""
    shared = intersect(first, second)
    return shared / (area_of(first) + area_of(second) - shared) if shared else 0.0


def share_of_smaller(first: Box, second: Box) -> float:
    """Return the shared area over the area of the smaller box, in [0, 1]."""
    shared = intersect(first, second)
    return shared / max(min(area_of(first), area_of(second)), 1e-9) if shared else 0.0


def do_overlap(first: Box, second: Box, gap: float = 0.0) -> bool:
    """Say whether two boxes share area, or come nearer to each other than ``gap`` pixels."""
    return (
        first[0] < second[2] + gap
        and second[0] < first[2] + gap
        and first[1] < second[3] + gap
        and second[1] < first[3] + gap
    )
