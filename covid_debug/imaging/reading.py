"""Reading of any radiograph a user has into one gray channel.

Owns file formats, colour, bit depth, orientation and DICOM look-up tables. It does not crop,
resize or normalise for a model; that is :mod:`covid_debug.imaging.geometry`.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom.errors import BytesLengthException
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from covid_debug.errors import DataIntegrityError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

MAX_PIXELS = 80_000_000
MAX_FILE_BYTES = 1 << 30
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_SINGLE_PAGE_FORMATS = ("JPEG", "MPO", "BMP")
_EXPECTED = "expected PNG, JPEG, TIFF, BMP, WebP or DICOM"
_REMEDY = "replace the file or take it off the list"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_DEEP_COLOURS = (2, 4, 6)
_ORIENTATION_TAG = 0x0112
# What decoders raise on damaged input; anything else is a fault of ours and must surface.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
    cv2.error,
    BytesLengthException,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, slots=True)
class FilmImage:
    """The gray pixels of a film as stored, before any crop.

    Attributes:
        pixels: ``(H, W)`` uint8 or uint16, larger = brighter on the screen.
        encoding: How the file held them, e.g. ``"jpeg-L"`` or ``"dicom-MONOCHROME1-12"``.
    """

    pixels: Pixels
    encoding: str

    def to_uint8(self) -> npt.NDArray[np.uint8]:
        """Return 8-bit pixels ``(H, W)``.

        Returns:
            8-bit films unchanged; 16-bit films stretched so that their own minimum is 0 and their
            maximum 255. A constant 16-bit film becomes 0.
        """
        if self.pixels.dtype == np.uint8:
            return self.pixels.astype(np.uint8, copy=False)
        return _stretch(self.pixels, 255).astype(np.uint8)


def read_film(path: Path) -> FilmImage:
    """Read a film; its first bytes decide the format, never its extension.

    Colour becomes ITU-R 601 luma, transparency is laid over black, EXIF orientation is applied.
    DICOM goes through its modality and VOI look-up tables, MONOCHROME1 is inverted.

    Args:
        path: The file.

    Returns:
        Pixels as the file stores them, 8 or 16 bit.

    Raises:
        DataIntegrityError: If the file is missing, empty, truncated, not an image, larger than
            80 megapixels, or holds several frames.
    """
    data = _read_bytes(path)
    try:
        return _read_dicom(data) if _is_dicom(data) else _read_picture(data)
    except _RefusedError as error:
        raise DataIntegrityError(f"{path}: {error}") from error
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataIntegrityError(
            f"{path}: cannot be decoded ({reason}); expected a complete image; {_REMEDY}"
        ) from error


class _RefusedError(Exception):
    """A file that is readable and yet not one film; the message lacks only the path."""


def _read_bytes(path: Path) -> bytes:
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_FILE_BYTES:
            raise DataIntegrityError(
                f"{path}: is too large ({n_bytes} bytes); expected at most {MAX_FILE_BYTES};"
                f" {_REMEDY}"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataIntegrityError(
            f"{path}: no such file; expected a film; check the path or the list that names it"
        ) from error
    except OSError as error:
        raise DataIntegrityError(
            f"{path}: cannot be read ({error.strerror}); expected a readable film"
        ) from error
    if not data:
        raise DataIntegrityError(f"{path}: is empty (0 bytes); {_EXPECTED}; {_REMEDY}")
    return data


def _is_dicom(data: bytes) -> bool:
    # Old files lack the preamble and start with a group 0002 or 0008 element.
    return data[128:132] == b"DICM" or data[:4] in {b"\x02\x00\x00\x00", b"\x08\x00\x05\x00"}


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _RefusedError(
            f"is too large ({width} x {height} pixels); expected at most"
            f" {MAX_PIXELS // 1_000_000} megapixels; {_REMEDY}"
        )


def _stretch(values: npt.NDArray[Any], top: int) -> npt.NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape)
    return np.rint((values.astype(np.float64) - low) * (top / (high - low)))


def _read_picture(data: bytes) -> FilmImage:
    is_png = data.startswith(_PNG_MAGIC) and len(data) > 26
    if is_png:
        _check_size(*struct.unpack(">II", data[16:24]))
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise _RefusedError(_describe_stranger(data)) from error
    file_format = (image.format or "").lower()
    _check_size(*image.size)
    if image.format not in _SINGLE_PAGE_FORMATS and getattr(image, "n_frames", 1) > 1:
        raise _RefusedError(f"holds several images ({file_format}); expected one film; {_REMEDY}")
    mode = image.mode
    if is_png and data[24] == 16 and data[25] in _PNG_DEEP_COLOURS:
        image.verify()  # Pillow would cut these to 8 bit, OpenCV would not notice damage
        return FilmImage(_read_deep_png(data), "png-colour-16")
    image.load()
    if image.info.get("exif") and image.getexif().get(_ORIENTATION_TAG, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return FilmImage(_to_gray(image), f"{file_format}-{mode}")


def _describe_stranger(data: bytes) -> str:
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = "is a web page or XML"
    elif head.startswith(b"version https://git-lfs"):
        what = "is a Git LFS pointer, the film itself was not fetched"
    else:
        what = f"is not an image (starts with {data[:12]!r})"
    return f"{what}; {_EXPECTED}; {_REMEDY}"


def _to_gray(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        return np.asarray(image, np.uint16)
    if image.mode in {"I", "F"}:
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise _RefusedError("has 32-bit pixels; expected 8 or 16 bits; convert the file")
        return values.astype(np.uint16)
    if "transparency" in image.info or image.mode in {"LA", "RGBA", "PA", "La", "RGBa"}:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    if image.mode not in {"L", "RGB", "RGBA", "P", "1"}:
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _read_deep_png(data: bytes) -> npt.NDArray[np.uint16]:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    values = np.asarray(decoded, np.float64)
    luma = values[..., :3] @ np.array([0.114, 0.587, 0.299])  # OpenCV's order is blue, green, red
    if values.shape[-1] == 4:
        luma *= values[..., 3] / np.iinfo(np.uint16).max
    deep: npt.NDArray[np.uint16] = np.rint(luma).astype(np.uint16)
    return deep


def _read_dicom(data: bytes) -> FilmImage:
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if "PixelData" not in dataset:
        raise _RefusedError(f"is DICOM without pixels; expected a radiograph; {_REMEDY}")
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if n_frames > 1:
        raise _RefusedError(f"has {n_frames} frames; expected a single radiograph; {_REMEDY}")
    _check_size(int(dataset.Columns), int(dataset.Rows))
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    encoding = f"dicom-{photometric}-{int(dataset.BitsStored)}"
    stored = dataset.pixel_array
    if stored.ndim == 3:
        return FilmImage(np.asarray(Image.fromarray(stored).convert("L")), encoding)
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    is_plain = values.dtype == np.uint8 and np.array_equal(values, stored)
    if photometric == "MONOCHROME1":
        low, high = (0, 255) if is_plain else (values.min(), values.max())
        values = (high - values.astype(np.float64)) + low
    if is_plain:
        return FilmImage(values.astype(np.uint8), encoding)
    return FilmImage(_stretch(values, np.iinfo(np.uint16).max).astype(np.uint16), encoding)
