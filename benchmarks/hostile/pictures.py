"""Pictures that are damaged or lie about themselves, each made from a seed."""

import random
import struct
import zlib
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks.hostile.damage import SIDE, cut, draw_film, encode, flip

_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_HUGE: Final = 60_000


def png(draw: random.Random) -> bytes:
    return encode(draw_film(draw), "PNG")


def jpeg(draw: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = draw.randrange(1, 9)
    exif[0x010E] = "<script>alert(1)</script>\x1b[2J"
    options: dict[str, Any] = {"progressive": True} if draw.random() < 0.3 else {}
    return encode(draw_film(draw), "JPEG", exif=exif, quality=90, **options)


def bad_exif(file_format: str, draw: random.Random) -> bytes:
    exif = b"Exif\0\0" + flip(_exif_block(), draw)
    return encode(draw_film(draw), file_format, exif=exif)


def _exif_block() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its right checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png_of(width: int, height: int, depth: int, colour: int, rows: bytes, *before: bytes) -> bytes:
    """Return a PNG file whose checksums are right and whose content may lie."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"".join((_PNG_MAGIC, chunk(b"IHDR", header), *before, data, chunk(b"IEND", b"")))


def lying_png(draw: random.Random) -> bytes:
    width, height = draw.choice(
        (
            (_HUGE, _HUGE),
            (0, 0),
            (2**31 - 1, 1),
            (1, 2**31 - 1),
            (2**32 - 1, 2**32 - 1),
            (8900, 8900),
        )
    )
    depth, colour = draw.choice(((8, 0), (16, 2), (16, 6), (8, 3), (1, 0), (5, 1), (16, 255)))
    return png_of(width, height, depth, colour, b"\0" * 1000)


def png_bomb(draw: random.Random) -> bytes:
    """A few kilobytes that are a picture of many megapixels, all of it there."""
    side, depth, colour, n_bytes = draw.choice(((8000, 8, 0, 1), (4000, 16, 2, 6), (4000, 8, 6, 4)))
    packer = zlib.compressobj(9)
    rows = [b"\0" + gray * (side * n_bytes) for gray in (b"\x40", b"\x90")]
    content = b"".join(packer.compress(rows[at * 2 // side]) for at in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    parts = _PNG_MAGIC, chunk(b"IHDR", header), chunk(b"IDAT", content), chunk(b"IEND", b"")
    return b"".join(parts)


def short_png(draw: random.Random) -> bytes:
    """Checksums right, rows missing."""
    depth, colour = draw.choice(((8, 0), (16, 0), (16, 2), (16, 6), (8, 3)))
    return png_of(SIDE, SIDE, depth, colour, b"\0" * draw.choice((0, 1, 5000)))


def texts_png(draw: random.Random) -> bytes:
    """Texts and profiles that unpack to far more than they take, or that are markup."""
    bomb = zlib.compress(b"A" * 30_000_000, 9)
    rows = b"".join(b"\0" + bytes(row) for row in draw_film(draw))
    before = draw.choice(
        (
            [chunk(b"zTXt", b"Comment\0\0" + bomb)],
            [chunk(b"iCCP", b"icc\0\0" + bomb)],
            [chunk(b"tEXt", b"Title\0<img src=x onerror=alert(1)>\x1b]0;owned\x07")],
            [chunk(b"tEXt", b"k\0v")] * 5000,
            [chunk(b"eXIf", draw.randbytes(400))],
        )
    )
    return png_of(SIDE, SIDE, 8, 0, rows, *before)


def animated(draw: random.Random) -> bytes:
    frames = [Image.fromarray(draw_film(draw)) for _ in range(3)]
    file_format = draw.choice(("PNG", "TIFF", "WEBP"))
    return encode(frames[0], file_format, save_all=True, append_images=frames[1:])


def odd_picture(draw: random.Random) -> bytes:
    film = Image.fromarray(draw_film(draw))
    mode, file_format = draw.choice(
        (
            ("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"),
            ("CMYK", "JPEG"), ("RGB", "JPEG"), ("F", "TIFF"), ("I", "TIFF"), ("CMYK", "TIFF"),
            ("LAB", "TIFF"), ("YCbCr", "TIFF"), ("RGBA", "TIFF"), ("P", "BMP"), ("RGBA", "WEBP"),
        )
    )  # fmt: skip
    return encode(film.convert("L").convert(mode), file_format)


def tiny(draw: random.Random) -> bytes:
    width, height = draw.choice(((1, 1), (1, 3000), (3000, 1), (2, 2), (3, 5), (7, 7)))
    pixels = np.full((height, width), 90, np.uint8)
    pixels.flat[0] = 200
    return encode(pixels, draw.choice(("PNG", "JPEG", "BMP")))


def lying_jpeg(draw: random.Random) -> bytes:
    data = bytearray(encode(draw_film(draw), "JPEG"))
    at = data.find(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(
        ">HH", *draw.choice(((65_500, 65_500), (0, 0), (1, 65_535), (9000, 8500)))
    )
    return bytes(data)


def many_scans(draw: random.Random) -> bytes:
    """A progressive JPEG file that has its whole surface gone through again and again."""
    data = encode(Image.new("L", (4000, 4000), draw.randrange(50, 90)), "JPEG", progressive=True)
    start = data.rfind(b"\xff\xda")
    scan = data[start:-2]
    return data[:-2] + scan * 2000 + data[-2:]


def other_picture(draw: random.Random) -> bytes:
    """Another kind of file than its name says, whole or damaged."""
    film = Image.fromarray(draw_film(draw))
    file_format = draw.choice(("TIFF", "BMP", "WEBP", "GIF", "PPM", "TGA", "ICO", "PDF"))
    data = encode(film, file_format)
    return draw.choice((data, cut(data, draw), flip(data, draw), flip(data, draw, n_head=60)))


def tiff_loop(draw: random.Random) -> bytes:
    """A TIFF file whose list of pictures bites its own tail, or whose tags lie."""
    data = bytearray(encode(draw_film(draw), "TIFF"))
    (first,) = struct.unpack("<I", data[4:8])
    (n_tags,) = struct.unpack("<H", data[first : first + 2])
    end = first + 2 + 12 * n_tags
    data[end : end + 4] = struct.pack("<I", first)
    if draw.random() < 0.7:
        tag = first + 2 + 12 * draw.randrange(n_tags)
        data[tag + 4 : tag + 12] = struct.pack("<II", draw.choice((2**31, 1, 0)), 2**32 - 1)
    return bytes(data)


def stranger(draw: random.Random) -> bytes:
    return draw.choice(
        (
            b"",
            b"<html><script>alert(1)</script></html>",
            b"\x1b[2J\x1b]0;owned\x07 no film",
            b"=cmd|' /C calc'!A0",
            b"%PDF-1.4\n",
            b"PK\x03\x04" + draw.randbytes(2000),
            b"\x7fELF" + draw.randbytes(2000),
            draw.randbytes(20_000),
            b"\0" * 20_000,
        )
    )
