"""DICOM films in the encodings that archives hold, made from gray pixels."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

CR = "1.2.840.10008.5.1.4.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ROOT = "1.2.826.0.1.3680043.10.1234"


@dataclass(frozen=True)
class Encoding:
    """One way in which an archive holds a film."""

    name: str
    syntax: UID
    bits: int = 8
    is_signed: bool = False
    photometric: str = "MONOCHROME2"
    planar: int = 0
    encoder: str = ""

    @property
    def n_samples(self) -> int:
        """Channels."""
        return 1 if self.photometric.startswith("MONO") else 3


ENCODINGS = (
    Encoding("implicit-8", ImplicitVRLittleEndian),
    Encoding("explicit-12", ExplicitVRLittleEndian, 12),
    Encoding("explicit-16-monochrome1", ExplicitVRLittleEndian, 16, photometric="MONOCHROME1"),
    Encoding("big-endian-12", ExplicitVRBigEndian, 12),
    Encoding("deflated-12-signed", DeflatedExplicitVRLittleEndian, 12, is_signed=True),
    Encoding("explicit-rgb-planar", ExplicitVRLittleEndian, photometric="RGB", planar=1),
    Encoding("explicit-ybr", ExplicitVRLittleEndian, photometric="YBR_FULL"),
    Encoding("rle-12", RLELossless, 12, encoder="pydicom"),
    Encoding("rle-rgb", RLELossless, photometric="RGB", encoder="pydicom"),
    Encoding("jpeg-baseline-8", JPEGBaseline8Bit),
)
"""What the base installation reads and writes."""

CODEC_ENCODINGS = (
    Encoding("jpeg-ls-12", JPEGLSLossless, 12, encoder="pyjpegls"),
    Encoding("jpeg-ls-16-monochrome1", JPEGLSLossless, 16, False, "MONOCHROME1", 0, "pyjpegls"),
    Encoding("jpeg-2000-12-signed", JPEG2000Lossless, 12, is_signed=True, encoder="pylibjpeg"),
    Encoding("jpeg-2000-rgb", JPEG2000Lossless, photometric="YBR_RCT", encoder="pylibjpeg"),
)
"""What the extra ``dicom`` adds."""


def deepen(gray: np.ndarray, encoding: Encoding, seed: int = 0) -> np.ndarray:
    """Return stored values ``(H, W)`` or ``(H, W, 3)`` of an 8-bit film, with noise in new bits."""
    high = 1 << (encoding.bits - 8)
    noise = np.random.default_rng(seed).integers(0, high, gray.shape)
    values = gray.astype(np.int32) * high + noise
    if encoding.photometric == "MONOCHROME1":
        values = (1 << encoding.bits) - 1 - values
    if encoding.is_signed:
        values -= 1 << (encoding.bits - 1)
    kind = "i" if encoding.is_signed else "u"
    stored = values.astype(f"{kind}{1 if encoding.bits == 8 else 2}")
    if encoding.n_samples == 1:
        return stored
    colours = np.stack([stored, stored, stored], axis=2)
    if encoding.photometric == "YBR_FULL":
        colours[..., 1:] = 128
    return colours


def make_dicom(gray: np.ndarray, encoding: Encoding, seed: int = 0, **tags: object) -> bytes:
    """Return a complete DICOM file of an 8-bit film."""
    stored = deepen(gray, encoding, seed)
    dataset = _describe(encoding, stored, seed)
    for name, value in tags.items():
        setattr(dataset, name, value)
    if encoding.syntax == JPEGBaseline8Bit:
        coded = io.BytesIO()
        Image.fromarray(stored).save(coded, "JPEG", quality=90)
        dataset.PixelData = encapsulate([coded.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = f"{stored.nbytes / len(coded.getvalue()):.2f}"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    elif encoding.syntax.is_encapsulated:
        dataset.compress(
            encoding.syntax, stored, encoding_plugin=encoding.encoder, generate_instance_uid=False
        )
    else:
        ordered = stored.transpose(2, 0, 1) if encoding.planar else stored
        is_big = encoding.syntax == ExplicitVRBigEndian
        content = ordered.astype(ordered.dtype.newbyteorder(">" if is_big else "<")).tobytes()
        vr = "OW" if stored.itemsize == 2 or encoding.syntax == ImplicitVRLittleEndian else "OB"
        dataset.add_new(0x7FE00010, vr, content + b"\0" * (len(content) % 2))
    dataset.file_meta.TransferSyntaxUID = encoding.syntax
    return to_bytes(dataset)


def to_bytes(dataset: Dataset) -> bytes:
    """Write a data set in the transfer syntax that it names."""
    syntax = dataset.file_meta.TransferSyntaxUID
    stream = io.BytesIO()
    pydicom.dcmwrite(
        stream,
        dataset,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=True,
    )
    return stream.getvalue()


def change(data: bytes, edit: Callable[[Any], object]) -> bytes:
    """Return a DICOM file after an edit of its data set."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    edit(dataset)
    return to_bytes(dataset)


def _describe(encoding: Encoding, stored: np.ndarray, seed: int) -> Dataset:
    """Return all elements but the pixels; what a computed radiograph must have."""
    is_gray = encoding.n_samples == 1
    one = Dataset()
    one.SOPClassUID = CR if is_gray else SECONDARY_CAPTURE
    one.SOPInstanceUID = f"{_ROOT}.{seed}.3"
    one.StudyInstanceUID, one.SeriesInstanceUID = f"{_ROOT}.{seed}.1", f"{_ROOT}.{seed}.2"
    one.ImageType = ["ORIGINAL", "PRIMARY"]
    one.StudyDate, one.StudyTime = "20200401", "101500"
    one.AccessionNumber, one.StudyID = "", "1"
    one.ReferringPhysicianName = ""
    one.PatientName, one.PatientID = "Phantom^No", f"P{seed}"
    one.PatientBirthDate, one.PatientSex = "", ""
    one.SeriesNumber, one.InstanceNumber = "1", "1"
    one.Manufacturer = "phantoms"
    one.PatientOrientation = ["L", "F"]
    if is_gray:
        one.Modality, one.BodyPartExamined, one.ViewPosition = "CR", "CHEST", "PA"
        window = 1 << encoding.bits
        one.WindowCenter = "0" if encoding.is_signed else str(window // 2)
        one.WindowWidth = str(window)
    else:
        one.Modality, one.ConversionType, one.Laterality = "OT", "DF", ""
        one.PlanarConfiguration = encoding.planar
    one.Rows, one.Columns = stored.shape[:2]
    one.SamplesPerPixel = encoding.n_samples
    one.PhotometricInterpretation = encoding.photometric
    one.BitsAllocated = stored.itemsize * 8
    one.BitsStored, one.HighBit = encoding.bits, encoding.bits - 1
    one.PixelRepresentation = int(encoding.is_signed)
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = encoding.syntax
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    return one
