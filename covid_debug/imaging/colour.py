"""Where a film shows colour, as a gray picture of its own.

Coloured letters may have the gray of the film behind them, so that the gray film hides them. Owns
what counts as colour; searching the picture belongs to :mod:`covid_debug.text`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageOps

from covid_debug.imaging.damage import damage_named
from covid_debug.imaging.dicom_files import is_dicom, parse_dicom

Gray = npt.NDArray[np.uint8]

INK: Final = 48
"""Strength from which a pixel counts as coloured ink."""
_MIN_CHROMA: Final = 20  # distance from gray below which nothing is looked at: that of JPEG noise
_MIN_PIXELS: Final = 20
_GRAY_MODES: Final = frozenset({"1", "L", "LA", "I", "F", "La"})


def read_tint(path: Path) -> Gray | None:
    """Show the colour of a film that can be read.

    Args:
        path: A file that :func:`covid_debug.imaging.reading.read_film` reads.

    Returns:
        As :func:`compute_tint`; None without decoding a file that stores one channel.

    Raises:
        DataIntegrityError: If its colours cannot be read.
    """
    with damage_named(str(path)):
        return _read_tint(path)


def _read_tint(path: Path) -> Gray | None:
    if is_dicom(path):
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        if int(dataset.get("SamplesPerPixel") or 1) != 3:
            return None
        pixels = parse_dicom(path.read_bytes()).pixel_array
        return compute_tint(pixels) if pixels.dtype == np.uint8 and pixels.ndim == 3 else None
    with Image.open(path) as image:
        if image.mode in _GRAY_MODES or image.mode.startswith("I;16"):
            return None
        image.load()
        return compute_tint(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def compute_tint(rgb: npt.NDArray[np.uint8]) -> Gray | None:
    """Show how far the colour of each pixel is from that of the film at its brightness.

    What a film's own tone is (blue base, sepia scan) is a quadratic of the brightness, fitted to
    the film; it counts as no colour.

    Args:
        rgb: ``(H, W, 3)``.

    Returns:
        ``(H, W)``, 0 where there is no colour of its own, 255 for pure ones; None for a film of
        which fewer than 20 pixels have some.
    """
    luma, *chroma = np.moveaxis(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.uint8), 2, 0)
    if max(int(np.abs(plane.astype(np.int16) - 128).max()) for plane in chroma) < _MIN_CHROMA:
        return None
    strength = _measure(luma, chroma, np.ones(luma.shape, np.bool_))
    # Again without what stands out, which bends the tone towards itself.
    strength = _measure(luma, chroma, strength < INK)
    tint: Gray = np.clip(strength, 0, 255).astype(np.uint8)
    return tint if np.count_nonzero(tint >= INK) >= _MIN_PIXELS else None


def _measure(
    luma: Gray, chroma: Sequence[Gray], is_film: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return twice the distance of each pixel from the tone of a part of the film."""
    values = luma[is_film]
    counts = np.bincount(values, minlength=256)
    grays = np.flatnonzero(counts)
    squares = np.zeros(luma.shape, np.float32)
    for plane in chroma:
        sums = np.bincount(values, plane[is_film], minlength=256)
        means = sums[grays] / counts[grays]
        degree = min(2, len(grays) - 1)
        tone = np.polynomial.Polynomial.fit(grays, means, degree, w=np.sqrt(counts[grays]))
        squares += (plane - tone(np.arange(256)).astype(np.float32)[luma]) ** 2
    return np.asarray(2 * np.sqrt(squares), np.float32)
