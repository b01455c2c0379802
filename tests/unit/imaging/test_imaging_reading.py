"""Reading of every kind of film, and one clear line for everything that is none."""

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGBaseline8Bit, JPEGLosslessSV1

from covid_debug.errors import DataIntegrityError, FilmChangedError
from covid_debug.imaging import reading
from covid_debug.imaging.reading import FilmFile, FilmImage, identify_film, read_film
from tests.films import write_dicom

RAMP = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) % 251
RAMP8 = RAMP.astype(np.uint8)


def test_read_film_of_gray_png_returns_stored_pixels(tmp_path: Path) -> None:
    Image.fromarray(RAMP8).save(tmp_path / "a.png")

    film = read_film(tmp_path / "a.png")

    np.testing.assert_array_equal(film.pixels, RAMP8)
    assert film.encoding == "png-L"
    assert film.pixels.dtype == np.uint8


def test_read_film_of_16_bit_png_keeps_depth_and_to_uint8_stretches(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), RAMP * 16)

    film = read_film(tmp_path / "a.png")

    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, RAMP * 16)
    np.testing.assert_array_equal(film.to_uint8(), np.rint(RAMP * (255 / 250)).astype(np.uint8))


def test_to_uint8_of_constant_16_bit_film_is_black() -> None:
    film = FilmImage(np.full((4, 4), 900, np.uint16), "png-I;16", (900, 900), "")

    np.testing.assert_array_equal(film.to_uint8(), np.zeros((4, 4), np.uint8))


def test_read_film_decides_by_content_not_by_extension(tmp_path: Path) -> None:
    Image.fromarray(RAMP8).save(tmp_path / "a.jpg", format="PNG")

    assert read_film(tmp_path / "a.jpg").encoding == "png-L"


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (255, 0, 0), 76),
        ("CMYK", (0, 0, 0, 55), 200),
        ("YCbCr", (150, 128, 128), 150),
    ],
)
def test_read_film_of_colour_returns_luma(
    tmp_path: Path, mode: str, colour: tuple[int, ...], expected: int
) -> None:
    Image.new(mode, (40, 40), colour).save(tmp_path / "a.tif")

    pixels = read_film(tmp_path / "a.tif").pixels

    np.testing.assert_array_equal(pixels, np.full((40, 40), expected, np.uint8))


def test_read_film_of_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (40, 40), (0, 0, 0, 55)).save(tmp_path / "a.jpg", quality=100)

    pixels = read_film(tmp_path / "a.jpg").pixels

    assert abs(int(pixels[20, 20]) - 200) <= 1


def test_read_film_of_palette_uses_the_palette(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_film(tmp_path / "a.png").pixels, [[10, 200]])


def test_read_film_lays_transparency_over_black(tmp_path: Path) -> None:
    rgba = np.full((1, 2, 4), 200, np.uint8)
    rgba[0, :, 3] = (255, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_film(tmp_path / "a.png").pixels, [[200, 0]])


def test_read_film_of_bilevel_png_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_film(tmp_path / "a.png").pixels, [[0, 255]])


@pytest.mark.parametrize(("channels", "alpha"), [(3, None), (4, 65535), (4, 0)])
def test_read_film_of_16_bit_colour_png_keeps_depth(
    tmp_path: Path, channels: int, alpha: int | None
) -> None:
    bgr = np.full((8, 8, channels), 40_000, np.uint16)
    if alpha is not None:
        bgr[..., 3] = alpha
    cv2.imwrite(str(tmp_path / "a.png"), bgr)

    film = read_film(tmp_path / "a.png")

    expected = 0 if alpha == 0 else 40_000
    np.testing.assert_array_equal(film.pixels, np.full((8, 8), expected, np.uint16))


def test_read_film_applies_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    Image.fromarray(RAMP8).save(tmp_path / "a.png", exif=exif)

    np.testing.assert_array_equal(read_film(tmp_path / "a.png").pixels, np.rot90(RAMP8, -1))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.png", b"", r"empty.png: is empty \(0 bytes\)"),
        ("text.png", b"hello world, no film\n", r"text.png: is not an image \(starts with b'hello"),
        ("page.jpg", b"<!DOCTYPE html><html>", "page.jpg: is a web page"),
        ("lfs.png", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("zero.dcm", b"\0" * 4096, "zero.dcm: is not an image"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "head.png: .*expected"),
        ("dicom.dcm", b"\0" * 128 + b"DICM", "dicom.dcm: is DICOM without pixels"),
    ],
)
def test_read_film_of_stranger_raises_one_clear_line(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataIntegrityError, match=reason) as caught:
        read_film(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_read_film_of_truncated_file_raises(tmp_path: Path, file_format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format=file_format)
    content = buffer.getvalue()
    path = tmp_path / "cut.img"
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(DataIntegrityError, match=r"cut\.img: cannot be decoded"):
        read_film(path)


def test_read_film_of_damaged_16_bit_colour_png_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((40, 40, 3), 40_000, np.uint16))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

    with pytest.raises(DataIntegrityError, match="cannot be decoded"):
        read_film(path)


