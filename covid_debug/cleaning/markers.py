"""Side markers: the side that a region names, and the uniform marker that can replace them all.

Owns the letter, its place and its drawing. Whether markers go, stay or are replaced is the policy
of :mod:`covid_debug.cleaning.policy`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.imaging.reading import Pixels
from covid_debug.records import Box, TextRegion

_RIGHT: Final = re.compile(
    r"R|RT|RIGHT|DE?X?|DER|DCH[AO]|DTA|DIR|DERECH[AO]|DROITE?|DESTR[AO]|DIREIT[AO]|RECHT[SE]?"
    r"|H[ÖO]GER|H[ØOÖ]YRE|H[ØO]JRE|OIKEA|PRA[WV]A"
)
_LEFT: Final = re.compile(
    r"L|LT|LEFT|[EIGS]|SX|IZQ|IZQ?D[AO]|ESQ|IZQUIERD[AO]|GAUCHE|SINISTR[AO]|ESQUERD[AO]|LINK[SE]"
    r"|V[ÄA]NSTER|VENSTRE|VASEN|LEWA"
)

_LETTER: Final = "R"
_OFFSET_SHARE: Final = 0.02
_HEIGHT_SHARE: Final = 0.04
_SEEN_OFFSET_SHARE: Final = 0.04
_SEEN_HEIGHT_SHARE: Final = 0.08


@dataclass(frozen=True, slots=True)
class MarkerPlace:
    """The uniform marker of a film.

    Attributes:
        side: Side of the film on which the letter R stands: that of the patient's right.
        is_assumed: True where no marker of the film was read, or none was asked for, and the
            viewing convention (patient's right on the film's left) was taken.
        x: Left edge in pixels.
        y: Top edge in pixels.
        height: Height of the letter in pixels.
    """

    side: Literal["left", "right"]
    is_assumed: bool
    x: int
    y: int
    height: int

    @property
    def box(self) -> Box:
        """About where it is drawn, ``(x_min, y_min, x_max, y_max)`` in film pixels."""
        return (self.x, self.y, self.x + self.height, self.y + self.height)


def tell_side(region: TextRegion) -> Literal["right", "left"] | None:
    """Return the side of the patient that a side marker names; None for other text."""
    if region.kind != "side_marker":
        return None
    if _RIGHT.fullmatch(_word(region)):
        return "right"
    return "left" if _LEFT.fullmatch(_word(region)) else None


def place_marker(regions: Sequence[TextRegion], width: int, height: int) -> MarkerPlace:
    """Choose where the uniform marker of a film stands.

    It is the same letter, size and height on every film, in the rows that models do not see (top
    8 % of a film that is at least three quarters as high as wide). Only the side follows the
    film's own markers, so that a mirrored film stays recognisable.

    Args:
        regions: Text of the film, read where possible.
        width: Film width in pixels.
        height: Film height in pixels.

    Returns:
        The place; the majority of the film's markers decides the side, a draw is no evidence.
    """
    votes = 0
    for region in regions:
        side_named = tell_side(region)
        if side_named is not None:
            is_on_left = (region.box[0] + region.box[2]) / 2 < width / 2
            votes += 1 if is_on_left == (side_named == "right") else -1
    short_side = min(width, height)
    offset = round(_OFFSET_SHARE * short_side)
    letter_height = max(round(_HEIGHT_SHARE * short_side), 5)
    side: Literal["left", "right"] = "right" if votes < 0 else "left"
    x = offset if side == "left" else width - offset - letter_height
    return MarkerPlace(side, votes == 0, x, offset, letter_height)


def place_in_view(width: int, height: int) -> MarkerPlace:
    """Place the uniform marker where models see it: in the view's top left corner, on every film.

    Args:
        width: Film width in pixels.
        height: Film height in pixels.

    Returns:
        The place: 4 % of the view's side from its edges, 8 % high, in the view of
        :class:`covid_debug.imaging.geometry.ViewSpec`'s defaults (a smaller ``top_crop`` sees it
        lower). ``is_assumed`` is True: the letter says nothing about the film.
    """
    view = compute_geometry(width, height, ViewSpec())
    offset = round(_SEEN_OFFSET_SHARE * view.side)
    letter_height = max(round(_SEEN_HEIGHT_SHARE * view.side), 5)
    return MarkerPlace("left", True, view.x0 + offset, view.y0 + offset, letter_height)


def draw_marker(pixels: Pixels, place: MarkerPlace) -> Pixels:
    """Return the film with the uniform marker in white on a black rim, legible on any ground."""
    marked = pixels.copy()
    thickness = max(round(place.height / 8), 1)
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, place.height, thickness)
    origin = (place.x, place.y + place.height)
    for stroke, grey in ((3 * thickness, 0), (thickness, np.iinfo(pixels.dtype).max)):
        canvas = np.zeros(pixels.shape, np.uint8)
        cv2.putText(canvas, _LETTER, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, 1, stroke)
        marked[canvas > 0] = grey
    return marked


def _word(region: TextRegion) -> str:
    return (region.content or "").strip().strip(".()[]").upper()
