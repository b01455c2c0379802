"""What a model sees of a film does not change where cleaning changed nothing."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.data.ingest import ingest_covidx
from covid_debug.data.views import load_views
from covid_debug.imaging.geometry import ViewSpec, render_view, render_view_mask
from covid_debug.imaging.reading import FilmFile, read_film
from covid_debug.imaging.writing import write_png
from covid_debug.records import FilmRegions, TextRegion
from tests.films import write_dicom

SPEC = ViewSpec(image_size=32)
WIDTH, HEIGHT = 64, 72
BOX = (6, 30, 22, 40)
TEXT = TextRegion(((6, 30), (22, 30), (22, 40), (6, 40)), 0.9, None, "made")


def draw(seed: int, low: int, high: int, text: int, bits: int) -> np.ndarray:
    """Return a smooth film of gray values from low to high with stripes of another value."""
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, low, high, cv2.NORM_MINMAX)
    pixels = np.rint(smooth).astype(np.uint8 if bits == 8 else np.uint16)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2] : 3] = text
    return pixels


def write_png_film(path: Path, pixels: np.ndarray, bits: int) -> None:
    write_png(path, pixels)


def write_tiff_film(path: Path, pixels: np.ndarray, bits: int) -> None:
    Image.fromarray(pixels).save(path, format="TIFF")


def write_dicom_film(path: Path, pixels: np.ndarray, bits: int, **tags: object) -> None:
    write_dicom(path, pixels, BitsStored=bits, HighBit=bits - 1, **tags)


def write_negative(path: Path, pixels: np.ndarray, bits: int) -> None:
    write_dicom_film(path, pixels, bits, PhotometricInterpretation="MONOCHROME1")


def write_windowed(path: Path, pixels: np.ndarray, bits: int) -> None:
    quarter = 1 << (bits - 2)
    write_dicom_film(path, pixels, bits, WindowCenter=quarter, WindowWidth=2 * quarter)


WRITERS = {
    "png": write_png_film,
    "tiff": write_tiff_film,
    "monochrome2": write_dicom_film,
    "monochrome1": write_negative,
    "windowed": write_windowed,
}


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    low=st.floats(0.0, 0.4),
    high=st.floats(0.5, 1.0),
    text=st.floats(0.0, 1.0) | st.just(1.0),
    policy=st.sampled_from([{}, {"side_marker": "replace"}]),
)
def test_views_of_film_and_cleaned_copy_are_equal_outside_the_mask(
    kind, bits, seed, low, high, text, policy
):
    top = (1 << bits) - 1
    pixels = draw(seed, round(low * top), round(high * top), round(text * top), bits)
    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder) / "film", Path(folder) / "copy.png"
        WRITERS[kind](path, pixels, bits)
        original = read_film(path)
        cleaned = clean_film(original.pixels, [TEXT], CleaningParams(policy=policy))
        write_png(copy, cleaned.pixels)

        before = original.to_uint8()
        after = read_film(FilmFile(copy, window=original.window)).to_uint8()

    np.testing.assert_array_equal(before[~cleaned.mask], after[~cleaned.mask])
    seen = render_view_mask(cleaned.mask, SPEC)
    np.testing.assert_array_equal(render_view(before, SPEC)[~seen], render_view(after, SPEC)[~seen])


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_load_views_of_a_cleaned_set_equal_the_ingested_ones_outside_the_text(kind, bits, tmp_path):
    lines = []
    for split in ("train", "test"):
        (tmp_path / "covidx" / split).mkdir(parents=True)
        for index, label in enumerate(("normal", "pneumonia", "COVID-19") * 2):
            top = (1 << bits) - 1
            seed = 6 * (split == "test") + index
            pixels = draw(seed, top // 50, top // 4, top, bits)  # the text is the brightest
            WRITERS[kind](tmp_path / "covidx" / split / f"{index}.png", pixels, bits)
            lines.append((split, f"{split}{index} {index}.png {label} cohen\n"))
    for split in ("train", "test"):
        text = "".join(line for name, line in lines if name == split)
        (tmp_path / f"{split}.txt").write_text(text)
    lists = tmp_path / "train.txt", tmp_path / "test.txt"
    films = ingest_covidx(tmp_path / "covidx", *lists, tmp_path / "set", seed=0)
    regions = {f.image_id: FilmRegions(f.image_id, WIDTH, HEIGHT, (TEXT,)) for f in films.films}

    cleaned = clean_filmset(films, regions, CleaningParams(), tmp_path / "clean")

    before = load_views(films, films.films, SPEC, tmp_path / "cache")
    after = load_views(cleaned, cleaned.films, SPEC, tmp_path / "cache")
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[BOX[1] - 8 : BOX[3] + 8, : BOX[2] + 8] = True
    far = ~render_view_mask(mask, SPEC)
    assert len(films.films) == 12
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(before[:, far], after[:, far])
