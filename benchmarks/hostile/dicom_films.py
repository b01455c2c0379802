"""DICOM films that are damaged or lie about themselves, each made from a seed."""

import random
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from benchmarks.dicoms import CODEC_ENCODINGS, ENCODINGS, change, make_dicom
from benchmarks.hostile.damage import SIDE, cut, draw_film, flip, shuffle

_LEVEL: Final = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 2**32 - 1) + struct.pack(
    "<HHI", 0xFFFE, 0xE000, 2**32 - 1
)
"""A sequence of unknown length that begins, and an item in it."""


def dicom(draw: random.Random) -> bytes:
    encoding = draw.choice((*ENCODINGS, *_codecs()))
    return make_dicom(draw_film(draw), encoding, draw.randrange(1000))


def _codecs() -> Iterator[Any]:
    for encoding in CODEC_ENCODINGS:
        try:
            make_dicom(np.zeros((16, 16), np.uint8), encoding)
        except (RuntimeError, NotImplementedError, ValueError):
            continue
        yield encoding


def coded_dicom(draw: random.Random) -> bytes:
    """A compressed frame, damaged; the file around it is whole."""
    encodings = [*(one for one in ENCODINGS if one.syntax.is_encapsulated), *_codecs()]
    data = make_dicom(draw_film(draw), draw.choice(encodings), draw.randrange(1000))

    def damage(dataset: Dataset) -> None:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        break_it = draw.choice((cut, flip, shuffle, partial(flip, n_head=100)))
        dataset.PixelData = encapsulate([break_it(frame, draw) or b"\0\0"])
        dataset["PixelData"].is_undefined_length = True

    return change(data, damage)


_LIES: Final[tuple[dict[str, object], ...]] = (
    {"Rows": 0},
    {"Rows": 65_535, "Columns": 65_535},
    {"Columns": 1},
    {"Rows": SIDE * 2},
    {"BitsAllocated": 0},
    {"BitsAllocated": 1},
    {"BitsAllocated": 32},
    {"BitsAllocated": 64},
    {"BitsAllocated": 7},
    {"BitsStored": 0},
    {"BitsStored": 40},
    {"HighBit": 99},
    {"NumberOfFrames": 10**9},
    {"NumberOfFrames": 0},
    {"NumberOfFrames": -1},
    {"SamplesPerPixel": 3},
    {"SamplesPerPixel": 65_535},
    {"SamplesPerPixel": 0},
    {"PixelRepresentation": 7},
    {"PlanarConfiguration": 9},
    {"PhotometricInterpretation": "\x1b[2J"},
    {"PhotometricInterpretation": "RGB"},
    {"PhotometricInterpretation": "PALETTE COLOR"},
    {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
    {"RescaleSlope": "0", "RescaleIntercept": "-1e300"},
    {"RescaleSlope": "nan", "RescaleIntercept": "0"},
    {"WindowCenter": "1e308", "WindowWidth": "0"},
    {"WindowCenter": ["1"] * 5, "WindowWidth": "-3"},
    {"ViewPosition": "<script>\x1b[31m"},
    {"SOPInstanceUID": "../../../etc/passwd"},
    {"PatientName": "=cmd|' /C calc'!A0", "BurnedInAnnotation": "YES"},
    {"SpecificCharacterSet": "no such set"},
    {"ImageType": ["A"] * 3000},
)


def lying_dicom(draw: random.Random) -> bytes:
    lies = draw.choice(_LIES)
    data = make_dicom(draw_film(draw), draw.choice(ENCODINGS), draw.randrange(1000))

    def lie(dataset: Dataset) -> None:
        for keyword, value in lies.items():
            try:
                setattr(dataset, keyword, value)
            except (ValueError, TypeError):
                continue

    try:
        return change(data, lie)
    except (ValueError, TypeError, OSError, AttributeError, KeyError, struct.error, OverflowError):
        return flip(data, draw, n_head=1200)  # pydicom writes no such value


def nested_dicom(draw: random.Random) -> bytes:
    """Sequences in sequences, complete, and deeper than a writer's calls go."""
    data = make_dicom(draw_film(draw), ENCODINGS[1])
    n_levels = draw.choice((10, 60, 300))
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    return data[:at] + _LEVEL * n_levels + end * n_levels + data[at:]


def endless_sequence(draw: random.Random) -> bytes:
    """The same, written by hand: thousands of levels in a few bytes each."""
    data = make_dicom(draw_film(draw), ENCODINGS[1])
    at = data.index(struct.pack("<HH", 0x0028, 0x0002))
    return data[:at] + _LEVEL * draw.choice((900, 20_000)) + data[at:]


def deflated_bomb(draw: random.Random) -> bytes:
    """A deflated data set of a few megabytes that unpacks to gigabytes."""
    data = make_dicom(draw_film(draw), ENCODINGS[4])
    # preamble, "DICM" and the group length, which says where the deflated part begins
    (n_meta,) = struct.unpack("<I", data[140:144])
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    n_mega = draw.choice((400, 4000))
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, n_mega << 20)
    begin = packer.compress(pixels) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return data[: 144 + n_meta] + begin + zeros * n_mega + packer.flush()


def rle_bomb(draw: random.Random) -> bytes:
    """A run-length frame that says to be larger than its film."""
    data = make_dicom(draw_film(draw), next(one for one in ENCODINGS if one.name == "rle-12"))

    def swell(dataset: Dataset) -> None:
        header = struct.pack("<16I", draw.choice((2, 16, 2**31)), *([64] * 15))
        dataset.PixelData = encapsulate([header + b"\x81\x7f" * 500_000])
        dataset["PixelData"].is_undefined_length = True

    return change(data, swell)
