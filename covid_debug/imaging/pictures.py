"""PNG, JPEG, TIFF, BMP and WebP films with other pixels, and all else as it was.

Owns what a picture's file holds beside its pixels: colour profile, resolution, orientation, texts.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, JpegImagePlugin

from covid_debug.imaging.damage import damage_named
from covid_debug.imaging.stored import Derivation, Planes

JpegOutput = Literal["jpeg", "png"]

_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS: Final = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> channels
_PNG_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}
_PNG_OF_COLOURS: Final = frozenset({b"tRNS", b"bKGD", b"sBIT", b"hIST", b"sPLT"})
_PNG_REPLACED: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_ZLIB_LEVEL: Final = 4
_UP: Final = 2  # PNG filter: difference to the row above
_ORIENTATION: Final = 0x0112
_UNTURN: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # shown by turning it right; stored by turning it back
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE
_THUMBNAIL_8BIM: Final = (b"8BIM\x04\x09", b"8BIM\x04\x0c")
_LOSSLESS_TIFF: Final = frozenset({"raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"})
# Of a TIFF file, what its writer says anew about its strips, the orientation it has no more, and
# where further pictures are.
_TIFF_REPLACED: Final = frozenset(
    {256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 330}
)
_TIFF_TILES: Final = frozenset({322, 323, 324, 325, 338, 339, 347, 529, 530, 531, 532})


class PictureFilm:
    """A picture's file with one film; see :class:`covid_debug.imaging.stored.StoredFilm`."""

    def __init__(self, data: bytes, name: str, *, jpeg: JpegOutput = "jpeg") -> None:
        """Decode the stored pixels; the file was read before and is known to be one film.

        Args:
            data: The file.
            name: What the film is called in an error.
            jpeg: What becomes of a JPEG file: ``"jpeg"`` codes it again with its own tables, which
                may change pixels that nobody wanted changed; ``"png"`` keeps every other pixel
                (CMYK as RGB).

        Raises:
            DataIntegrityError: If the picture cannot be decoded.
        """
        self._data = data
        self._name = name
        with damage_named(name):
            self._decode(data, jpeg)

    def _decode(self, data: bytes, jpeg: JpegOutput) -> None:
        image: Image.Image = Image.open(io.BytesIO(data))
        self._format = "JPEG" if image.format == "MPO" else str(image.format)
        is_deep = self._format == "PNG" and data[24] == 16 and data[25] != 0
        if is_deep:
            self._image = image
            self.planes: Planes = _read_deep_png(data)
        else:
            image.load()
            becomes_rgb = image.mode == "CMYK" and jpeg == "png"
            self._image = image.convert("RGB") if becomes_rgb else _to_channels(image)
            self.planes = _to_planes(np.asarray(self._image))
        self._source = image
        self._is_jpeg_out = self._format == "JPEG" and jpeg == "jpeg"
        self.is_exact = not self._is_jpeg_out
        self.top = int(np.iinfo(self.planes.dtype).max)
        becomes_png = self._format == "JPEG" and not self._is_jpeg_out
        self.suffix = ".png" if becomes_png else ""
        self.coding = self._format
        self.coding_out = "PNG" if becomes_png else self._format

    def turn(self, shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return a mask of the film as shown on the film as stored (EXIF orientation)."""
        orientation = self._source.getexif().get(_ORIENTATION, 1)
        if orientation not in _UNTURN:
            return shown
        stored = Image.fromarray(shown.astype(np.uint8)).transpose(_UNTURN[orientation])
        return np.asarray(stored) > 0

    def encode(self, planes: Planes, derivation: Derivation) -> bytes:  # noqa: ARG002
        """Return the file with other pixels.

        Args:
            planes: As :attr:`planes`.
            derivation: Not said in a picture: no format has a field for it.

        Returns:
            A file of the same format, colours and depth (fewer than 8 bits and palettes become
            8 bits a channel), with profile, resolution, orientation and texts of the original and
            without embedded thumbnails, which would still show what was removed.

        Raises:
            DataIntegrityError: If it cannot be written.
        """
        with damage_named(self._name, f"cannot be written as {self.coding_out}"):
            if self.coding_out == "PNG":
                return self._encode_png(planes)
            if self._is_jpeg_out:
                return self._encode_jpeg(planes)
            return self._encode_other(planes)

    def _encode_png(self, planes: Planes) -> bytes:
        high, wide, n_channels = planes.shape
        depth = planes.dtype.itemsize * 8
        header = struct.pack(">IIBBBBB", wide, high, depth, _PNG_TYPES[n_channels], 0, 0, 0)
        parts = [_PNG_MAGIC, _chunk(b"IHDR", header)]
        after: list[bytes] = []
        if self._format == "PNG":
            same_kind = self._data[24:26] == header[8:10]
            is_before = True
            for kind, content in _iter_chunks(self._data):
                is_before &= kind != b"IDAT"
                if kind in _PNG_REPLACED or (kind in _PNG_OF_COLOURS and not same_kind):
                    continue
                (parts if is_before else after).append(
                    _chunk(kind, _without_thumbnail(content) if kind == b"eXIf" else content)
                )
        else:
            parts += _describe_in_png(self._source)
        return b"".join([*parts, _chunk(b"IDAT", _deflate(planes)), *after, _chunk(b"IEND", b"")])

    def _encode_jpeg(self, planes: Planes) -> bytes:
        source = self._source
        stream = io.BytesIO()
        options: dict[str, Any] = {"qtables": source.quantization}  # type: ignore[attr-defined]
        if len(source.getbands()) == 3:
            options["subsampling"] = JpegImagePlugin.get_sampling(source)
        is_progressive = bool(source.info.get("progressive"))
        self._to_image(planes).save(
            stream, "JPEG", progressive=is_progressive, optimize=True, **options
        )
        coded, kept = stream.getvalue(), bytearray()
        for marker, content in _iter_segments(self._data):
            is_said = marker == _COMMENT or _APP0 <= marker <= 0xEF
            if is_said and marker != _APP14 and not _is_thumbnail(marker, content):
                kept += _segment(marker, _without_exif_thumbnail(marker, content))
        return _join_segments(coded, bytes(kept))

    def _encode_other(self, planes: Planes) -> bytes:
        image, info = self._to_image(planes), self._source.info
        stream = io.BytesIO()
        if self._format == "TIFF":
            tags = self._source.tag_v2  # type: ignore[attr-defined]
            kept = {
                tag: value
                for tag, value in tags.items()
                if tag not in _TIFF_REPLACED | _TIFF_TILES and not _has_thumbnail(value)
            }
            compression = str(info.get("compression", "raw"))
            if compression not in _LOSSLESS_TIFF:
                compression = "tiff_adobe_deflate"
            image.save(stream, "TIFF", compression=compression, tiffinfo=kept)
        elif self._format == "WEBP":
            said: dict[str, Any] = {key: info[key] for key in ("icc_profile", "xmp") if key in info}
            if "exif" in info:
                said["exif"] = _without_thumbnail(info["exif"])
            image.save(stream, "WEBP", lossless=True, exact=True, quality=60, **said)
        else:
            image.save(stream, self._format, **({"dpi": info["dpi"]} if "dpi" in info else {}))
        return stream.getvalue()

    def _to_image(self, planes: Planes) -> Image.Image:
        single = planes[..., 0] if planes.shape[2] == 1 else planes
        mode = "I;16" if planes.dtype == np.uint16 else self._image.mode
        if mode == "I;16":
            return Image.fromarray(np.ascontiguousarray(single))
        return Image.frombytes(mode, (planes.shape[1], planes.shape[0]), single.tobytes())


def _to_channels(image: Image.Image) -> Image.Image:
    """Return an image whose every sample is a gray or colour value that can be filled."""
    if image.mode in {"L", "LA", "RGB", "RGBA", "CMYK"} or image.mode.startswith("I;16"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "I":
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    is_clear = "transparency" in image.info or image.mode in {"PA", "La", "RGBa"}
    return image.convert("RGBA" if is_clear else "RGB")


def _to_planes(pixels: npt.NDArray[Any]) -> Planes:
    planes = pixels.reshape(*pixels.shape[:2], -1)
    return planes if planes.dtype == np.uint8 else planes.astype(np.uint16, copy=False)


def _read_deep_png(data: bytes) -> npt.NDArray[np.uint16]:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint16)
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}[decoded.shape[2]]
    if _PNG_CHANNELS[data[25]] == 2:
        order = [0, 3]
    if _PNG_CHANNELS[data[25]] == 3:
        order = [2, 1, 0]  # OpenCV makes a fourth channel of a transparent colour
    return np.ascontiguousarray(decoded[..., order])


def _deflate(planes: Planes) -> bytes:
    big = planes.astype(planes.dtype.newbyteorder(">"))
    rows = np.frombuffer(big.tobytes(), np.uint8).reshape(len(planes), -1)
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return zlib.compress(filtered.tobytes(), _ZLIB_LEVEL)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _iter_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG_MAGIC)
    while place + 8 <= len(data):
        (n_bytes,) = struct.unpack(">I", data[place : place + 4])
        kind = data[place + 4 : place + 8]
        yield kind, data[place + 8 : place + 8 + n_bytes]
        place += 12 + n_bytes
        if kind == b"IEND":
            return


def _describe_in_png(image: Image.Image) -> list[bytes]:
    """Return the chunks that say of a PNG what a JPEG file said of itself."""
    said = io.BytesIO()
    options: dict[str, Any] = {
        key: image.info[key] for key in ("icc_profile", "dpi") if key in image.info
    }
    if "exif" in image.info:
        options["exif"] = _without_thumbnail(image.info["exif"])
    Image.new("L" if image.mode == "L" else "RGB", (1, 1)).save(said, "PNG", **options)
    return [_chunk(*part) for part in _iter_chunks(said.getvalue()) if part[0] not in _PNG_REPLACED]


def _iter_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of a JPEG file up to its pixels."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        (n_bytes,) = struct.unpack(">H", data[place + 2 : place + 4])
        yield marker, data[place + 4 : place + 2 + n_bytes]
        if marker == 0xDA:
            return
        place += 2 + n_bytes


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _join_segments(coded: bytes, kept: bytes) -> bytes:
    """Put what a file said of itself in place of what its new coding says."""
    place, parts = 2, [coded[:2], kept]
    for marker, content in _iter_segments(coded):
        if marker == 0xDA:
            break
        n_bytes = len(content) + 4
        is_said = marker == _COMMENT or (_APP0 <= marker <= 0xEF and marker != _APP14)
        if not is_said:
            parts.append(coded[place : place + n_bytes])
        place += n_bytes
    return b"".join([*parts, coded[place:]])


def _is_thumbnail(marker: int, content: bytes) -> bool:
    """Whether a segment shows the film as it was, or points at further pictures."""
    return (
        (marker == _APP0 and content.startswith(b"JFXX"))
        or (marker == _APP2 and content.startswith(b"MPF\0"))
        or (marker == _APP13 and _has_thumbnail(content))
    )


def _has_thumbnail(content: object) -> bool:
    """Whether Photoshop's resources, of a JPEG segment or a TIFF tag, hold a small picture."""
    return isinstance(content, bytes) and any(kind in content for kind in _THUMBNAIL_8BIM)


def _without_exif_thumbnail(marker: int, content: bytes) -> bytes:
    is_exif = marker == _APP1 and content.startswith(b"Exif\0\0")
    return _without_thumbnail(content) if is_exif else content


def _without_thumbnail(content: bytes) -> bytes:
    """Return EXIF data as it is, or, where it holds a thumbnail, written anew without."""
    exif = Image.Exif()
    exif.load(content)
    if not exif.get_ifd(ExifTags.IFD.IFD1):
        return content
    written = exif.tobytes()
    return written if content.startswith(b"Exif\0\0") else written.removeprefix(b"Exif\0\0")
