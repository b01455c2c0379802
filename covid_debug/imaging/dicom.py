"""DICOM films with other pixels: stored values in, a valid object out.

Owns transfer syntaxes and the words of the pixel data. It does not decide which pixels change; what
the header says of the change belongs to :mod:`covid_debug.imaging.dicom_header`.
"""

import io
import warnings
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.damage import DECODER_ERRORS, damage_named, tell_reason
from covid_debug.imaging.dicom_files import parse_dicom
from covid_debug.imaging.dicom_header import (
    Overlays,
    check_overlays,
    drop_overlays,
    shows_overlays,
    write_history,
)
from covid_debug.imaging.reading import DICOM_EXTRA
from covid_debug.imaging.stored import Derivation, Planes

_GRAY: Final = ("MONOCHROME1", "MONOCHROME2")
_COLOUR: Final = ("RGB", "YBR_FULL")
_COLOUR_CODED: Final = (*_COLOUR, "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
# Encapsulated input -> the lossless syntax that its output has where an encoder is installed.
_RECODED: Final = {
    RLELossless: RLELossless,
    JPEGLSLossless: JPEGLSLossless,
    JPEGLSNearLossless: JPEGLSLossless,
    JPEG2000Lossless: JPEG2000Lossless,
    JPEG2000: JPEG2000Lossless,
}
_ENCODERS: Final = {
    RLELossless: "pydicom",
    JPEGLSLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
}
_LAST_DECODER: Final = "gdcm"  # ends the process on some damaged frames
_LOSSY_METHODS: Final = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
_PIXEL_DATA: Final = 0x7FE00010
_N_NAMED: Final = 3
_MAX_LEVELS: Final = 32
_SHOWN_BY: Final = (
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)
_RCT: Final = "YBR_RCT"
_OFFSET_TABLES: Final = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


class DicomFilm:
    """A DICOM file with one radiograph; see :class:`covid_debug.imaging.stored.StoredFilm`."""

    suffix: Final = ""
    is_exact: Final = True

    def __init__(self, data: bytes, name: str, *, overlays: Overlays = "refuse") -> None:
        """Parse the header.

        Args:
            data: The file.
            name: What the film is called in an error.
            overlays: What is done where an overlay plane shows something: ``"refuse"`` the film,
                ``"clear"`` the planes in the output, or ``"keep"`` them.

        Raises:
            DataIntegrityError: If the film cannot be written again without loss, with the reason.
        """
        self._name = name
        self._data = data
        with damage_named(name):
            self._dataset = _parse(data)
            _check_depth(self._dataset)
        dataset = self._dataset
        self._syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
        try:
            self._check()
            self._clears = check_overlays(dataset, name, overlays)
        except DECODER_ERRORS as error:
            raise DataIntegrityError(
                f"{name}: has a damaged header ({tell_reason(error)}); mend it"
            ) from error
        self._bits = int(dataset.BitsStored)
        self._is_signed = bool(dataset.get("PixelRepresentation") or 0)
        self._photometric = str(dataset.PhotometricInterpretation)
        self._offset = 1 << (self._bits - 1) if self._is_signed else 0
        self.top = (1 << self._bits) - 1
        self._syntax_out = self._choose_syntax()

    @cached_property
    def planes(self) -> Planes:
        """Stored pixels ``(H, W, C)``; decoded at the first call."""
        words = self._words
        if self._is_signed:  # the sign fills the unused bits, whatever stood there
            unused = int(self._dataset.BitsAllocated) - self._bits
            words = (words << unused >> unused).astype(np.int32) + self._offset
        return (words & self.top).astype(_unsigned(self._words.dtype))

    @property
    def coding(self) -> str:
        """Name of the transfer syntax."""
        return self._syntax.name

    @property
    def coding_out(self) -> str:
        """Name of the transfer syntax of the output."""
        return self._syntax_out.name

    @property
    def uid(self) -> str:
        """SOP Instance UID."""
        return str(self._dataset.SOPInstanceUID)

    @property
    def clears_overlays(self) -> bool:
        """Whether the output lacks overlay planes that the input has."""
        return self._clears

    @property
    def shows_overlays(self) -> bool:
        """Whether the input has overlay planes that show something."""
        return shows_overlays(self._dataset)

    @property
    def says_text(self) -> bool:
        """Whether the header says that annotation is burned in."""
        return str(self._dataset.get("BurnedInAnnotation", "")).upper() == "YES"

    def note_changes(self, other: "DicomFilm") -> list[str]:
        """Say what a person should know of the header of another version of this film."""
        notes = []
        if self.uid == other.uid and not np.array_equal(self.planes, other.planes):
            notes.append("other pixels under the same SOP Instance UID")
        gone = sorted(
            element.keyword or str(element.tag)
            for element in self._dataset
            if element.tag not in other._dataset  # noqa: SLF001
        )
        if gone:
            more = f" and {len(gone) - _N_NAMED} more" if len(gone) > _N_NAMED else ""
            notes.append(f"lost {', '.join(gone[:_N_NAMED])}{more}")
        turned = [keyword for keyword in _SHOWN_BY if self._says_otherwise(other, keyword)]
        if turned:
            notes.append(f"is shown otherwise ({', '.join(turned)}), which may hide what is stored")
        if other.says_text:
            notes.append("its header says that annotation is burned in")
        return notes

    def _says_otherwise(self, other: "DicomFilm", keyword: str) -> bool:
        said = other._dataset.get(keyword)  # noqa: SLF001
        is_colour = keyword == "PhotometricInterpretation" and said not in _GRAY
        return said is not None and not is_colour and said != self._dataset.get(keyword)

    def turn(self, shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return the mask: DICOM films are shown as they are stored."""
        return shown

    def encode(self, planes: Planes, derivation: Derivation) -> bytes:
        """Return the file with other pixels.

        Args:
            planes: As :attr:`planes`.
            derivation: What its header is to say.

        Returns:
            A complete DICOM file with a SOP Instance UID of its own, which depends on the old one
            and on the new pixels alone.

        Raises:
            DataIntegrityError: If it cannot be written.
        """
        is_new = planes != self.planes  # decodes, which tells how colours are stored
        words = self._words.copy()
        if self._clears and not self._is_signed:
            words &= words.dtype.type(self.top)
        if self._is_signed:
            values = (planes[is_new].astype(np.int32) - self._offset).astype(words.dtype)
        else:
            high = words[is_new] & words.dtype.type(~self.top & np.iinfo(words.dtype).max)
            values = high | planes[is_new]
        words[is_new] = values
        dataset = _parse(self._data)
        try:
            write_history(dataset, words, derivation, self._lossy())
            if self._clears:
                drop_overlays(dataset)
            self._write_words(dataset, words)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # values that the file had already
                return _to_bytes(dataset)
        except DECODER_ERRORS as error:
            reason = tell_reason(error)
            raise DataIntegrityError(
                f"{self._name}: cannot be written as DICOM ({reason}); mend its header"
            ) from error

    def _check(self) -> None:
        dataset, name = self._dataset, self._name
        if "PixelData" not in dataset:
            raise DataIntegrityError(f"{name}: is DICOM without pixels; expected a radiograph")
        for keyword in ("SOPClassUID", "SOPInstanceUID", "PhotometricInterpretation"):
            if not dataset.get(keyword):
                raise DataIntegrityError(f"{name}: lacks {keyword}; expected a complete object")
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        if n_frames > 1:
            raise DataIntegrityError(
                f"{name}: has {n_frames} frames; expected a single radiograph; split it"
            )
        photometric = str(dataset.PhotometricInterpretation)
        n_samples = int(dataset.get("SamplesPerPixel") or 1)
        colours = _COLOUR_CODED if self._syntax.is_encapsulated else _COLOUR
        known = _GRAY if n_samples == 1 else colours
        if photometric not in known:
            raise DataIntegrityError(
                f"{name}: has pixels of {n_samples} samples in {photometric};"
                f" expected {', '.join(known)}; convert it"
            )
        allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
        found = dataset.get("HighBit")
        high = stored - 1 if found is None else int(found)
        if allocated not in {8, 16} or not 1 <= stored <= allocated or high != stored - 1:
            raise DataIntegrityError(
                f"{name}: has {stored} of {allocated} bits, the highest is {high}; expected 8 or"
                " 16 allocated, and the highest one below those stored; convert it"
            )

    @cached_property
    def _words(self) -> npt.NDArray[np.integer]:
        """Return the words of the pixel data as ``(H, W, C)``; compressed frames are decoded."""
        dataset = self._dataset
        shape = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)
        n_bytes_a_word = int(dataset.BitsAllocated) // 8
        native = np.dtype(f"{'i' if self._is_signed else 'u'}{n_bytes_a_word}")
        if self._syntax.is_encapsulated:
            frame, facts = self._decode_frame()
            self._photometric = str(facts["photometric_interpretation"]).removesuffix("_422")
            return np.array(frame.reshape(shape), native)
        content: bytes = dataset.PixelData
        if self._syntax == ExplicitVRBigEndian and _is_words_of_8(dataset):
            content = _swap_pairs(content)
        order: Literal["<", ">"] = ">" if self._syntax == ExplicitVRBigEndian else "<"
        n_bytes = int(np.prod(shape)) * native.itemsize
        if len(content) < n_bytes:
            raise DataIntegrityError(
                f"{self._name}: is cut off ({len(content)} bytes of pixels; expected {n_bytes});"
                " replace the file"
            )
        flat = np.frombuffer(content[:n_bytes], native.newbyteorder(order))
        if shape[2] > 1 and int(dataset.get("PlanarConfiguration") or 0):
            flat = flat.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
        return np.ascontiguousarray(flat.reshape(shape), native)

    def _decode_frame(self) -> tuple[npt.NDArray[np.integer], dict[str, Any]]:
        decoder = get_decoder(self._syntax)
        reason: Exception | None = None
        for plugin in sorted(decoder.available_plugins, key=lambda name: name == _LAST_DECODER):
            try:
                frame, facts = decoder.as_array(self._dataset, raw=True, decoding_plugin=plugin)
            except DECODER_ERRORS as error:
                reason = error
            else:
                return frame, dict(facts)
        remedy = "replace the file" if reason else DICOM_EXTRA
        raise DataIntegrityError(
            f"{self._name}: is coded as {self._syntax.name}, which cannot be decoded here; {remedy}"
        ) from reason

    def _choose_syntax(self) -> UID:
        if not self._syntax.is_encapsulated:
            return self._syntax
        target = _RECODED.get(self._syntax)
        if target is None or _ENCODERS[target] not in get_encoder(target).available_plugins:
            return ExplicitVRLittleEndian
        return target

    def _lossy(self) -> tuple[str, float] | None:
        """Return method and ratio of a lossy compression of which the header says nothing."""
        lossy = self._syntax in _LOSSY_METHODS
        if not lossy or self._dataset.get("LossyImageCompression") == "01":
            return None
        return _LOSSY_METHODS[self._syntax], self._words.nbytes / len(self._data)

    def _write_words(self, dataset: Dataset, words: npt.NDArray[np.integer]) -> None:
        was_ow = dataset["PixelData"].VR == "OW"
        for keyword in ("PixelData", *_OFFSET_TABLES):
            if keyword in dataset:
                delattr(dataset, keyword)
        if self._syntax.is_encapsulated and words.shape[2] > 1:
            dataset.PlanarConfiguration = 0
            if self._syntax_out != JPEG2000Lossless or dataset.PhotometricInterpretation != _RCT:
                dataset.PhotometricInterpretation = self._photometric
        if self._syntax_out.is_encapsulated:
            frame = words[..., 0] if words.shape[2] == 1 else words
            plugin = _ENCODERS[self._syntax_out]
            dataset.compress(
                self._syntax_out, frame, encoding_plugin=plugin, generate_instance_uid=False
            )
            return
        if words.shape[2] > 1 and int(dataset.get("PlanarConfiguration") or 0):
            words = words.transpose(2, 0, 1)
        dataset.file_meta.TransferSyntaxUID = self._syntax_out
        is_big = self._syntax_out == ExplicitVRBigEndian
        content = words.astype(words.dtype.newbyteorder(">" if is_big else "<")).tobytes()
        content += b"\0" * (len(content) % 2)
        keeps_ow = was_ow and not self._syntax.is_encapsulated
        vr = "OW" if words.itemsize == 2 or keeps_ow else "OB"
        if is_big and vr == "OW" and words.itemsize == 1:
            content = _swap_pairs(content)
        dataset[_PIXEL_DATA] = pydicom.DataElement(_PIXEL_DATA, vr, content)


def _parse(data: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_dicom(data)


def _check_depth(dataset: Dataset, n_levels: int = 0) -> None:
    """Refuse sequences in sequences without end.

    Where pydicom's writer runs out of calls, its message doubles with every level.

    Raises:
        ValueError: If they go deeper than 32 levels.
    """
    if n_levels > _MAX_LEVELS:
        raise ValueError(f"it holds sequences in sequences, {_MAX_LEVELS} times and more")
    for tag in dataset.keys():  # noqa: SIM118  the elements as they are, not converted
        known = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
        vr = dataset.get_item(tag).VR or known
        if vr == "SQ":
            for item in dataset[tag].value or ():
                _check_depth(item, n_levels + 1)


def _to_bytes(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _unsigned(dtype: np.dtype[np.integer]) -> np.dtype[np.integer]:
    return np.dtype(f"u{dtype.itemsize}")


def _is_words_of_8(dataset: Dataset) -> bool:
    return int(dataset.BitsAllocated) == 8 and dataset["PixelData"].VR == "OW"


def _swap_pairs(content: bytes) -> bytes:
    padded = content + b"\0" * (len(content) % 2)
    return np.frombuffer(padded, "u2").byteswap().tobytes()
