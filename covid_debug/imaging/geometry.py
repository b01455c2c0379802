"""The one way from a film to what a model sees, and back.

COVID-Net's preprocessing [wang2020covidnet]: drop the top 8 % of rows, take the centre square,
resize. Intensities are not touched here.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from covid_debug.errors import InputContractError
from covid_debug.ranges import check_range

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """How views are made.

    Attributes:
        image_size: Side of the square view in pixels, 8 to 4096: about what a chest radiograph
            has on a side, and 16 MB for every decoded view.
        top_crop: Share of the film's rows dropped at the top, in [0, 0.5].
    """

    image_size: int = 224
    top_crop: float = 0.08

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range(self, "[8, 4096]", "image_size")
        check_range(self, "[0, 0.5]", "top_crop")


@dataclass(frozen=True, slots=True)
class ViewGeometry:
    """Where a view lies on its film.

    Points are ``(x, y)``; pixel ``i`` covers ``[i, i + 1)`` on both sides.

    Attributes:
        x0: Left edge of the square on the film, in pixels.
        y0: Top edge of the square on the film, in pixels.
        side: Side of the square on the film, in pixels.
        image_size: Side of the view, in pixels.
    """

    x0: int
    y0: int
    side: int
    image_size: int

    def to_view(self, points: npt.ArrayLike) -> Points:
        """Return film points ``(n, 2)`` as view points; those outside the square stay outside."""
        scale = self.image_size / self.side
        return (np.asarray(points, np.float64) - (self.x0, self.y0)) * scale

    def to_film(self, points: npt.ArrayLike) -> Points:
        """Return view points ``(n, 2)`` as film points; the inverse of :meth:`to_view`."""
        scale = self.side / self.image_size
        return np.asarray(points, np.float64) * scale + (self.x0, self.y0)


def compute_geometry(width: int, height: int, spec: ViewSpec) -> ViewGeometry:
    """Place the view on a film of the given size.

    Args:
        width: Film width in pixels, at least 1.
        height: Film height in pixels, at least 1.
        spec: How views are made.

    Returns:
        The square below the dropped rows, centred, with integer corners.

    Raises:
        InputContractError: If the film has no pixels.
    """
    if width < 1 or height < 1:
        raise InputContractError(
            f"compute_geometry: film is {width} x {height} pixels; expected at least 1 x 1"
        )
    n_dropped = int(height * spec.top_crop)
    n_rows = height - n_dropped
    side = min(width, n_rows)
    return ViewGeometry(
        (width - side) // 2, n_dropped + (n_rows - side) // 2, side, spec.image_size
    )


def render_view(film: npt.NDArray[np.uint8], spec: ViewSpec) -> npt.NDArray[np.uint8]:
    """Make the view of a film.

    Args:
        film: ``(H, W)`` uint8.
        spec: How views are made.

    Returns:
        ``(S, S)`` uint8; area average when shrinking, bilinear when enlarging.

    Raises:
        InputContractError: If ``film`` is not a gray uint8 image.
    """
    if film.ndim != 2 or film.dtype != np.uint8:
        raise InputContractError(
            f"render_view: film has shape {film.shape} and type {film.dtype};"
            " expected (H, W) of uint8"
        )
    return _crop_and_resize(film, compute_geometry(film.shape[1], film.shape[0], spec))


def render_view_mask(film_mask: npt.NDArray[np.bool_], spec: ViewSpec) -> npt.NDArray[np.bool_]:
    """Mark every view pixel that at least one marked film pixel contributes to.

    Args:
        film_mask: ``(H, W)`` bool on the film.
        spec: How views are made.

    Returns:
        ``(S, S)`` bool.
    """
    geometry = compute_geometry(film_mask.shape[1], film_mask.shape[0], spec)
    weights = _crop_and_resize(film_mask.astype(np.float32), geometry)
    return np.asarray(weights > 1e-6, np.bool_)


def _crop_and_resize(film: npt.NDArray[np.generic], geometry: ViewGeometry) -> npt.NDArray[Any]:
    x0, y0, side = geometry.x0, geometry.y0, geometry.side
    square = np.ascontiguousarray(film[y0 : y0 + side, x0 : x0 + side])
    method = cv2.INTER_AREA if side > geometry.image_size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (geometry.image_size,) * 2, interpolation=method))
