"""Reading of any radiograph a user has into one gray channel.

Owns file formats, colour, bit depth, orientation and DICOM look-up tables. It does not crop,
resize or normalise for a model; that is :mod:`covid_debug.imaging.geometry`.
"""

import hashlib
import io
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGTransferSyntaxes

from covid_debug.errors import (
    DataIntegrityError,
    ExplanationError,
    FilmChangedError,
    InputContractError,
)
from covid_debug.imaging.damage import REMEDY, RefusedError, damage_named
from covid_debug.imaging.dicom_files import parse_dicom, starts_dicom
from covid_debug.shown import to_printable

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Window = tuple[int, int]

MAX_PIXELS = 80_000_000
MAX_DECODED_BYTES = 4 * MAX_PIXELS
MAX_FILE_BYTES = 1 << 30
MAX_SCANS = 100  # of a JPEG file, each of which goes through the whole picture again
FILM_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".bmp", ".tif", ".tiff", ".webp"}
)
"""Of files that are looked at in a folder of films; a DICOM file may have any."""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_SINGLE_PAGE_FORMATS = ("JPEG", "MPO", "BMP")
_EXPECTED = "expected PNG, JPEG, TIFF, BMP, WebP or DICOM"
DICOM_EXTRA = "pip install 'covid_debug[dicom]'"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_DEEP_COLOURS = {2: 3, 4: 4, 6: 4}  # colour type -> channels that OpenCV decodes
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_N_VALUES_16 = 1 << 16
_STRIP_ROWS = 256  # rows of wide numbers in memory at once
_ORIENTATION_TAG = 0x0112
FILM_ERRORS = (DataIntegrityError, InputContractError, cv2.error, MemoryError)
"""What is the fault of one film, so that the others go on.

A film that was exchanged (:class:`FilmChangedError`) is a fault of its data set and surfaces.
"""
FILM_OR_MODEL_ERRORS = (*FILM_ERRORS, ExplanationError, OSError, ValueError, RuntimeError)
"""The same where a network looks at the film."""


@dataclass(frozen=True, slots=True)
class FilmFile:
    """A film's file and what was recorded of it when its data set was made.

    Attributes:
        path: The file.
        sha256: Hash that its bytes must have, 64 hex digits; None checks nothing.
        window: Gray values of the original film that are shown black and white, the same for every
            copy of it; None takes the file's own extremes.
    """

    path: Path
    sha256: str | None = None
    window: Window | None = None


def identify_film(file: Path | FilmFile) -> tuple[object, ...]:
    """Return what decides a film: bytes and window, on any machine, where they are recorded.

    Of a film without a record it is path, size and time; of one that is not there, its path.
    """
    film = file if isinstance(file, FilmFile) else FilmFile(file)
    try:
        facts = film.path.stat()
    except OSError:
        return str(film.path), film.sha256
    if film.sha256 is not None:
        return film.sha256, film.window
    return str(film.path), facts.st_size, facts.st_mtime_ns, film.window


@dataclass(frozen=True, slots=True)
class FilmImage:
    """The gray pixels of a film as stored, before any crop.

    Attributes:
        pixels: ``(H, W)`` uint8 or uint16, larger = brighter on the screen.
        encoding: How the file held them, e.g. ``"jpeg-L"`` or ``"dicom-MONOCHROME1-12"``.
        window: Gray values that are shown black and white; an 8-bit film is shown as it is.
        sha256: Hash of the file's bytes, 64 hex digits.
    """

    pixels: Pixels
    encoding: str
    window: Window
    sha256: str

    def to_uint8(self) -> npt.NDArray[np.uint8]:
        """Return 8-bit pixels ``(H, W)``.

        Returns:
            8-bit films unchanged; 16-bit films stretched so that the window becomes 0 to 255, what
            lies outside it cut off. An empty window shows black.
        """
        if self.pixels.dtype == np.uint8:
            return self.pixels.astype(np.uint8, copy=False)
        levels = _stretch(np.arange(_N_VALUES_16), self.window, 255).astype(np.uint8)
        shown: npt.NDArray[np.uint8] = _look_up(self.pixels, levels)
        return shown


def read_film(file: str | Path | FilmFile) -> FilmImage:
    """Read a film; its first bytes decide the format, never its extension.

    Colour becomes ITU-R 601 luma, transparency is laid over black, EXIF orientation is applied.
    DICOM goes through its modality and VOI look-up tables, MONOCHROME1 is inverted.

    Args:
        file: The file. A film of a data set is read by
            :meth:`covid_debug.data.filmset.FilmSet.file_of`, which knows its hash and its window.

    Returns:
        Pixels as the file stores them, 8 or 16 bit.

    Raises:
        DataIntegrityError: If the file is missing, empty, truncated, not an image, larger than
            80 megapixels or 320 MB when decoded, or holds several frames.
        FilmChangedError: If its bytes are not those that were recorded.
    """
    if not isinstance(file, FilmFile):
        file = FilmFile(Path(file))
    path = file.path
    data = _read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if file.sha256 not in {None, sha256}:
        raise FilmChangedError(
            f"{path}: film changed since ingest (its bytes are not those that the data set"
            " recorded); restore the file, or ingest again and make anew what was made from it"
        )
    pixels, encoding = _decode(data, str(path))
    return FilmImage(pixels, encoding, file.window or _find_window(pixels), sha256)


