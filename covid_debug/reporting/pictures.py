"""The pictures of a card: film, evidence maps and cleaned film in one frame, that of the film.

Encodes what the page lays over each other; decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.geometry import ViewSpec, compute_geometry, render_view
from covid_debug.imaging.overlays import colour_saliency, overlay_saliency
from covid_debug.imaging.writing import encode_jpeg, encode_layer, to_data_uri
from covid_debug.records import TextRegion

FILM_PX = 768
THUMBNAIL_PX = 160
OVERLAY_PX = 240
_JPEG_QUALITY = 75  # of WebP, as many bytes show less of the lungs and take 20 times as long
_PATCH_MARGIN_PX = 2  # resizing spreads a filled place by less
_MAX_PATCHES = 24
_MARGIN_PX = 4.0
_CUT_OUT_PX = (180, 48)

Gray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that lies over the film; all numbers are shares of the film's width or height.

    Attributes:
        uri: ``data:`` address.
        left: Left edge.
        top: Top edge.
        width: Its width.
        height: Its height.
    """

    uri: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """One frame for everything that is shown of a film; coordinates are the film's own pixels.

    Attributes:
        uri: ``data:`` address of the film, at most ``FILM_PX`` long; empty without one.
        missing: Why there is no film.
        width: Of the film.
        height: Of the film.
        view: ``x, y, side`` of what the model sees.
        outlines: SVG ``points`` of the text regions.
        numbers: Where the outlines' numbers stand, ``x, y``.
        patches: Where the cleaned film differs from the film.
        no_patches: Why none is shown.
    """

    uri: str = ""
    missing: str = ""
    width: int = 1
    height: int = 1
    view: tuple[int, int, int] = (0, 0, 1)
    outlines: tuple[str, ...] = ()
    numbers: tuple[tuple[float, float], ...] = ()
    patches: tuple[Layer, ...] = ()
    no_patches: str = ""


def draw_frame(
    film: Gray | str,
    cleaned: Gray | str,
    texts: Sequence[TextRegion],
    view: ViewSpec,
) -> FilmFrame:
    """Draw film and cleaned film over each other.

    Args:
        film: ``(H, W)``, or why it cannot be shown.
        cleaned: The same film cleaned, or why it cannot be shown.
        texts: Regions on the film.
        view: What the model sees of it.

    Returns:
        The frame; what cannot be shown says why.
    """
    if isinstance(film, str):
        return FilmFrame(missing=film)
    height, width = film.shape
    geometry = compute_geometry(width, height, view)
    square = (geometry.x0, geometry.y0, geometry.side)
    small = _shrink(film)
    patches: tuple[Layer, ...] = ()
    no_patches = ""
    if isinstance(cleaned, str):
        no_patches = cleaned
    elif cleaned.shape != film.shape:
        no_patches = f"the cleaned film has {cleaned.shape[1]} x {cleaned.shape[0]} pixels"
    else:
        patches = find_patches(small, _shrink(cleaned))
        no_patches = "" if patches else "cleaning changed nothing here"
    return FilmFrame(
        _to_jpeg(small),
        "",
        width,
        height,
        square,
        tuple(" ".join(f"{x:.1f},{y:.1f}" for x, y in text.polygon) for text in texts),
        tuple(text.box[:2] for text in texts),
        patches,
        no_patches,
    )


def lay_map(film: Gray, saliency: NDArray[np.floating], view: ViewSpec) -> Layer:
    """Colour a map and say where on the film the model's view lies.

    Args:
        film: ``(H, W)``.
        saliency: ``(S, S)`` on the model's view.
        view: What the model sees of the film.

    Returns:
        The map as a layer over the film.
    """
    height, width = film.shape
    place = compute_geometry(width, height, view)
    picture = to_data_uri(encode_layer(colour_saliency(saliency)), "image/webp")
    side = place.side
    return Layer(picture, place.x0 / width, place.y0 / height, side / width, side / height)


def draw_overlay(film: Gray, saliency: NDArray[np.floating], view: ViewSpec) -> str:
    """Return the film as the model sees it under a map ``(S, S)``, ``OVERLAY_PX`` square."""
    picture = overlay_saliency(render_view(film, view), saliency)
    size = (OVERLAY_PX, OVERLAY_PX)
    method = cv2.INTER_AREA if view.image_size > OVERLAY_PX else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)
    return _to_jpeg(small)


def find_patches(film: Gray, cleaned: Gray) -> tuple[Layer, ...]:
    """Cut out where a cleaned film differs, so that the rest of it need not be stored twice.

    Args:
        film: ``(H, W)``.
        cleaned: ``(H, W)``.

    Returns:
        Rectangles that hold every pixel that differs; one for all where there are many.
    """
    changed = (film != cleaned).astype(np.uint8)
    if not changed.any():
        return ()
    around = np.ones((2 * _PATCH_MARGIN_PX + 1,) * 2, np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(changed, around))
    boxes = [tuple(int(value) for value in row[:4]) for row in stats[1:]]
    if len(boxes) > _MAX_PATCHES:
        boxes = [cv2.boundingRect(changed)]
    height, width = film.shape
    return tuple(
        Layer(
            _to_jpeg(np.ascontiguousarray(cleaned[y : y + h, x : x + w])),
            x / width,
            y / height,
            w / width,
            h / height,
        )
        for x, y, w, h in boxes
    )


def draw_thumbnail(film: Gray | str, view: ViewSpec) -> str:
    """Return the film as the model sees it, ``THUMBNAIL_PX`` square; empty without a film."""
    if isinstance(film, str):
        return ""
    return _to_jpeg(render_view(film, replace(view, image_size=THUMBNAIL_PX)))


def cut_out(film: Gray | str, text: TextRegion) -> str:
    """Return a region of the film with a margin; empty without a film."""
    if isinstance(film, str):
        return ""
    x_min, y_min, x_max, y_max = text.box
    margin = max(0.3 * (y_max - y_min), _MARGIN_PX)
    rows = slice(max(int(y_min - margin), 0), int(np.ceil(y_max + margin)))
    columns = slice(max(int(x_min - margin), 0), int(np.ceil(x_max + margin)))
    piece = film[rows, columns]
    if not piece.size:
        return ""
    scale = min(_CUT_OUT_PX[1] / piece.shape[0], _CUT_OUT_PX[0] / piece.shape[1])
    return _to_jpeg(_resize(piece, scale))


def _shrink(film: Gray) -> Gray:
    scale = FILM_PX / max(film.shape)
    return _resize(film, scale) if scale < 1 else film


def _resize(film: Gray, scale: float) -> Gray:
    size = (max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(film, size, interpolation=method), np.uint8)


def _to_jpeg(pixels: Gray) -> str:
    return to_data_uri(encode_jpeg(pixels, _JPEG_QUALITY), "image/jpeg")
