"""Which files are DICOM, and how they begin.

Owns the recognition by first bytes, and files that lack the usual beginning.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_debug.imaging.damage import DECODER_ERRORS

_N_ELEMENT_BYTES = 8
_FIRST_GROUP = 0x0008
_LAST_FIRST_ELEMENT = 0x0018
_FIRST_VRS = {b"UL", b"CS", b"DA", b"TM", b"UI", b"SH"}
_MAX_FIRST_BYTES = 256
_META_GROUP = 0x0002
_MAX_INFLATED = 320_000_000  # bytes: what the pixels of a film may take
_CHUNK = 1 << 16
_KEYWORDS = ("SOPInstanceUID", "AccessionNumber", "PatientID", "ViewPosition")


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM; False where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return starts_dicom(stream.read(132))
    except OSError:
        return False


def parse_dicom(data: bytes) -> pydicom.Dataset:
    """Read a DICOM file; one without file meta information gets the syntax it is written in.

    Returns:
        The data set.

    Raises:
        ValueError: If it is deflated and unpacks to more than 320 MB.
    """
    stream = io.BytesIO(data)
    if _goes_on_deflated(stream):
        _check_inflated(stream)
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


@dataclass(frozen=True, slots=True)
class FilmHeader:
    """What a film's header says of whose it is; ``""`` where it says nothing."""

    uid: str = ""
    accession: str = ""
    patient: str = ""
    view: str = ""


def read_header(path: Path) -> FilmHeader:
    """Return what a DICOM file's header says, without its pixels; nothing where it is broken."""
    try:
        with path.open("rb") as stream:
            if _goes_on_deflated(stream):
                dataset = parse_dicom(path.read_bytes())
            else:
                stream.seek(0)
                dataset = pydicom.dcmread(
                    stream, stop_before_pixels=True, specific_tags=list(_KEYWORDS)
                )
        return FilmHeader(*(str(dataset.get(word) or "").strip() for word in _KEYWORDS))
    except DECODER_ERRORS:
        return FilmHeader()  # the film is recorded as missing or unreadable when it is examined


def read_view(path: Path) -> str:
    """Return the view position that a DICOM file's header gives; ``""`` where it gives none."""
    return read_header(path).view


def _goes_on_deflated(stream: BinaryIO) -> bool:
    """Read the file meta information, and tell whether all behind it is deflated."""
    read_preamble(stream, force=True)
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != _META_GROUP,
    )
    return bool(meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _check_inflated(stream: BinaryIO) -> None:
    """Refuse a file that unpacks to more than a film, before pydicom unpacks it at once."""
    inflater, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while rest := stream.read(_CHUNK):
        while rest and not inflater.eof:
            n_bytes += len(inflater.decompress(rest, _MAX_INFLATED // 10))
            rest = inflater.unconsumed_tail
            if n_bytes > _MAX_INFLATED:
                raise ValueError(f"it unpacks to more than {_MAX_INFLATED // 1_000_000} MB")


def starts_dicom(data: bytes) -> bool:
    """Tell whether these are the first bytes of a DICOM file."""
    if data[128:132] == b"DICM" or data[:4] == b"\x02\x00\x00\x00":
        return True
    # Old files lack preamble and file meta information and start with an element of group 0008.
    for order in "<>":
        if len(data) >= _N_ELEMENT_BYTES:
            group, element, n_bytes = struct.unpack(f"{order}HHI", data[:_N_ELEMENT_BYTES])
            is_first = group == _FIRST_GROUP and element <= _LAST_FIRST_ELEMENT
            if is_first and (data[4:6] in _FIRST_VRS or n_bytes <= _MAX_FIRST_BYTES):
                return True
    return False
