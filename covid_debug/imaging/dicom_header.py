"""What the header of a DICOM film says about a change of its pixels.

Owns the elements that PS3.3 (C.7.6.1, C.12.1) and PS3.15 (E.3.1) ask for, and overlay planes.
"""

import hashlib
import uuid
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.stored import Derivation

Overlays = Literal["refuse", "clear", "keep"]
"""What is done with a film of which an overlay plane shows something."""

_MAX_OVERLAYS: Final = 16
_MAX_TEXT: Final = 1024  # characters of a DICOM text (ST)
# They show or sign the pixels as they were.
_OUTDATED: Final = ("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence")


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _append(dataset: Dataset, keyword: str, item: Dataset) -> None:
    setattr(dataset, keyword, [*(dataset.get(keyword) or ()), item])


def write_history(
    dataset: Dataset,
    words: npt.NDArray[np.integer],
    derivation: Derivation,
    lossy: tuple[str, float] | None,
) -> None:
    """Say in a header what was done, and name the film anew.

    The new SOP Instance UID depends on the old one and on the new pixels alone. Elements that show
    or sign the old pixels go; the extremes are made true where they stand.

    Args:
        dataset: Changed in place.
        words: The new pixels as stored.
        derivation: What is said.
        lossy: Method and ratio of an earlier lossy compression that the header does not mention.
    """
    old_uid = str(dataset.SOPInstanceUID)
    digest = hashlib.sha256(old_uid.encode() + b"\0" + words.tobytes()).digest()
    new_uid = UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")
    source = Dataset()
    source.ReferencedSOPClassUID = dataset.SOPClassUID
    source.ReferencedSOPInstanceUID = old_uid
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [
        _code("121322", "Source image for image processing operation")
    ]
    _append(dataset, "SourceImageSequence", source)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    image_type = dataset.get("ImageType") or ["DERIVED", "PRIMARY"]
    rest = [image_type] if isinstance(image_type, str) else list(image_type)
    dataset.ImageType = ["DERIVED", *(rest[1:] or ["PRIMARY"])]
    said = str(dataset.get("DerivationDescription") or "").strip()
    text = f"{said}; {derivation.description}" if said else derivation.description
    dataset.DerivationDescription = text[-_MAX_TEXT:]
    if derivation.is_clean:
        dataset.BurnedInAnnotation = "NO"
    methods = [("113101", "Clean Pixel Data Option")] if derivation.is_clean else []
    if derivation.overlays_cleared:
        methods.append(("113103", "Clean Graphics Option"))
    known = {
        str(item.get("CodeValue"))
        for item in dataset.get("DeidentificationMethodCodeSequence") or ()
    }
    for value, meaning in methods:
        if value not in known:
            _append(dataset, "DeidentificationMethodCodeSequence", _code(value, meaning))
    equipment = Dataset()
    equipment.Manufacturer = equipment.ManufacturerModelName = "covid_debug"
    equipment.ContributionDescription = derivation.description[:_MAX_TEXT]
    equipment.PurposeOfReferenceCodeSequence = [_code("109104", "De-identifying Equipment")]
    _append(dataset, "ContributingEquipmentSequence", equipment)
    if lossy is not None:
        method, ratio = lossy
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = method
        dataset.LossyImageCompressionRatio = f"{ratio:.2f}"
    for keyword in _OUTDATED:
        if keyword in dataset:
            delattr(dataset, keyword)
    for keyword, value in (
        ("SmallestImagePixelValue", words.min()),
        ("LargestImagePixelValue", words.max()),
    ):
        if keyword in dataset:
            vr = "SS" if words.dtype.kind == "i" else "US"
            dataset[keyword] = pydicom.DataElement(dataset[keyword].tag, vr, int(value))


def _iter_overlays(dataset: Dataset) -> Iterator[tuple[int, bool]]:
    """Yield the group of each overlay plane and whether it lies in the pixels' unused bits."""
    for group in range(0x6000, 0x6000 + 2 * _MAX_OVERLAYS, 2):
        if (group, 0x0010) in dataset or (group, 0x3000) in dataset:
            yield group, (group, 0x3000) not in dataset


def check_overlays(dataset: Dataset, name: str, overlays: Overlays) -> bool:
    """Look for overlay planes that show something; one without a set bit is no matter.

    Args:
        dataset: Header of a film.
        name: What the film is called in an error.
        overlays: What is done with them.

    Returns:
        Whether they are to be taken out.

    Raises:
        DataIntegrityError: If there are some and the film is to be refused.
    """
    group = _find_shown(dataset)
    if group is not None and overlays == "refuse":
        raise DataIntegrityError(
            f"{name}: has an overlay plane ({group:04x}), which may hold text; clear it with"
            " --overlays clear, or keep it with --overlays keep"
        )
    return group is not None and overlays == "clear"


def shows_overlays(dataset: Dataset) -> bool:
    """Return whether an overlay plane shows something."""
    return _find_shown(dataset) is not None


def _find_shown(dataset: Dataset) -> int | None:
    for group, is_inside in _iter_overlays(dataset):
        if is_inside or any(dataset[group, 0x3000].value or b""):
            return group
    return None


def drop_overlays(dataset: Dataset) -> None:
    """Take out every element of the overlay planes."""
    for group, _ in _iter_overlays(dataset):
        for tag in [tag for tag in dataset.keys() if tag.group == group]:  # noqa: SIM118
            del dataset[tag]
