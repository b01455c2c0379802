"""Lossless and lossy encoding of films and pictures.

Owns the bytes that leave the program; which film goes where is decided by the callers.
"""

import base64
import io
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.reading import Pixels

_SMALL: Final = (cv2.IMWRITE_PNG_COMPRESSION, 3)
_QUICK: Final = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
)


def write_png(path: Path, pixels: Pixels, *, quick: bool = False) -> None:
    """Write a gray film without loss; equal pixels give equal bytes.

    Args:
        path: File to write; its folder must exist.
        pixels: ``(H, W)`` uint8 or uint16.
        quick: Whether to encode films in a third of the time to about the same size. Not the
            default, because films are named after the hash of the bytes that the other way gives.

    Raises:
        InputContractError: If ``pixels`` has another shape or type.
        DataIntegrityError: If the file cannot be written.
    """
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16) or 0 in pixels.shape:
        raise InputContractError(
            f"write_png: pixels has shape {pixels.shape} and type {pixels.dtype};"
            " expected (H, W) of uint8 or uint16"
        )
    encoded = cv2.imencode(".png", pixels, _QUICK if quick else _SMALL)[1]
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataIntegrityError(
            f"{path}: cannot be written ({error.strerror}); choose a writable folder with space"
        ) from error


def encode_jpeg(pixels: npt.NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encode a picture for display.

    Args:
        pixels: ``(H, W)`` gray or ``(H, W, 3)`` RGB, uint8.
        quality: JPEG quality in [1, 100].

    Returns:
        The file's bytes.

    Raises:
        InputContractError: If ``pixels`` has another shape or type.
    """
    is_rgb = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or is_rgb) or 0 in pixels.shape:
        raise InputContractError(
            f"encode_jpeg: pixels has shape {pixels.shape} and type {pixels.dtype};"
            " expected (H, W) or (H, W, 3) of uint8"
        )
    ordered: npt.NDArray[Any] = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if is_rgb else pixels
    encoded: bytes = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return encoded


def encode_layer(pixels: npt.NDArray[np.uint8], quality: int = 80) -> bytes:
    """Encode a picture with opacity for display, as WebP.

    Args:
        pixels: ``(H, W, 4)`` RGB and opacity, uint8.
        quality: Of the colours, in [1, 100]; opacity is kept without loss.

    Returns:
        The file's bytes.

    Raises:
        InputContractError: If ``pixels`` has another shape or type.
    """
    is_rgba = pixels.ndim == 3 and pixels.shape[2] == 4
    if pixels.dtype != np.uint8 or not is_rgba or 0 in pixels.shape:
        raise InputContractError(
            f"encode_layer: pixels has shape {pixels.shape} and type {pixels.dtype};"
            " expected (H, W, 4) of uint8"
        )
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "WEBP", quality=quality)
    return encoded.getvalue()


def to_data_uri(content: bytes, mime: str) -> str:
    """Return ``content`` as a ``data:`` address that an HTML page can embed."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
