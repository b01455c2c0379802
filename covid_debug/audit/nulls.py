"""Matched patches: text-free places of the same film with the shapes of its text.

Owns where a null intervention happens. What is done there, and what it proves, is decided by
:mod:`covid_debug.audit.interventions` and :mod:`covid_debug.audit.verdicts`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from covid_debug.imaging.geometry import ViewGeometry
from covid_debug.imaging.masks import Mask, PlacedMask, iter_groups

_MAX_TRIES = 60
_BORDER_JITTER = 0.03  # share of the view's side by which the distance to its border may differ

Patch = tuple[PlacedMask, ...]


@dataclass(frozen=True, slots=True)
class MatchedPatches:
    """Null places of one film.

    Attributes:
        patches: Each one holds every piece of text in the view, moved elsewhere.
        n_border_matched: Patches in which every piece kept its distance to the view's border.
    """

    patches: tuple[Patch, ...]
    n_border_matched: int


def paint(patch: Patch, height: int, width: int) -> Mask:
    """Return ``(H, W)`` bool, True inside the pieces."""
    mask = np.zeros((height, width), np.bool_)
    for piece in patch:
        piece.stamp(mask)
    return mask


def clip_to_view(film_mask: Mask, geometry: ViewGeometry) -> Mask:
    """Return the part of a film mask that lies inside the view's square."""
    clipped = np.zeros_like(film_mask)
    rows = slice(geometry.y0, geometry.y0 + geometry.side)
    columns = slice(geometry.x0, geometry.x0 + geometry.side)
    clipped[rows, columns] = film_mask[rows, columns]
    return clipped


def draw_matched_patches(
    text_mask: Mask,
    geometry: ViewGeometry,
    *,
    n_nulls: int,
    gap_px: int,
    seed: int,
    closed: Mask | None = None,
) -> MatchedPatches:
    """Move the text's shapes to random text-free places inside the view.

    Each connected piece of text keeps its shape and orientation. Places at the same distance from
    the view's border are tried first (film borders look alike: black, collimated), then any place.
    Pieces of one null do not overlap each other; a null that cannot be placed is left out.

    Args:
        text_mask: ``(H, W)`` bool, all text of the film; only what lies in the view is moved, but
            no patch is put on text outside the view either.
        geometry: Where the view lies on the film.
        n_nulls: How many nulls are wanted.
        gap_px: Least distance between a patch and any text, in film pixels, >= 0.
        seed: Seed of this film's draws.
        closed: ``(H, W)`` bool, what is no text and no place for a patch either.

    Returns:
        At most ``n_nulls`` patches, each with as many pixels as the text in the view.
    """
    pieces = _pieces(clip_to_view(text_mask, geometry))
    forbidden = text_mask
    if gap_px:
        side = 2 * gap_px + 1
        grown = cv2.dilate(text_mask.astype(np.uint8), np.ones((side, side), np.uint8))
        forbidden = grown.astype(np.bool_)
    if closed is not None:
        forbidden = forbidden | closed
    generator = np.random.default_rng(seed)
    patches: list[Patch] = []
    n_matched = 0
    for _ in range(n_nulls if pieces else 0):
        taken = forbidden.copy()
        moved: list[PlacedMask] = []
        all_matched = True
        for piece in pieces:
            place, matched = draw_place(piece, taken, geometry, generator)
            if place is None:
                break
            moved.append(place)
            all_matched &= matched
            place.stamp(taken)
        else:
            patches.append(tuple(moved))
            n_matched += all_matched
    return MatchedPatches(tuple(patches), n_matched)


def _pieces(mask: Mask) -> list[PlacedMask]:
    """Return the connected pieces, largest first."""
    return sorted(iter_groups(mask), key=lambda piece: (-piece.n_pixels, piece.top, piece.left))


def draw_place(
    piece: PlacedMask, taken: Mask, geometry: ViewGeometry, generator: np.random.Generator
) -> tuple[PlacedMask | None, bool]:
    """Move one piece to a random free place inside the view.

    Args:
        piece: What to move; its distance to the view's border is kept if possible.
        taken: ``(H, W)`` bool, True where it may not lie.
        geometry: Where the view lies on the film.
        generator: Source of the draws; advanced.

    Returns:
        The moved piece, or None where no draw was free, and whether it kept its distance.
    """
    free_y, free_x = geometry.side - piece.high, geometry.side - piece.wide
    if free_y < 0 or free_x < 0:
        return None, False
    y, x = piece.top - geometry.y0, piece.left - geometry.x0
    distance = min(y, x, free_y - y, free_x - x)
    jitter = max(1, round(_BORDER_JITTER * geometry.side))
    for attempt in range(2 * _MAX_TRIES):
        matched = attempt < _MAX_TRIES
        if matched:
            offset = max(0, distance + int(generator.integers(-jitter, jitter + 1)))
            edge = int(generator.integers(4))
            along = generator.random()
            y = min(offset, free_y) if edge < 2 else int(along * (free_y + 1))
            x = int(along * (free_x + 1)) if edge < 2 else min(offset, free_x)
            y = free_y - y if edge == 1 else y
            x = free_x - x if edge == 3 else x
        else:
            y = int(generator.integers(free_y + 1))
            x = int(generator.integers(free_x + 1))
        place = PlacedMask(y + geometry.y0, x + geometry.x0, piece.mask)
        if not taken[place.window(taken.shape)][piece.mask].any():
            return place, matched
    return None, False
