"""Which files are DICOM, and how they begin.

Owns the recognition by first bytes, and files that lack the usual beginning.
"""

import io
import struct
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

_N_ELEMENT_BYTES = 8
_FIRST_GROUP = 0x0008
_LAST_FIRST_ELEMENT = 0x0018
_FIRST_VRS = {b"UL", b"CS", b"DA", b"TM", b"UI", b"SH"}
_MAX_FIRST_BYTES = 256


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM; False where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return starts_dicom(stream.read(132))
    except OSError:
        return False


def parse_dicom(data: bytes) -> pydicom.Dataset:
    """Read a DICOM file; one without file meta information gets the syntax it is written in."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


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
