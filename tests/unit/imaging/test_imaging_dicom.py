"""DICOM films come back as DICOM films, and only masked values differ."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import ExplicitVRLittleEndian, JPEGLosslessSV1

from benchmarks.dicoms import CODEC_ENCODINGS, ENCODINGS, Encoding, change, deepen, make_dicom
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.dicom import DicomFilm
from covid_debug.imaging.stored import Derivation, count_outside

GRAY = np.random.default_rng(0).integers(0, 256, (45, 37), dtype=np.uint8)
MASK = np.zeros(GRAY.shape, np.bool_)
MASK[10:20, 5:30] = True
SAID = Derivation("text replaced")
PLAIN = ENCODINGS[1]


def refill(film: DicomFilm) -> np.ndarray:
    planes = film.planes.copy()
    planes[MASK] = film.top - planes[MASK]
    return planes


def parse(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("encoding", [*ENCODINGS, *CODEC_ENCODINGS], ids=lambda one: one.name)
def test_encode_changes_the_masked_values_and_no_other(encoding: Encoding) -> None:
    if encoding.encoder and encoding.encoder not in get_encoder(encoding.syntax).available_plugins:
        pytest.skip(f"{encoding.encoder} is not installed (extra dicom)")
    data = make_dicom(GRAY, encoding)
    film = DicomFilm(data, "a.dcm")
    planes = refill(film)

    written = film.encode(planes, SAID)

    again = DicomFilm(written, "b.dcm")
    np.testing.assert_array_equal(again.planes, planes)
    assert count_outside(film.planes, again.planes, MASK) == (0, 0)
    before, after = parse(data), parse(written)
    lossy = encoding.name == "jpeg-baseline-8"
    syntax = ExplicitVRLittleEndian if lossy else encoding.syntax
    assert after.file_meta.TransferSyntaxUID == syntax
    for keyword in ("PhotometricInterpretation", "BitsStored", "PixelRepresentation", "Rows"):
        assert after[keyword].value == before[keyword].value
    assert after.get("LossyImageCompression") == ("01" if lossy else None)


@pytest.mark.parametrize("encoding", [PLAIN, ENCODINGS[4]], ids=lambda one: one.name)
def test_planes_are_the_stored_values_from_zero(encoding: Encoding) -> None:
    planes = DicomFilm(make_dicom(GRAY, encoding), "a.dcm").planes[..., 0]

    shift = 1 << (encoding.bits - 1) if encoding.is_signed else 0
    np.testing.assert_array_equal(planes, deepen(GRAY, encoding).astype(np.int32) + shift)


def test_encode_says_what_was_done_and_leaves_every_other_element() -> None:
    data = make_dicom(GRAY, PLAIN, BurnedInAnnotation="YES", DerivationDescription="scanned")
    data = change(data, lambda one: one.add_new(0x00091001, "LO", "private"))
    film = DicomFilm(data, "a.dcm")

    after = parse(film.encode(refill(film), SAID))

    before = parse(data)
    assert film.says_text
    assert after.BurnedInAnnotation == "NO"
    assert after.DerivationDescription == "scanned; text replaced"
    assert list(after.ImageType) == ["DERIVED", "PRIMARY"]
    assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113101"
    source = after.SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID != after.SOPInstanceUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == (
        "109104"
    )
    written = {
        "BurnedInAnnotation",
        "ContributingEquipmentSequence",
        "DeidentificationMethodCodeSequence",
        "DerivationDescription",
        "ImageType",
        "PixelData",
        "SOPInstanceUID",
        "SourceImageSequence",
    }
    for element in before:
        if element.keyword not in written:
            assert after[element.tag] == element
    assert {one.keyword for one in after} - {one.keyword for one in before} <= written


def test_uid_depends_on_the_old_one_and_on_the_pixels() -> None:
    film = DicomFilm(make_dicom(GRAY, PLAIN), "a.dcm")
    other = DicomFilm(make_dicom(GRAY, PLAIN, SOPInstanceUID="1.2.3"), "b.dcm")
    planes = refill(film)

    uids = [
        parse(one.encode(pixels, SAID)).SOPInstanceUID
        for one, pixels in ((film, planes), (film, planes), (film, planes // 2), (other, planes))
    ]

    assert uids[0] == uids[1]
    assert len(set(uids)) == 3
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_a_second_cleaning_appends_to_the_history() -> None:
    first = DicomFilm(make_dicom(GRAY, PLAIN), "a.dcm")
    second = DicomFilm(first.encode(refill(first), SAID), "b.dcm")

    after = parse(second.encode(second.planes // 2, SAID))

    assert len(after.SourceImageSequence) == 2
    assert len(after.DeidentificationMethodCodeSequence) == 1
    assert after.DerivationDescription == "text replaced; text replaced"


def test_text_that_stays_leaves_the_burned_in_annotation_as_it_was() -> None:
    film = DicomFilm(make_dicom(GRAY, PLAIN), "a.dcm")

    after = parse(film.encode(refill(film), Derivation("kept", is_clean=False)))

    assert "BurnedInAnnotation" not in after


def test_an_empty_high_bit_is_the_highest_one_stored() -> None:
    data = change(make_dicom(GRAY, PLAIN), lambda one: setattr(one, "HighBit", None))
    film = DicomFilm(data, "a.dcm")

    assert DicomFilm(film.encode(refill(film), SAID), "b.dcm").planes.shape == film.planes.shape


def test_icon_and_signature_of_the_old_pixels_go_and_extremes_are_true() -> None:
    icon = pydicom.Dataset()
    icon.Rows = 1
    data = make_dicom(
        GRAY,
        PLAIN,
        IconImageSequence=[icon],
        DigitalSignaturesSequence=[pydicom.Dataset()],
        SmallestImagePixelValue=7,
        LargestImagePixelValue=4095,
    )
    film = DicomFilm(data, "a.dcm")

    after = parse(film.encode(film.planes // 2, SAID))

    assert "IconImageSequence" not in after
    assert "DigitalSignaturesSequence" not in after
    assert after.SmallestImagePixelValue == int(film.planes.min()) // 2
    assert after.LargestImagePixelValue == int(film.planes.max()) // 2


def test_a_lossy_film_says_so_even_if_its_header_forgot() -> None:
    def forget(one: pydicom.Dataset) -> None:
        del one.LossyImageCompression, one.LossyImageCompressionRatio
        del one.LossyImageCompressionMethod

    film = DicomFilm(change(make_dicom(GRAY, ENCODINGS[-1]), forget), "a.dcm")

    after = parse(film.encode(refill(film), SAID))

    assert after.LossyImageCompression == "01"
    assert after.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(after.LossyImageCompressionRatio) > 0


def test_unused_high_bits_stay_as_they_are() -> None:
    words = np.frombuffer(parse(make_dicom(GRAY, PLAIN)).PixelData, "<u2") | 0xA000
    data = change(make_dicom(GRAY, PLAIN), lambda one: setattr(one, "PixelData", words.tobytes()))
    film = DicomFilm(data, "a.dcm")

    after = np.frombuffer(parse(film.encode(refill(film), SAID)).PixelData, "<u2")

    assert film.planes.max() <= 4095
    np.testing.assert_array_equal(after & 0xF000, 0xA000)
    np.testing.assert_array_equal(
        after.reshape(GRAY.shape)[~MASK], words.reshape(GRAY.shape)[~MASK]
    )


def add_overlay(one: pydicom.Dataset, content: bytes | None) -> None:
    one.add_new(0x60000010, "US", GRAY.shape[0])
    one.add_new(0x60000011, "US", GRAY.shape[1])
    one.add_new(0x60000040, "CS", "G")
    one.add_new(0x60000050, "SS", [1, 1])
    one.add_new(0x60000100, "US", 1 if content is not None else 16)
    one.add_new(0x60000102, "US", 0 if content is not None else 12)
    if content is not None:
        one.add_new(0x60003000, "OW", content)


@pytest.mark.parametrize("content", [b"\0\1" * 105, None], ids=["plane", "in the pixels"])
def test_overlay_is_refused_cleared_or_kept(content: bytes | None) -> None:
    data = change(make_dicom(GRAY, PLAIN), lambda one: add_overlay(one, content))

    with pytest.raises(DataIntegrityError, match=r"overlay plane \(6000\).*--overlays clear"):
        DicomFilm(data, "a.dcm")
    kept = DicomFilm(data, "a.dcm", overlays="keep")
    assert (0x6000, 0x0010) in parse(kept.encode(refill(kept), SAID))
    film = DicomFilm(data, "a.dcm", overlays="clear")
    assert film.clears_overlays
    after = parse(film.encode(refill(film), Derivation("x", overlays_cleared=True)))
    assert not [tag for tag in after.keys() if tag.group == 0x6000]  # noqa: SIM118
    assert [one.CodeValue for one in after.DeidentificationMethodCodeSequence] == [
        "113101",
        "113103",
    ]


def test_an_empty_overlay_is_no_reason_to_refuse() -> None:
    data = change(make_dicom(GRAY, PLAIN), lambda one: add_overlay(one, b"\0\0" * 105))

    assert not DicomFilm(data, "a.dcm", overlays="clear").clears_overlays


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 3}, "has 3 frames; expected a single radiograph"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "1 samples in PALETTE COLOR"),
        ({"BitsStored": 13, "HighBit": 15}, "has 13 of 16 bits, the highest is 15"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "has 32 of 32 bits"),
        ({"Rows": 46}, "is cut off"),
        ({"SOPClassUID": ""}, "lacks SOPClassUID"),
    ],
)
def test_what_cannot_be_written_again_is_refused_by_name(
    tags: dict[str, object], reason: str
) -> None:
    data = change(
        make_dicom(GRAY, PLAIN), lambda one: [setattr(one, *item) for item in tags.items()]
    )

    with pytest.raises(DataIntegrityError, match=f"a.dcm: .*{reason}") as caught:
        _ = DicomFilm(data, "a.dcm").planes
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    get_decoder(JPEGLosslessSV1).is_available, reason="the extra dicom is installed"
)
def test_a_coding_that_nothing_here_decodes_names_the_extra() -> None:
    data = change(
        make_dicom(GRAY, ENCODINGS[-1]),
        lambda one: setattr(one.file_meta, "TransferSyntaxUID", JPEGLosslessSV1),
    )

    with pytest.raises(
        DataIntegrityError, match=r"coded as JPEG Lossless.*cannot be decoded.*covid_debug\[dicom\]"
    ):
        _ = DicomFilm(data, "a.dcm").planes
