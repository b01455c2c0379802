"""What counts as colour of its own."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.dicoms import ENCODINGS, make_dicom
from covid_debug.imaging.colour import INK, compute_tint, read_tint

GRAY = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (50, 1))


def paint(film: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    painted = film.copy()
    painted[10:20, 10:25] = colour
    return painted


def test_gray_and_toned_films_have_no_tint() -> None:
    gray = np.dstack([GRAY] * 3)
    sepia = np.dstack([GRAY, (GRAY * 0.9).astype(np.uint8), (GRAY * 0.7).astype(np.uint8)])

    assert compute_tint(gray) is None
    assert compute_tint(sepia) is None


def test_coloured_ink_stands_out_of_gray_and_of_toned_films() -> None:
    for film in (np.dstack([GRAY] * 3), np.dstack([GRAY, GRAY, (GRAY * 0.8).astype(np.uint8)])):
        for colour in ((255, 0, 0), (0, 0, 255), (255, 255, 0), (0, 255, 0)):
            tint = compute_tint(paint(film, colour))

            assert tint is not None
            ink = tint >= INK
            assert ink[10:20, 10:25].all()
            assert ink.sum() == 150


def test_a_few_coloured_pixels_are_no_text() -> None:
    film = np.dstack([GRAY] * 3)
    film[5, 5:12] = (255, 0, 0)

    assert compute_tint(film) is None


def test_read_tint_asks_colour_files_alone(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    red = paint(np.dstack([GRAY] * 3), (255, 0, 0))
    Image.fromarray(red).save(tmp_path / "red.png", exif=exif)
    (tmp_path / "gray.dcm").write_bytes(make_dicom(GRAY, ENCODINGS[1]))
    (tmp_path / "rgb.dcm").write_bytes(make_dicom(GRAY, ENCODINGS[5]))

    tint = read_tint(tmp_path / "red.png")

    assert tint is not None
    assert tint.shape == (60, 50)  # as shown
    for name in ("gray.png", "gray.dcm", "rgb.dcm"):
        assert read_tint(tmp_path / name) is None
