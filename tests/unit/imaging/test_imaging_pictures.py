"""Pictures come back in their format, with all that their files said."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, TiffTags
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from covid_debug.imaging.pictures import PictureFilm
from covid_debug.imaging.reading import decode_film
from covid_debug.imaging.stored import Derivation, count_outside

SAID = Derivation("text replaced")
DEEP = (np.arange(41 * 53, dtype=np.uint16).reshape(41, 53) * 29) % 4096
GRAY = (DEEP >> 4).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], GRAY // 2], axis=2)
RGBA = np.dstack([RGB, GRAY])
MASK = np.zeros(GRAY.shape, np.bool_)
MASK[8:16, 16:40] = True
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def save(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def save_deep(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def make_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a film"
    return exif


EXACT = {
    "png gray": save(Image.fromarray(GRAY), "PNG"),
    "png RGB": save(Image.fromarray(RGB), "PNG"),
    "png RGBA": save(Image.fromarray(RGBA), "PNG"),
    "png gray alpha": save(Image.fromarray(RGBA[..., 2:], "LA"), "PNG"),
    "png palette": save(Image.fromarray(GRAY).convert("P"), "PNG"),
    "png 1 bit": save(Image.fromarray(GRAY).convert("1"), "PNG"),
    "png 16": save_deep(DEEP),
    "png 16 RGB": save_deep(np.dstack([DEEP, DEEP + 5, DEEP + 9])),
    "png 16 RGBA": save_deep(np.dstack([DEEP, DEEP + 5, DEEP + 9, DEEP])),
    "tiff gray": save(Image.fromarray(GRAY), "TIFF", compression="tiff_lzw"),
    "tiff 16": save(Image.fromarray(DEEP), "TIFF"),
    "tiff RGB": save(Image.fromarray(RGB), "TIFF", compression="packbits"),
    "tiff of JPEG": save(Image.fromarray(RGB), "TIFF", compression="jpeg"),
    "tiff 1 bit": save(Image.fromarray(GRAY).convert("1"), "TIFF", compression="group4"),
    "bmp gray": save(Image.fromarray(GRAY), "BMP"),
    "bmp RGB": save(Image.fromarray(RGB), "BMP"),
    "webp": save(Image.fromarray(RGB), "WEBP", quality=80),
}


def refill(film: PictureFilm) -> np.ndarray:
    planes = film.planes.copy()
    planes[MASK] //= 3
    return planes


@pytest.mark.parametrize("name", EXACT)
def test_encode_changes_the_masked_values_and_no_other(name: str) -> None:
    film = PictureFilm(EXACT[name], name)
    planes = refill(film)

    again = PictureFilm(film.encode(planes, SAID), name)

    assert film.is_exact
    assert again.coding == film.coding
    np.testing.assert_array_equal(again.planes, planes)
    assert again.planes.dtype == (np.uint16 if "16" in name else np.uint8)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_profile_resolution_orientation_and_comments_stay(file_format: str) -> None:
    options: dict[str, object] = {"icc_profile": ICC, "dpi": (200, 200), "exif": make_exif(6)}
    if file_format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Comment", "kept")
    if file_format == "JPEG":
        options["comment"] = b"kept"
    if file_format == "TIFF":
        options["exif"] = make_exif(1)
    data = save(Image.fromarray(RGB), file_format, **options)
    film = PictureFilm(data, "a")

    after = Image.open(io.BytesIO(film.encode(film.planes, SAID)))

    before = Image.open(io.BytesIO(data))
    for key in ("icc_profile", "dpi", "exif", "comment", "Comment"):
        assert after.info.get(key) == before.info.get(key)
    assert after.getexif().get(0x010E) == "a film"
    assert after.getexif().get(0x0112, 1) == before.getexif().get(0x0112, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_takes_a_mask_of_the_shown_film_to_the_stored_one(orientation: int) -> None:
    stored = np.zeros((8, 12), np.uint8)
    stored[1:3, 2:7] = 255
    data = save(Image.fromarray(stored), "PNG", exif=make_exif(orientation))

    shown = decode_film(data, "a").pixels > 0

    np.testing.assert_array_equal(PictureFilm(data, "a").turn(shown), stored > 0)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_stays_jpeg_with_its_own_tables(mode: str) -> None:
    smooth = cv2.GaussianBlur(RGBA, (0, 0), 3)
    image = Image.fromarray(smooth, "RGBA").convert(mode)
    data = save(image, "JPEG", quality=77, progressive=True)
    film = PictureFilm(data, "a")
    planes = film.planes.copy()
    planes[8:16, 16:40] = planes[24:32, 16:40]

    written = film.encode(planes, SAID)

    assert not film.is_exact
    after = Image.open(io.BytesIO(written))
    before = Image.open(io.BytesIO(data))
    assert after.mode == mode
    assert after.quantization == before.quantization
    assert after.info["progressive"]
    n_outside, largest = count_outside(film.planes, PictureFilm(written, "b").planes, MASK)
    assert n_outside < MASK.size / 2
    assert largest < 40


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_becomes_a_png_that_holds_every_other_pixel(mode: str) -> None:
    data = save(Image.fromarray(RGBA).convert(mode), "JPEG", dpi=(120, 120), exif=make_exif(6))
    film = PictureFilm(data, "a", jpeg="png")
    planes = refill(film)

    written = film.encode(planes, SAID)

    after = PictureFilm(written, "b")
    assert (film.suffix, after.coding) == (".png", "PNG")
    np.testing.assert_array_equal(after.planes, planes)
    assert Image.open(io.BytesIO(written)).getexif()[0x0112] == 6


def test_thumbnails_of_the_old_film_go() -> None:
    exif = make_exif()
    thumbnail = save(Image.fromarray(GRAY), "JPEG")
    first = exif.tobytes()[6:]
    # A second directory with the thumbnail's place and length, as cameras write it.
    n_entries = struct.unpack(">H", first[8:10])[0]
    end = 10 + 12 * n_entries
    place = len(first) + 2 + 24 + 4
    directory = struct.pack(">HHHII", 2, 0x0201, 4, 1, place)
    directory += struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail)) + b"\0" * 4
    joined = first[:end] + struct.pack(">I", len(first)) + first[end + 4 :]
    block = b"Exif\0\0" + joined + directory + thumbnail
    data = save(Image.fromarray(GRAY), "JPEG", exif=block)
    film = PictureFilm(data, "a")

    written = film.encode(film.planes, SAID)

    assert data.count(b"\xff\xd8\xff") == 2
    assert written.count(b"\xff\xd8\xff") == 1
    assert Image.open(io.BytesIO(written)).getexif()[0x010E] == "a film"


def test_a_small_picture_in_a_tiff_tag_goes_and_other_tags_stay() -> None:
    tags = ImageFileDirectory_v2()
    tags[34377], tags.tagtype[34377] = b"8BIM\x04\x0c\0\0" + bytes(20), TiffTags.BYTE
    tags[270] = "a film"
    film = PictureFilm(save(Image.fromarray(GRAY), "TIFF", tiffinfo=tags), "a.tif")

    written = Image.open(io.BytesIO(film.encode(film.planes, SAID)))

    assert 34377 not in written.tag_v2
    assert written.tag_v2[270] == "a film"


def test_colours_without_transparency_get_none() -> None:
    film = PictureFilm(save(Image.fromarray(RGB).convert("LAB"), "TIFF"), "a.tif")

    assert film.planes.shape[2] == 3
