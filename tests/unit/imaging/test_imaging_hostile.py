"""Damaged and lying films: each is a film, or one line that names it; never anything else."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.dicoms import ENCODINGS, make_dicom
from benchmarks.hostile.damage import draw_film
from benchmarks.hostile.films import KINDS
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.colour import read_tint
from covid_debug.imaging.damage import damage_named
from covid_debug.imaging.dicom import DicomFilm
from covid_debug.imaging.dicom_files import is_dicom, read_view
from covid_debug.imaging.jpeg import read_quantisation
from covid_debug.imaging.pictures import PictureFilm
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.stored import Derivation
from tests.films import write_dicom

LARGE = {"PNG: bomb", "JPEG: size that lies", "DICOM: compressed frame damaged"}
"""Left to `make test-slow`: seconds each."""
DRAW = random.Random(0)


def handle(path: Path) -> None:
    """Do all that any command does with a film's file."""
    read_film(path)
    read_tint(path)
    read_quantisation(path)
    data = path.read_bytes()
    film = DicomFilm(data, str(path)) if is_dicom(path) else PictureFilm(data, str(path))
    planes = film.planes.copy()
    planes[:4, :4] = film.top // 2
    film.encode(planes, Derivation("changed"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - LARGE))
def test_a_hostile_film_is_read_or_refused_on_one_line(
    kind: str, seed: int, tmp_path: Path
) -> None:
    suffix, make = KINDS[kind]
    path = tmp_path / f"film{suffix}"
    path.write_bytes(make(random.Random(seed)))
    try:
        handle(path)
    except DataIntegrityError as error:
        said = str(error)
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        assert "Traceback" not in said


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(KINDS["JPEG: thousands of scans"][1](DRAW))

    with pytest.raises(DataIntegrityError, match=r"in 20\d\d scans; expected at most 100; replace"):
        read_film(path)


def test_a_progressive_jpeg_as_programs_write_it_is_read(tmp_path: Path) -> None:
    Image.fromarray(draw_film(DRAW)).convert("RGB").save(tmp_path / "a.jpg", progressive=True)

    assert read_film(tmp_path / "a.jpg").encoding == "jpeg-RGB"


def test_a_deflated_dicom_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(KINDS["DICOM: deflated bomb"][1](DRAW))

    with pytest.raises(DataIntegrityError, match="unpacks to more than 320 MB"):
        read_film(path)
    assert read_view(path) == ""


def test_a_deflated_dicom_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    deflated = next(one for one in ENCODINGS if one.name == "deflated-12-signed")
    data = make_dicom(draw_film(DRAW), deflated)
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    assert read_film(path).pixels.shape == (192, 192)
    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(DataIntegrityError, match=r"a\.dcm: cannot be decoded"):
        read_film(path)


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"RescaleSlope": "nan", "RescaleIntercept": "0"},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_tables_beyond_all_numbers_are_refused(tmp_path: Path, tags: dict[str, str]) -> None:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)

    path = write_dicom(tmp_path / "a.dcm", pixels, **tags)

    with pytest.raises(DataIntegrityError, match="tables or windows beyond all numbers"):
        read_film(path)


@pytest.mark.parametrize("content", [b"", b"no film", b"\0" * 500, b"\0" * 128 + b"DICM\xff" * 9])
@pytest.mark.filterwarnings("ignore")
def test_the_view_of_no_dicom_is_unknown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(content)

    assert read_view(tmp_path / "a.dcm") == ""


def test_broken_exif_is_one_line_where_it_cannot_be_kept(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(draw_film(DRAW)).save(stream, "JPEG", exif=b"Exif\0\0no TIFF header here")
    film = PictureFilm(stream.getvalue(), "a.jpg")

    with pytest.raises(DataIntegrityError, match=r"^a\.jpg: cannot be written as JPEG .*replace"):
        film.encode(film.planes, Derivation("changed"))


@pytest.mark.parametrize("name", ["a\nb.png", "\x1b[2J.png", "a\u202egnp.exe.png", "a\x9b.png"])
def test_a_name_that_acts_is_refused_in_printable_characters(tmp_path: Path, name: str) -> None:
    Image.fromarray(draw_film(DRAW)).save(tmp_path / name)

    with pytest.raises(DataIntegrityError, match=r"control characters .*; rename") as caught:
        read_film(tmp_path / name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("error", [zlib.error(), struct.error(), RecursionError(), KeyError()])
def test_what_damage_raises_names_the_film(error: Exception) -> None:
    with pytest.raises(DataIntegrityError, match=r"^a: cannot be decoded"), damage_named("a"):
        raise error


def test_a_fault_of_ours_is_not_taken_for_damage() -> None:
    with pytest.raises(AssertionError), damage_named("a.png"):
        raise AssertionError


def test_sequences_deeper_than_a_writer_goes_are_refused() -> None:
    data = next(
        data
        for data in (KINDS["DICOM: sequences in sequences"][1](random.Random(n)) for n in range(99))
        if 60 <= data.count(b"SQ") < 300
    )

    with pytest.raises(DataIntegrityError, match=r"^a\.dcm: .*sequences in sequences, 32 times"):
        DicomFilm(data, "a.dcm")