def test_read_film_refuses_a_decompression_bomb_before_decoding(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)

    with pytest.raises(DataIntegrityError, match=r"too large \(100000 x 100000 pixels\)"):
        read_film(tmp_path / "bomb.png")


def test_read_film_refuses_deep_colour_that_would_fill_the_memory(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 8900, 8900, 16, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)

    with pytest.raises(DataIntegrityError, match=r"8900 pixels of 8 bytes.*320 MB when decoded"):
        read_film(tmp_path / "deep.png")


def test_read_film_of_a_tall_film_is_the_same_in_strips(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (700, 8, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    deep = np.random.default_rng(1).integers(0, 4096, (700, 8), dtype=np.uint16)
    write_dicom(tmp_path / "a.dcm", deep, RescaleSlope=3, RescaleIntercept=-5)

    black = Image.new("RGBA", (8, 700), (0, 0, 0, 255))
    laid = Image.alpha_composite(black, Image.fromarray(rgba)).convert("L")
    np.testing.assert_array_equal(read_film(tmp_path / "a.png").pixels, np.asarray(laid))
    low, high = deep.min(), deep.max()
    stretched = np.rint((deep - float(low)) * (65535 / (high - low)))
    np.testing.assert_array_equal(read_film(tmp_path / "a.dcm").pixels, stretched)


def test_read_film_of_a_pipe_raises_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(DataIntegrityError, match=r"pipe\.png: .*not a regular file"):
        read_film(tmp_path / "pipe.png")


def test_read_film_of_a_latin_1_name_raises_a_printable_line(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.png"))
    Image.fromarray(RAMP8).save(path)

    with pytest.raises(DataIntegrityError, match=r"caf\\xe9\.png: .*not UTF-8; rename") as caught:
        read_film(path)
    str(caught.value).encode()


def test_read_film_with_another_hash_than_recorded_raises(tmp_path: Path) -> None:
    Image.fromarray(RAMP8).save(tmp_path / "a.png")
    known = read_film(tmp_path / "a.png").sha256
    Image.fromarray(RAMP8[::-1]).save(tmp_path / "a.png")

    with pytest.raises(FilmChangedError, match=r"a\.png: film changed since ingest .* again"):
        read_film(FilmFile(tmp_path / "a.png", sha256=known))


def test_to_uint8_shows_a_copy_in_the_window_of_its_original(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 100, 301, 500, 65535]], np.uint16))

    film = read_film(FilmFile(tmp_path / "a.png", window=(100, 500)))

    np.testing.assert_array_equal(film.to_uint8(), [[0, 0, 128, 255, 255]])


def test_read_film_refuses_a_huge_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 10)
    (tmp_path / "a.png").write_bytes(b"x" * 11)

    with pytest.raises(DataIntegrityError, match=r"is too large \(11 bytes\)"):
        read_film(tmp_path / "a.png")


def test_read_film_refuses_several_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(RAMP8), Image.fromarray(RAMP8)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])

    with pytest.raises(DataIntegrityError, match="holds several images"):
        read_film(tmp_path / "a.tif")


def test_read_film_refuses_floating_point_pixels(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "a.tif")

    with pytest.raises(DataIntegrityError, match="has 32-bit pixels"):
        read_film(tmp_path / "a.tif")


def test_read_film_of_missing_file_and_of_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(DataIntegrityError, match=r"none\.png: no such file"):
        read_film(tmp_path / "none.png")
    with pytest.raises(DataIntegrityError, match="cannot be read"):
        read_film(tmp_path)


def test_read_dicom_of_plain_8_bit_returns_stored_pixels(tmp_path: Path) -> None:
    film = read_film(write_dicom(tmp_path / "a.dcm", RAMP8))

    np.testing.assert_array_equal(film.pixels, RAMP8)
    assert film.encoding == "dicom-MONOCHROME2-8"


