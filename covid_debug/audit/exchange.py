"""Pixel operations that make one film like another in one respect.

Owns no choice of films: what is alike afterwards is said by :mod:`covid_debug.audit.attributes`.
"""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, idctn

from covid_debug.imaging.geometry import ViewGeometry
from covid_debug.imaging.masks import Mask

View = NDArray[np.uint8]
Spectrum = NDArray[np.float64]

_SEAM_SHARE = 1 / 112  # of the view's side, sigma
_N_BANDS = 16
_COARSE_SHARE = 1 / 8  # of the view's side: a larger structure is no matter of sharpness
_MAX_GAIN = 8.0
_POWER_FLOOR = 1e-2  # squared gray levels: below rounding


def blend(view: View, donor: View, mask: Mask) -> View:
    """Take the masked pixels from the donor, with a soft seam.

    Args:
        view: ``(S, S)`` uint8.
        donor: ``(S, S)`` uint8.
        mask: ``(S, S)``, True where the donor is shown; the seam reaches about two pixels of 224
            to both sides.

    Returns:
        ``(S, S)`` uint8; the view where the mask is empty.
    """
    if not mask.any():
        return view
    weight = cv2.GaussianBlur(
        mask.astype(np.float32), (0, 0), len(view) * _SEAM_SHARE, borderType=cv2.BORDER_REPLICATE
    )
    mixed = weight * donor + (1 - weight) * view
    shown: View = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return shown


def match_histogram(view: View, donor: View) -> View:
    """Give a view the donor's share of each gray value.

    Args:
        view: ``(S, S)`` uint8.
        donor: ``(S, S)`` uint8.

    Returns:
        ``(S, S)`` uint8: each gray value becomes that of the donor at the same quantile, taken in
        the middle of its share, so that a view given its own histogram stays as it is.
    """
    own, other = (np.bincount(image.ravel(), minlength=256) for image in (view, donor))
    middle = (np.cumsum(own) - own / 2) / own.sum()
    reached = np.cumsum(other) / other.sum()
    table = np.searchsorted(reached, middle, side="left").clip(0, 255).astype(np.uint8)
    matched: View = table[view]
    return matched


def measure_spectrum(view: View) -> Spectrum:
    """Measure the power of fine structures in rings of spatial frequency.

    Args:
        view: ``(S, S)`` uint8.

    Returns:
        ``(16,)`` natural logarithm of the mean squared cosine coefficient of each ring, from
        structures of an eighth of the side down to single pixels; the rings are evenly wide in the
        logarithm of the frequency.
    """
    _, ring = _rings(len(view))
    return _ring_power(dctn(view.astype(np.float64), norm="ortho"), ring)


def match_spectrum(view: View, donor: View) -> View:
    """Give a view the donor's power at each fine spatial frequency, keeping phase and coarse part.

    Args:
        view: ``(S, S)`` uint8.
        donor: ``(S, S)`` uint8.

    Returns:
        ``(S, S)`` uint8; no frequency is amplified or damped more than eightfold.
    """
    place, ring = _rings(len(view))
    coefficients = dctn(view.astype(np.float64), norm="ortho")
    own = _ring_power(coefficients, ring)
    other = _ring_power(dctn(donor.astype(np.float64), norm="ortho"), ring)
    limit = np.log(_MAX_GAIN)
    gain = (0.5 * (other - own)).clip(-limit, limit)
    factors = np.exp(np.interp(place, np.arange(_N_BANDS) + 0.5, gain))
    factors[ring < 0] = 1.0
    matched = idctn(coefficients * factors, norm="ortho")
    return np.rint(matched).clip(0, 255).astype(np.uint8)


def _rings(side: int) -> tuple[Spectrum, NDArray[np.int64]]:
    """Return where each cosine coefficient lies, in rings, and its ring; -1 for the coarse ones."""
    index = np.arange(side, dtype=np.float64)
    radius = np.hypot(index[:, None], index[None, :])
    radius[0, 0] = 1e-9
    lowest = min(2 / _COARSE_SHARE, side / 4)  # half periods on the side
    place = _N_BANDS * np.log(radius / lowest) / np.log(np.hypot(side, side) / lowest)
    return place, np.floor(place).clip(-1, _N_BANDS - 1).astype(np.int64)


def _ring_power(coefficients: Spectrum, ring: NDArray[np.int64]) -> Spectrum:
    inside = ring >= 0
    which = ring[inside]
    count = np.bincount(which, minlength=_N_BANDS)
    total = np.bincount(which, weights=coefficients[inside] ** 2, minlength=_N_BANDS)
    return np.log(total / np.maximum(count, 1) + _POWER_FLOOR)


def recompress(film: View, quantization: tuple[int, ...]) -> View:
    """Compress a film as JPEG with a given table, and decode it.

    Args:
        film: ``(H, W)`` uint8.
        quantization: 64 entries, in the order in which Pillow gives them.

    Returns:
        ``(H, W)`` uint8.
    """
    stream = io.BytesIO()
    Image.fromarray(film).save(stream, format="JPEG", qtables=[list(quantization)])
    with Image.open(stream) as image:
        return np.asarray(image, np.uint8)


def limit_levels(film: View, n_levels: int) -> View:
    """Leave at most so many gray values.

    Args:
        film: ``(H, W)`` uint8.
        n_levels: Wanted gray values, at least 1.

    Returns:
        ``(H, W)`` uint8: the film's own gray values in groups of equal number, each shown as the
        middle one; the film itself where it has no more.
    """
    values = np.unique(film)
    if len(values) <= n_levels:
        return film
    table = np.zeros(256, np.uint8)
    for group in np.array_split(values, n_levels):
        table[group] = group[len(group) // 2]
    limited: View = table[film]
    return limited


def resample(film: View, geometry: ViewGeometry, side_px: int) -> View:
    """Make the view of a film as if its square had another number of pixels.

    Args:
        film: ``(H, W)`` uint8.
        geometry: Where the view lies on the film.
        side_px: Side that the square is resampled to, in pixels.

    Returns:
        ``(S, S)`` uint8; area average when shrinking, bilinear when enlarging, as views are made.
    """
    x0, y0, side = geometry.x0, geometry.y0, geometry.side
    square = np.ascontiguousarray(film[y0 : y0 + side, x0 : x0 + side])
    return _resize(_resize(square, side_px), geometry.image_size)


def _resize(square: View, side: int) -> View:
    method = cv2.INTER_AREA if len(square) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=method), np.uint8)