def decode_film(data: bytes, name: str) -> FilmImage:
    """Decode the bytes of a film's file, see :func:`read_film`.

    Args:
        data: The whole file.
        name: What the film is called in an error.

    Returns:
        Pixels as the file stores them, 8 or 16 bit; shown from its darkest to its brightest.

    Raises:
        DataIntegrityError: If the bytes are not one complete film.
    """
    if not data:
        raise DataIntegrityError(f"{name}: is empty (0 bytes); {_EXPECTED}; {REMEDY}")
    pixels, encoding = _decode(data, name)
    sha256 = hashlib.sha256(data).hexdigest()
    return FilmImage(pixels, encoding, _find_window(pixels), sha256)


def _find_window(pixels: Pixels) -> Window:
    return (0, 255) if pixels.dtype == np.uint8 else (int(pixels.min()), int(pixels.max()))


def _read_bytes(path: Path) -> bytes:
    name = to_printable(path)
    if name != str(path):
        raise DataIntegrityError(
            f"{name}: has a name that holds control characters or is not UTF-8; rename the file"
        )
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would never end
            raise DataIntegrityError(
                f"{path}: cannot be read (is not a regular file); expected a readable film"
            )
        if facts.st_size > MAX_FILE_BYTES:
            raise DataIntegrityError(
                f"{path}: is too large ({facts.st_size} bytes); expected at most {MAX_FILE_BYTES};"
                f" {REMEDY}"
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
        raise DataIntegrityError(f"{path}: is empty (0 bytes); {_EXPECTED}; {REMEDY}")
    return data


def _decode(data: bytes, name: str) -> tuple[Pixels, str]:
    with damage_named(name):
        return _read_dicom(data) if starts_dicom(data) else _read_picture(data)


def _check_size(width: int, height: int, n_bytes: int = 1) -> None:
    if width * height > MAX_PIXELS:
        raise RefusedError(
            f"is too large ({width} x {height} pixels); expected at most"
            f" {MAX_PIXELS // 1_000_000} megapixels; {REMEDY}"
        )
    if width * height * n_bytes > MAX_DECODED_BYTES:
        raise RefusedError(
            f"is too large ({width} x {height} pixels of {n_bytes} bytes); expected at most"
            f" {MAX_DECODED_BYTES // 1_000_000} MB when decoded; convert it to gray"
        )


def _check_scans(data: bytes) -> None:
    n_scans = data.count(b"\xff\xda")  # within a scan 00 follows every ff
    if n_scans > MAX_SCANS:
        raise RefusedError(
            f"is a JPEG picture in {n_scans} scans; expected at most {MAX_SCANS}; {REMEDY}"
        )


def _iter_strips(n_rows: int) -> Iterator[slice]:
    for top in range(0, n_rows, _STRIP_ROWS):
        yield slice(top, min(top + _STRIP_ROWS, n_rows))


def _stretch(values: npt.NDArray[Any], window: tuple[float, float], top: int) -> npt.NDArray[Any]:
    low, high = map(float, window)
    if high <= low:
        return np.zeros(values.shape)
    return np.rint((values.clip(low, high).astype(np.float64) - low) * (top / (high - low)))


def _look_up(pixels: npt.NDArray[Any], table: npt.NDArray[Any], first: int = 0) -> npt.NDArray[Any]:
    """Return ``table[pixels - first]`` without wide copies of the whole film."""
    found = np.empty(pixels.shape, table.dtype)
    for rows in _iter_strips(len(pixels)):
        found[rows] = table[pixels[rows].astype(np.intp) - first]
    return found


def _read_picture(data: bytes) -> tuple[Pixels, str]:
    is_png = data.startswith(_PNG_MAGIC) and len(data) > 26
    is_deep = is_png and data[24] == 16 and data[25] in _PNG_DEEP_COLOURS
    if is_png:
        n_bytes = 2 * _PNG_DEEP_COLOURS[data[25]] if is_deep else 1
        width, height = struct.unpack(">II", data[16:24])
        _check_size(width, height, n_bytes)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise RefusedError(_describe_stranger(data)) from error
    file_format = (image.format or "").lower()
    _check_size(*image.size, _MODE_BYTES.get(image.mode, 4))
    if image.format not in _SINGLE_PAGE_FORMATS and getattr(image, "n_frames", 1) > 1:
        raise RefusedError(f"holds several images ({file_format}); expected one film; {REMEDY}")
    if image.format in {"JPEG", "MPO"}:
        _check_scans(data)
    mode = image.mode
    if is_deep:
        image.verify()  # Pillow would cut these to 8 bit, OpenCV would not notice damage
        return _read_deep_png(data), "png-colour-16"
    image.load()
    if image.info.get("exif") and image.getexif().get(_ORIENTATION_TAG, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return _to_gray(image), f"{file_format}-{mode}"


def _describe_stranger(data: bytes) -> str:
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = "is a web page or XML"
    elif head.startswith(b"version https://git-lfs"):
        what = "is a Git LFS pointer, the film itself was not fetched"
    else:
        what = f"is not an image (starts with {data[:12]!r})"
    return f"{what}; {_EXPECTED}; {REMEDY}"


def _to_gray(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        return np.asarray(image, np.uint16)
    if image.mode in {"I", "F"}:
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise RefusedError("has 32-bit pixels; expected 8 or 16 bits; convert the file")
        return values.astype(np.uint16)
    gray = np.empty((image.height, image.width), np.uint8)
    for rows in _iter_strips(image.height):
        gray[rows] = _strip_to_gray(image.crop((0, rows.start, image.width, rows.stop)))
    return gray


def _strip_to_gray(image: Image.Image) -> npt.NDArray[np.uint8]:
    if "transparency" in image.info or image.mode in {"LA", "RGBA", "PA", "La", "RGBa"}:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    if image.mode not in {"L", "RGB", "RGBA", "P", "1"}:
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _read_deep_png(data: bytes) -> npt.NDArray[np.uint16]:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    deep = np.empty(decoded.shape[:2], np.uint16)
    for rows in _iter_strips(len(deep)):
        values = decoded[rows].astype(np.float64)
        luma = values[..., :3] @ np.array([0.114, 0.587, 0.299])  # OpenCV: blue, green, red
        if values.shape[-1] == 4:
            luma *= values[..., 3] / np.iinfo(np.uint16).max
        deep[rows] = np.rint(luma)
    return deep


def _read_dicom(data: bytes) -> tuple[Pixels, str]:
    dataset = parse_dicom(data)
    if "PixelData" not in dataset:
        raise RefusedError(f"is DICOM without pixels; expected a radiograph; {REMEDY}")
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if n_frames > 1:
        raise RefusedError(f"has {n_frames} frames; expected a single radiograph; {REMEDY}")
    n_bytes = int(dataset.get("SamplesPerPixel") or 1) * max(int(dataset.BitsAllocated) // 8, 1)
    _check_size(int(dataset.Columns), int(dataset.Rows), n_bytes)
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        raise RefusedError("has a colour palette; expected gray, RGB or YBR; convert it")
    _check_coding(dataset)
    encoding = f"dicom-{photometric}-{int(dataset.BitsStored)}"
    stored = dataset.pixel_array
    if stored.ndim == 3:
        return np.asarray(Image.fromarray(stored).convert("L")), encoding
    return _apply_tables(stored, dataset, is_negative=photometric == "MONOCHROME1"), encoding


def _check_coding(dataset: pydicom.Dataset) -> None:
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise RefusedError(f"is coded as {syntax.name}, which needs {DICOM_EXTRA}")
    if syntax in JPEGTransferSyntaxes:
        _check_scans(dataset.PixelData)


def _apply_tables(
    stored: npt.NDArray[Any], dataset: pydicom.Dataset, *, is_negative: bool
) -> Pixels:
    # What the tables make of a gray value depends on nothing else: they are applied to each value
    # once, not to each pixel in 64 bits.
    first, last = int(stored.min()), int(stored.max())
    if last - first >= _N_VALUES_16:
        raise RefusedError("has 32-bit pixels; expected 8 or 16 bits; convert the file")
    is_used = np.zeros(last - first + 1, np.bool_)
    for rows in _iter_strips(len(stored)):
        is_used[stored[rows].astype(np.intp) - first] = True
    grays = np.arange(first, last + 1).astype(stored.dtype)
    with np.errstate(all="ignore"):
        values = apply_voi_lut(apply_modality_lut(grays, dataset), dataset)
    if not np.isfinite(values).all():
        raise RefusedError("has tables or windows beyond all numbers; mend its header")
    is_plain = values.dtype == np.uint8 and np.array_equal(values[is_used], grays[is_used])
    if is_negative:
        low, high = (0, 255) if is_plain else (values[is_used].min(), values[is_used].max())
        values = (high - values.astype(np.float64)) + low
    if not is_plain:
        window = values[is_used].min(), values[is_used].max()
        values = _stretch(values, window, np.iinfo(np.uint16).max)
    return _look_up(stored, values.astype(np.uint8 if is_plain else np.uint16), first)