def test_read_dicom_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP8, PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_array_equal(read_film(path).pixels, 255 - RAMP8)


def test_read_dicom_of_16_bit_monochrome1_is_the_negative(tmp_path: Path) -> None:
    plain = read_film(write_dicom(tmp_path / "a.dcm", RAMP))
    path = write_dicom(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_allclose(read_film(path).pixels, 65535.0 - plain.pixels, atol=1)


def test_read_dicom_applies_rescale_and_window(tmp_path: Path) -> None:
    stored = np.array([[0, 50, 100, 150, 200]], np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm",
        stored,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=100.5,
        WindowWidth=201,
        VOILUTFunction="LINEAR",
    )

    film = read_film(path)

    # Rescaled: -100, 0, 100, 200, 300; the window [0, 200] clips both ends.
    np.testing.assert_array_equal(film.pixels, [[0, 0, 32768, 65535, 65535]])


def test_read_dicom_applies_a_modality_table(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.ModalityLUTType = "US"
    table.LUTData = np.array([0, 10, 1000, 2000], np.uint16).tobytes()
    path = write_dicom(
        tmp_path / "a.dcm", np.array([[0, 1, 2, 3]], np.uint16), ModalityLUTSequence=[table]
    )

    np.testing.assert_array_equal(read_film(path).pixels, [[0, 328, 32768, 65535]])


def test_read_dicom_of_jpeg_baseline_reads_the_compressed_frame(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64), 130, np.uint8)).save(buffer, format="JPEG")
    path = write_dicom(tmp_path / "a.dcm", np.zeros((48, 64), np.uint8))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)

    np.testing.assert_array_equal(read_film(path).pixels, np.full((48, 64), 130, np.uint8))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 2}, "has 2 frames; expected a single radiograph"),
        ({"Rows": 60_000, "Columns": 60_000}, "too large"),
        ({"Rows": 4_000}, "cannot be decoded"),
    ],
)
def test_read_dicom_that_is_no_single_film_raises(
    tmp_path: Path, tags: dict[str, int], reason: str
) -> None:
    pixels = np.zeros((2, 8, 8), np.uint8) if "NumberOfFrames" in tags else RAMP8
    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)

    with pytest.raises(DataIntegrityError, match=f"a.dcm: .*{reason}"):
        read_film(path)


def test_read_dicom_with_a_palette_raises(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP8, PhotometricInterpretation="PALETTE COLOR")

    with pytest.raises(DataIntegrityError, match="has a colour palette"):
        read_film(path)


@pytest.mark.skipif(
    get_decoder(JPEGLosslessSV1).is_available, reason="the extra dicom is installed"
)
def test_read_dicom_of_a_coding_that_needs_the_extra_says_so(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP8)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.PixelData = pydicom.encaps.encapsulate([b"coded"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)

    with pytest.raises(DataIntegrityError, match=r"JPEG Lossless.*needs pip install .*\[dicom\]"):
        read_film(path)


def test_read_dicom_without_pixels_raises(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP8)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)

    with pytest.raises(DataIntegrityError, match="is DICOM without pixels"):
        read_film(path)


@pytest.mark.real_data
def test_read_film_reads_real_films_as_bytes(shared_data: Path) -> None:
    paths = sorted((shared_data / "covidx-sources").glob("*/images/*"))[::150]

    for path in paths:
        film = read_film(path)
        assert film.pixels.dtype == np.uint8
        assert max(film.pixels.shape) <= 640


def test_a_film_whose_hash_is_recorded_is_the_same_anywhere(tmp_path: Path) -> None:
    for i, name in enumerate(("here.png", "there.png")):
        (tmp_path / name).write_bytes(b"film")
        os.utime(tmp_path / name, (i, i))
    here, there = (
        FilmFile(tmp_path / name, "a" * 64, (3, 9)) for name in ("here.png", "there.png")
    )

    assert identify_film(here) == identify_film(there)
    assert identify_film(here) != identify_film(FilmFile(here.path, "b" * 64, (3, 9)))
    assert identify_film(here) != identify_film(FilmFile(here.path, "a" * 64, (0, 9)))
    assert identify_film(here) != identify_film(FilmFile(tmp_path / "absent.png", "a" * 64, (3, 9)))


def test_a_film_without_a_record_is_another_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(b"film")
    before = identify_film(path)
    os.utime(path, (1, 1))

    assert identify_film(path) != before
