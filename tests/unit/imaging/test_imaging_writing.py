"""Encoding of films and pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.writing import encode_jpeg, encode_layer, to_data_uri, write_png


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_write_png_is_lossless_and_deterministic(tmp_path: Path, dtype: type, quick: bool) -> None:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(3).integers(0, top, (31, 47), dtype=dtype, endpoint=True)

    write_png(tmp_path / "a.png", pixels, quick=quick)
    write_png(tmp_path / "b.png", pixels, quick=quick)

    film = read_film(tmp_path / "a.png")
    assert film.pixels.dtype == dtype
    np.testing.assert_array_equal(film.pixels, pixels)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), np.zeros((0, 2), np.uint8)]
)
def test_write_png_of_wrong_pixels_raises(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(InputContractError, match="write_png: pixels has shape"):
        write_png(tmp_path / "a.png", pixels)


def test_write_png_into_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(DataIntegrityError, match="cannot be written"):
        write_png(tmp_path / "none" / "a.png", np.zeros((2, 2), np.uint8))


def test_encode_jpeg_keeps_red_red(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255

    (tmp_path / "a.jpg").write_bytes(encode_jpeg(red))

    with Image.open(tmp_path / "a.jpg") as image:
        r, g, b = image.getpixel((8, 8))
    assert r > 240
    assert max(g, b) < 15


def test_encode_jpeg_of_wrong_pixels_raises() -> None:
    with pytest.raises(InputContractError, match="encode_jpeg: pixels has shape"):
        encode_jpeg(np.zeros((4, 4, 4), np.uint8))


def test_encode_layer_keeps_colour_and_opacity() -> None:
    layer = np.zeros((16, 16, 4), np.uint8)
    layer[..., 0], layer[..., 3] = 255, 128

    with Image.open(io.BytesIO(encode_layer(layer, 90))) as image:
        red, _, blue, opacity = image.getpixel((8, 8))
    assert (red > 230, blue < 25, opacity) == (True, True, 128)


def test_encode_layer_of_wrong_pixels_raises() -> None:
    with pytest.raises(InputContractError, match="encode_layer: pixels has shape"):
        encode_layer(np.zeros((4, 4, 3), np.uint8))


def test_to_data_uri_is_base64() -> None:
    assert to_data_uri(b"abc", "image/png") == "data:image/png;base64,YWJj"
