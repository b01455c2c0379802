"""Native markers, taken off one film's view and laid on another's.

Owns the pixels: the residual of a film's text (the view minus the view of the text-free film),
where it lies, and how it is laid, as it is or shuffled. Everything happens in the view, so that a
marker keeps its place relative to the view's side whatever the films' sizes, and so that a shuffled
marker has the same energy *there*, where the model looks. Which marker is laid where, and what it
does, is decided by :mod:`covid_debug.audit.transfer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.inputs import check_size
from covid_debug.audit.interventions import text_in_view
from covid_debug.imaging.geometry import (
    ViewSpec,
    compute_geometry,
    render_view,
    render_view_mask,
)
from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.masks import iter_groups
from covid_debug.records import FilmRegions

View = NDArray[np.uint8]

_PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


@dataclass(frozen=True, slots=True)
class Marker:
    """All text of one film inside the view, as what it adds to the text-free view.

    Attributes:
        name: What is written there where the regions say so, else its place in thirds of the
            view, e.g. ``"top left"``; the place is that of its strongest piece.
        pieces: Of each connected piece of the mask, the flat indices of its pixels in the view and
            the gray levels that they gain, in [-255, 255].
    """

    name: str
    pieces: tuple[tuple[NDArray[np.int32], NDArray[np.int16]], ...]

    def shuffled(self, seed: int) -> "Marker":
        """Return the marker without its letters: each piece's gains dealt out anew inside it."""
        generator = np.random.default_rng(seed)
        dealt = tuple((places, generator.permutation(gains)) for places, gains in self.pieces)
        return Marker(self.name, dealt)

    def laid_on(self, view: View) -> View:
        """Return a copy of a view ``(S, S)`` with the marker added, cut to 0..255."""
        levels = view.astype(np.int16).ravel()
        for places, gains in self.pieces:
            levels[places] += gains
        return np.clip(levels, 0, 255).astype(np.uint8).reshape(view.shape)


@dataclass(frozen=True, slots=True)
class MarkedFilm:
    """A film taken apart.

    Attributes:
        view: ``(S, S)`` the film as it is.
        text_free: ``(S, S)`` the film with its text filled.
        marker: The difference; laid on ``text_free`` it gives ``view``.
    """

    view: View
    text_free: View
    marker: Marker


def take_apart(
    film: View,
    found: FilmRegions,
    spec: ViewSpec,
    *,
    dilation_px: int,
    method: str,
    radius_px: float,
) -> MarkedFilm:
    """Separate a film's text from the film.

    Args:
        film: ``(H, W)`` uint8.
        found: Its regions; at least one of text must reach into the view. Annotations stay on the
            film.
        spec: How views are made.
        dilation_px: Growth of the text regions in film pixels.
        method: Fill of the text, see :func:`covid_debug.imaging.inpainting.inpaint`.
        radius_px: Reach of the fill in film pixels.

    Returns:
        View, text-free view and marker.

    Raises:
        DataIntegrityError: If the regions are of a film of another size.
    """
    check_size(found.image, film, found)
    height, width = film.shape
    _, inside = text_in_view(found.texts, width, height, spec, dilation_px=dilation_px)
    filled = np.asarray(inpaint(film, inside, method=method, radius_px=radius_px), np.uint8)
    view, text_free = render_view(film, spec), render_view(filled, spec)
    gains = view.astype(np.int16) - text_free
    pieces = []
    for piece in iter_groups(render_view_mask(inside, spec)):
        rows, columns = np.nonzero(piece.mask)
        places = (rows + piece.top) * spec.image_size + columns + piece.left
        pieces.append((places.astype(np.int32), gains.ravel()[places]))
    return MarkedFilm(view, text_free, Marker(_name(found, spec, pieces), tuple(pieces)))


def _name(
    found: FilmRegions,
    spec: ViewSpec,
    pieces: Sequence[tuple[NDArray[np.int32], NDArray[np.int16]]],
) -> str:
    geometry = compute_geometry(found.width, found.height, spec)
    read = set()
    for region in found.texts:
        x0, y0, x1, y1 = region.box
        ((x, y),) = geometry.to_view([((x0 + x1) / 2, (y0 + y1) / 2)])
        if region.content and 0 <= x < spec.image_size and 0 <= y < spec.image_size:
            read.add(region.content.strip())
    if read - {""}:
        return " ".join(sorted(read - {""}))
    places, _ = max(pieces, key=lambda piece: int(np.abs(piece[1].astype(np.int64)).sum()))
    row, column = np.divmod(places, spec.image_size)
    third = spec.image_size / 3
    return _PLACES[int(row.mean() // third)][int(column.mean() // third)]
