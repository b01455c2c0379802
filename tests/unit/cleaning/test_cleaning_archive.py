"""Films of a folder, each into a file of its kind; with a detector that sees bright boxes."""

import dataclasses
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image

from benchmarks.dicoms import ENCODINGS, Encoding, change, make_dicom
from covid_debug.cleaning import archive
from covid_debug.cleaning.archive import (
    MANIFEST_NAME,
    SETTINGS_NAME,
    clean_archive,
)
from covid_debug.cleaning.archive_film import ArchiveFilm, ArchiveParams
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.cleaning.hidden import mask_hidden
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.imaging.boxes import area_of
from covid_debug.imaging.dicom import DicomFilm
from covid_debug.imaging.jpeg import read_quantisation
from covid_debug.imaging.pictures import PictureFilm
from covid_debug.imaging.reading import read_film
from covid_debug.records import TextRegion
from covid_debug.records_json import read_lines
from covid_debug.text.base import RegionDetector
from covid_debug.text.finder import Finder
from covid_debug.text.screening import Gray

BOXES = CleaningParams(mask_shape="box", dilation_px=2)
PLAIN = ArchiveParams(BOXES)


@dataclass(frozen=True)
class NoParams:
    pass


class BrightBoxes(RegionDetector):
    """Takes every larger piece of film above 240 for text."""

    name = "bright"
    params = NoParams()
    max_area_share = 1.0
    min_edge = 0.0

    def prepare(self) -> None:
        """Nothing to load."""

    def _find(self, image: Gray) -> Sequence[TextRegion]:
        n_pieces, _, stats, _ = cv2.connectedComponentsWithStats((image > 240).astype(np.uint8))
        found = []
        for left, top, wide, high, area in stats[1:n_pieces]:
            if area < 20:
                continue
            right, low = left + wide, top + high
            corners = ((left, top), (right, top), (right, low), (left, low))
            found.append(TextRegion(corners, 0.9, None, self.name))
        return found


def draw(*, text: bool = True) -> np.ndarray:
    film = np.full((60, 70), 100, np.uint8)
    film[20:50, 10:60] = 140
    film[59, 69], film[59, 0] = 255, 0  # what is shown white and black stays so without text
    if text:
        film[5:12, 8:20] = 250
    return film


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def run(place: Path, out: Path, params: ArchiveParams = PLAIN) -> dict[str, ArchiveFilm]:
    result = clean_archive([place], out, Finder(BrightBoxes()), params)
    written = read_lines(out / MANIFEST_NAME, ArchiveFilm, broken="is broken", remedy="none")
    assert written == result.films
    return {film.film: film for film in result.films}


def test_films_keep_place_and_format_and_what_has_no_text_its_bytes(tmp_path: Path) -> None:
    place = tmp_path / "in"
    save(place / "a b" / "ü.png", draw())
    plain = save(place / "none.jpg", draw(text=False))
    (place / "notes.txt").write_text("no film")
    (place / "scan").write_bytes(make_dicom(draw(), ENCODINGS[1]))

    films = run(place, tmp_path / "out")

    assert {name: film.outcome for name, film in films.items()} == {
        "a b/ü.png": "cleaned",
        "none.jpg": "copied",
        "scan": "cleaned",
    }
    assert (tmp_path / "out" / "none.jpg").read_bytes() == plain.read_bytes()
    one = films["a b/ü.png"]
    assert 7 * 12 <= one.n_changed <= one.n_masked <= 11 * 16
    assert one.n_changed_outside == 0
    assert one.regions[0].box == (8, 5, 20, 12)
    assert one.regions[0].action == "removed"
    assert read_film(tmp_path / "out" / "a b" / "ü.png").pixels[:50].max() == 140
    assert one.sha256_out == read_film(tmp_path / "out" / "a b" / "ü.png").sha256
    assert films["scan"].uid != films["scan"].uid_out
    after = pydicom.dcmread(tmp_path / "out" / "scan")
    assert after.BurnedInAnnotation == "NO"
    assert after.SOPInstanceUID == films["scan"].uid_out
    assert "1 regions of burned-in text replaced" in after.DerivationDescription


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda one: one.name)
def test_dicom_of_every_encoding_differs_under_the_mask_alone(
    tmp_path: Path, encoding: object
) -> None:
    data = make_dicom(draw(), encoding)  # type: ignore[arg-type]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(data)

    film = run(tmp_path / "in", tmp_path / "out")["a.dcm"]

    assert film.outcome == "cleaned", film.reason
    written = (tmp_path / "out" / "a.dcm").read_bytes()
    before, after = DicomFilm(data, "a").planes, DicomFilm(written, "b").planes
    allowed = np.zeros(before.shape[:2], np.bool_)
    allowed[2:15, 5:23] = True
    np.testing.assert_array_equal(after[~allowed], before[~allowed])
    shown = read_film(tmp_path / "out" / "a.dcm").to_uint8()
    assert shown[5:12, 8:20].astype(int).max() - shown[16:18, 8:20].astype(int).max() < 40


class SmallBoxes(BrightBoxes):
    """Takes small pieces alone."""

    def _find(self, image: Gray) -> Sequence[TextRegion]:
        return [one for one in super()._find(image) if area_of(one.box) < 200]


@pytest.mark.parametrize("end", ["bright", "dark"])
def test_text_that_the_window_hides_is_removed(tmp_path: Path, end: str) -> None:
    ground, ink = (200, 255) if end == "bright" else (20, 60)
    film = draw(text=False)
    film[2:18, 4:30], film[5:12, 8:20] = ground, ink
    stored = make_dicom(film, ENCODINGS[1])
    values = DicomFilm(stored, "a").planes[..., 0].astype(int)
    low, high = (0, values[3, 5]) if end == "bright" else (values[8, 10], 4095)

    def narrow(dataset: pydicom.Dataset) -> None:
        dataset.WindowCenter, dataset.WindowWidth = str((low + high) / 2), str(high - low)

    path = tmp_path / "in" / "a.dcm"
    path.parent.mkdir()
    path.write_bytes(change(stored, narrow))
    assert np.ptp(read_film(path).to_uint8()[3:14, 6:22].astype(int)) <= 1

    finder = Finder(SmallBoxes())
    (cleaned,) = clean_archive([path.parent], tmp_path / "out", finder, PLAIN).films

    assert cleaned.outcome == "cleaned", cleaned
    after = DicomFilm((tmp_path / "out" / "a.dcm").read_bytes(), "a").planes[..., 0].astype(int)
    assert (after != values)[5:12, 8:20].all()
    assert cleaned.n_changed_outside == 0


def test_the_place_of_hidden_text_grows_with_the_film() -> None:
    film = np.full((1280, 900), 100, np.uint8)
    region = TextRegion(((100, 60), (160, 60), (160, 90), (100, 90)), 0.9, None, "made")
    cleaned = clean_film(film, (region,), PLAIN.cleaning)

    mask = mask_hidden((region,), cleaned, PLAIN.cleaning)

    growth = 2 * PLAIN.cleaning.dilation_px
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1) == (60 - growth, 90 + growth)
    assert (columns.min(), columns.max() + 1) == (100 - growth, 160 + growth)


def test_colour_stays_and_every_channel_is_filled(tmp_path: Path) -> None:
    rgb = np.dstack([draw(), draw() // 2, draw() // 4])
    rgb[5:12, 8:20] = 250
    save(tmp_path / "in" / "a.png", rgb)

    film = run(tmp_path / "in", tmp_path / "out")["a.png"]

    assert film.outcome == "cleaned"
    filled = np.asarray(Image.open(tmp_path / "out" / "a.png"))[8, 12].astype(int)
    np.testing.assert_allclose(filled, [100, 50, 25], atol=2)


def test_a_letter_that_only_its_colour_shows_is_removed(tmp_path: Path) -> None:
    rgb = np.full((60, 70, 3), 76, np.uint8)
    rgb[20:50, 10:60] = 140
    rgb[5:12, 8:20] = (255, 0, 0)  # as gray as what is around it
    save(tmp_path / "in" / "a.png", rgb)

    film = run(tmp_path / "in", tmp_path / "out")["a.png"]

    assert [region.box for region in film.regions] == [(8, 5, 20, 12)]
    after = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.ptp(after[..., 0].astype(int) - after[..., 1]) == 0


def test_exif_orientation_turns_the_mask_with_the_film(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "in" / "a.png", draw(), exif=exif)

    film = run(tmp_path / "in", tmp_path / "out")["a.png"]

    assert film.regions[0].box == (48, 8, 55, 20)
    after = Image.open(tmp_path / "out" / "a.png")
    assert np.asarray(after)[:50].max() == 140
    assert after.getexif()[0x0112] == 6


def test_jpeg_keeps_its_format_and_says_what_moved_or_becomes_png(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.jpg", draw(), quality=60)

    coded = run(tmp_path / "in", tmp_path / "out")["a.jpg"]
    exact = run(tmp_path / "in", tmp_path / "png", ArchiveParams(BOXES, jpeg="png"))["a.jpg"]

    assert (coded.output, coded.coding_out) == ("a.jpg", "JPEG")
    before = PictureFilm((tmp_path / "in" / "a.jpg").read_bytes(), "a").planes
    after = PictureFilm((tmp_path / "out" / "a.jpg").read_bytes(), "b").planes
    assert coded.n_changed == np.count_nonzero(before != after)
    assert (exact.output, exact.coding_out, exact.n_changed_outside) == ("a.png", "PNG", 0)


def test_a_transplant_is_coded_as_the_jpeg_film_was(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 6, (96, 96))
    pixels = np.clip(120 + noise, 2, 190).astype(np.uint8)
    pixels[0, 0], pixels[0, 95], pixels[40:48, 40:56] = 0, 255, 250
    path = save(tmp_path / "in" / "gray.jpg", pixels, quality=40)
    cleaning = CleaningParams(method="transplant", dilation_px=1, mask_shape="box")

    films = run(tmp_path / "in", tmp_path / "out", ArchiveParams(cleaning=cleaning, jpeg="png"))

    image = read_film(path)
    regions = Finder(BrightBoxes()).find(image, None)
    table = read_quantisation(path)
    expected = clean_film(image.pixels, regions, cleaning, table=table).pixels
    plain = clean_film(image.pixels, regions, cleaning).pixels
    written = np.asarray(Image.open(tmp_path / "out" / films["gray.jpg"].output))
    assert table is not None
    np.testing.assert_array_equal(written, expected)
    assert not np.array_equal(expected, plain)


def test_bad_films_are_refused_by_name_and_the_others_go_on(tmp_path: Path) -> None:
    place = tmp_path / "in"
    save(place / "good.png", draw())
    dicom = make_dicom(draw(), ENCODINGS[1])
    bad = {
        "cut.png": (place / "good.png").read_bytes()[:-30],
        "empty.png": b"",
        "cut.dcm": dicom[:3000],
        "frames.dcm": change(dicom, lambda one: setattr(one, "NumberOfFrames", 2)),
        "palette.dcm": change(
            dicom, lambda one: setattr(one, "PhotometricInterpretation", "PALETTE COLOR")
        ),
        "bare.dcm": change(dicom, lambda one: one.__delitem__("PixelData")),
        "bits.dcm": change(dicom, lambda one: setattr(one, "HighBit", 15)),
        "codes.dcm": change(dicom, lambda one: one.add_new(0x00120064, "LO", "no sequence")),
        "frames-2.dcm": change(dicom, lambda one: one.add_new(0x00280008, "IS", ["1", "1"])),
    }
    for name, content in bad.items():
        (place / name).write_bytes(content)
    (place / "link.png").symlink_to(place / "nowhere.png")
    (place / "latin\udce9.png").write_bytes((place / "good.png").read_bytes())

    films = run(place, tmp_path / "out")

    assert films.pop("good.png").outcome == "cleaned"
    assert set(films) == {*bad, "link.png", "latin\\xe9.png"}
    for film in films.values():
        assert film.outcome == "refused"
        assert film.reason
        assert "\n" not in film.reason
    written = [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."]
    assert sorted(written) == [SETTINGS_NAME, "good.png", MANIFEST_NAME]


@pytest.mark.parametrize("encoding", ENCODINGS[:7], ids=lambda one: one.name)
def test_a_film_without_file_meta_information_gets_some(tmp_path: Path, encoding: Encoding) -> None:
    whole = make_dicom(draw(), encoding)
    meta = pydicom.dcmread(io.BytesIO(whole)).file_meta
    if meta.TransferSyntaxUID.is_deflated:
        pytest.skip("what is deflated needs its file meta information")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scan").write_bytes(whole[144 + meta.FileMetaInformationGroupLength :])

    film = run(tmp_path / "in", tmp_path / "out")["scan"]

    assert film.outcome == "cleaned", film.reason
    after = pydicom.dcmread(tmp_path / "out" / "scan")
    assert after.file_meta.TransferSyntaxUID == meta.TransferSyntaxUID
    before = pydicom.dcmread(io.BytesIO(whole)).pixel_array
    np.testing.assert_array_equal(after.pixel_array[20:], before[20:])


def test_links_to_films_are_followed_and_the_film_stays_as_it_was(tmp_path: Path) -> None:
    film = save(tmp_path / "else" / "a.png", draw())
    content = film.read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(film)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")

    assert set(run(tmp_path / "in", tmp_path / "out")) == {"b.png"}

    assert not (tmp_path / "out" / "b.png").is_symlink()
    assert film.read_bytes() == content


def test_a_killed_run_goes_on_and_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png", draw())
    whole = run(tmp_path / "in", tmp_path / "whole")
    done = []

    def die(job: archive.ArchiveJob) -> ArchiveFilm:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.name)
        return work(job)

    work = archive._work
    monkeypatch.setattr(archive, "_work", die)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", tmp_path / "out")
    with (tmp_path / "out" / MANIFEST_NAME).open("a") as stream:
        stream.write('{"film": "c.png", "outco')  # torn by the kill
    monkeypatch.setattr(archive, "_work", work)

    result = clean_archive([tmp_path / "in"], tmp_path / "out", Finder(BrightBoxes()), PLAIN)

    assert result.n_before == 2
    assert {film.film: film for film in result.films} == whole
    for name in ("a.png", "c.png", MANIFEST_NAME):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_second_start_takes_new_changed_lost_and_refused_films(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name, draw())
    (tmp_path / "in" / "d.png").write_bytes(b"")
    run(tmp_path / "in", tmp_path / "out")
    save(tmp_path / "in" / "a.png", draw(text=False))
    (tmp_path / "out" / "b.png").unlink()
    save(tmp_path / "in" / "d.png", draw())
    save(tmp_path / "in" / "e.png", draw())

    result = clean_archive([tmp_path / "in"], tmp_path / "out", Finder(BrightBoxes()), PLAIN)

    assert result.n_before == 1
    assert [film.outcome for film in result.films] == ["copied", *["cleaned"] * 4]
    assert len((tmp_path / "out" / MANIFEST_NAME).read_text().splitlines()) == 5


def test_what_an_earlier_start_wrote_of_a_film_now_refused_goes(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", draw())
    save(tmp_path / "in" / "b.png", draw())
    run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "a.png").write_bytes(b"damaged")

    films = run(tmp_path / "in", tmp_path / "out")

    assert films["a.png"].outcome == "refused"
    assert not (tmp_path / "out" / "a.png").exists()
    assert (tmp_path / "out" / "b.png").exists()


@pytest.mark.parametrize(
    "record",
    [
        {"film": "a.png"},
        {"film": "a.png", "outcome": "copied", "output": "../in/a.png"},
    ],
    ids=["not a record", "another place"],
)
def test_a_manifest_that_was_edited_counts_for_nothing(
    tmp_path: Path, record: dict[str, str]
) -> None:
    path = save(tmp_path / "in" / "a.png", draw())
    run(tmp_path / "in", tmp_path / "out")
    sha256 = read_film(path).sha256
    line = json.dumps({**record, "sha256": sha256, "sha256_out": sha256})
    (tmp_path / "out" / MANIFEST_NAME).write_text(f"{line}\n")

    films = run(tmp_path / "in", tmp_path / "out")

    assert films["a.png"].outcome == "cleaned"
    assert films["a.png"].output == "a.png"


@pytest.mark.parametrize("name", [MANIFEST_NAME, SETTINGS_NAME, ".run.lock"])
def test_a_film_called_like_a_file_of_the_output_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(make_dicom(draw(), ENCODINGS[1]))

    with pytest.raises(InputContractError, match="rename the film"):
        run(tmp_path / "in", tmp_path / "out")


def test_an_output_that_can_be_no_folder_is_one_line(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", draw())
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "below")

    for out in (tmp_path / "file" / "out", tmp_path / "link"):
        with pytest.raises(ArtifactError, match="cannot be a folder of results"):
            run(tmp_path / "in", out)


@dataclass(frozen=True)
class Named:
    """Stands for the reader of contents: says what each region says, left to right."""

    contents: tuple[tuple[str, str], ...]
    params = ()

    def complete(self, regions: Sequence[TextRegion], image: Gray) -> tuple[TextRegion, ...]:
        """Return the regions with what they say."""
        del image
        said = zip(sorted(regions, key=lambda one: one.box), self.contents, strict=True)
        return tuple(
            dataclasses.replace(one, content=content, kind=kind)  # type: ignore[arg-type]
            for one, (content, kind) in said
        )


class TwoBoxes(BrightBoxes):
    """Takes two places of every picture for text."""

    def _find(self, image: Gray) -> Sequence[TextRegion]:
        del image
        return [
            TextRegion(((left, 5), (right, 5), (right, 12), (left, 12)), 0.9, None, self.name)
            for left, right in ((8, 20), (40, 60))
        ]


def draw_two() -> np.ndarray:
    film = draw(text=False)
    film[5:12, 8:20] = film[5:12, 40:60] = 250
    return film


NAME = Named((("R", "side_marker"), ("DOE, JOHN", "identity")))


def test_no_name_stands_in_the_manifest_or_the_header(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(make_dicom(draw_two(), ENCODINGS[1]))

    finder = Finder(BrightBoxes(), NAME)  # type: ignore[arg-type]
    film = clean_archive([tmp_path / "in"], tmp_path / "out", finder, PLAIN).films[0]

    assert [(one.kind, one.content) for one in film.regions] == [
        ("side_marker", "R"),
        ("identity", None),
    ]
    for name in (MANIFEST_NAME, "a.dcm"):
        assert b"DOE" not in (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize(
    ("policy", "is_clean"), [({"side_marker": "keep"}, True), ({"identity": "keep"}, False)]
)
def test_a_header_claims_clean_pixels_only_where_no_name_was_left(
    tmp_path: Path, policy: dict[str, str], is_clean: bool
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(make_dicom(draw_two(), ENCODINGS[1]))
    params = ArchiveParams(CleaningParams(mask_shape="box", policy=policy))  # type: ignore[arg-type]

    finder = Finder(BrightBoxes(), NAME)  # type: ignore[arg-type]
    clean_archive([tmp_path / "in"], tmp_path / "out", finder, params)

    after = pydicom.dcmread(tmp_path / "out" / "a.dcm")
    assert ("BurnedInAnnotation" in after) == is_clean
    assert ("DeidentificationMethodCodeSequence" in after) == is_clean


def test_coloured_text_that_is_kept_keeps_its_colour(tmp_path: Path) -> None:
    before = np.stack([draw_two()] * 3, axis=2)
    before[5:12, 8:20] = (255, 0, 0)
    save(tmp_path / "in" / "a.png", before)
    keep = CleaningParams(mask_shape="box", dilation_px=2, policy={"side_marker": "keep"})

    finder = Finder(TwoBoxes(), NAME)  # type: ignore[arg-type]
    film = clean_archive([tmp_path / "in"], tmp_path / "out", finder, ArchiveParams(keep)).films[0]

    after = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert [one.action for one in film.regions] == ["kept", "removed"]
    np.testing.assert_array_equal(after[:, :30], before[:, :30])
    assert (after[5:12, 40:60] < 200).all()


def test_output_and_input_are_kept_apart(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", draw())
    (tmp_path / "link").symlink_to(tmp_path / "in")

    for out in (tmp_path / "in", tmp_path / "in" / "x", tmp_path / "link" / "x"):
        with pytest.raises(InputContractError, match="lies inside the input"):
            run(tmp_path / "in", out)
    with pytest.raises(InputContractError, match="holds the input"):
        run(tmp_path / "in", tmp_path)
    save(tmp_path / "other" / "a.png", draw())
    with pytest.raises(ArtifactError, match="already exists; nothing is overwritten"):
        run(tmp_path / "in", tmp_path / "other")


def test_a_folder_cleaned_otherwise_is_not_mixed(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", draw())
    run(tmp_path / "in", tmp_path / "out")

    with pytest.raises(ArtifactError, match="were cleaned otherwise"):
        run(tmp_path / "in", tmp_path / "out", ArchiveParams(BOXES, jpeg="png"))


def test_several_folders_and_films_of_one_name(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.png", draw())
    save(tmp_path / "y" / "a.png", draw())
    out = tmp_path / "out"

    result = clean_archive([tmp_path / "x", tmp_path / "y"], out, Finder(BrightBoxes()), PLAIN)

    assert [film.film for film in result.films] == ["x/a.png", "y/a.png"]
    with pytest.raises(InputContractError, match=r"would both be written as a\.png"):
        clean_archive(
            [tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"],
            tmp_path / "two",
            Finder(BrightBoxes()),
            PLAIN,
        )
    save(tmp_path / "x" / "a.jpg", draw())
    with pytest.raises(InputContractError, match=r"would both be written as a\.png"):
        run(tmp_path / "x", tmp_path / "png", ArchiveParams(BOXES, jpeg="png"))


def test_overlays_are_refused_or_cleared_even_without_text(tmp_path: Path) -> None:
    def lay(one: pydicom.Dataset) -> None:
        one.add_new(0x60000010, "US", 60)
        one.add_new(0x60000011, "US", 70)
        one.add_new(0x60003000, "OW", b"\1\0" * 263)

    (tmp_path / "in").mkdir()
    data = change(make_dicom(draw(text=False), ENCODINGS[1]), lay)
    (tmp_path / "in" / "a.dcm").write_bytes(data)

    refused = run(tmp_path / "in", tmp_path / "out")["a.dcm"]
    cleared = run(tmp_path / "in", tmp_path / "clear", ArchiveParams(BOXES, "clear"))["a.dcm"]
    kept = run(tmp_path / "in", tmp_path / "keep", ArchiveParams(BOXES, "keep"))["a.dcm"]

    assert "--overlays clear" in refused.reason
    assert (cleared.outcome, cleared.n_changed) == ("cleaned", 0)
    after = pydicom.dcmread(tmp_path / "clear" / "a.dcm")
    assert not any(element.tag.group == 0x6000 for element in after)
    assert (kept.outcome, kept.warnings) == ("copied", ("an overlay plane stays",))


def test_a_header_that_claims_text_is_a_warning_where_none_was_found(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = make_dicom(draw(text=False), ENCODINGS[1], BurnedInAnnotation="YES")
    (tmp_path / "in" / "a.dcm").write_bytes(data)

    film = run(tmp_path / "in", tmp_path / "out")["a.dcm"]

    assert film.outcome == "copied"
    assert "header says that annotation is burned in" in film.warnings[0]
    assert (tmp_path / "out" / "a.dcm").read_bytes() == data


def test_uniform_marker_is_drawn_in_the_values_shown_black_and_white(tmp_path: Path) -> None:
    negative = next(one for one in ENCODINGS if one.photometric == "MONOCHROME1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(make_dicom(draw(), negative))
    params = ArchiveParams(CleaningParams(uniform_marker=True, mask_shape="box"))

    film = run(tmp_path / "in", tmp_path / "out", params)["a.dcm"]

    assert film.outcome == "cleaned"
    assert any("by convention" in warning for warning in film.warnings)
    shown = read_film(tmp_path / "out" / "a.dcm").to_uint8()
    assert shown[5:12, 14:20].max() < 220
    assert (shown[:12] == 255).any()


def test_a_marker_on_a_film_without_text_is_what_its_header_says(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(make_dicom(draw(text=False), ENCODINGS[1]))
    marked = CleaningParams(mask_shape="box", policy={"side_marker": "replace"})

    run(tmp_path / "in", tmp_path / "out", ArchiveParams(marked))

    said = pydicom.dcmread(tmp_path / "out" / "a.dcm").DerivationDescription
    assert said == "covid_debug: a uniform marker drawn; all other pixels unchanged"


def test_disk_errors_surface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in" / "a.png", draw())

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", fail)

    with pytest.raises(ArtifactError, match="cannot be written"):
        run(tmp_path / "in", tmp_path / "out")


def test_what_is_read_back_must_be_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "a.png", draw())
    wrong = io.BytesIO()
    Image.fromarray(draw()).save(wrong, "PNG")
    monkeypatch.setattr(PictureFilm, "encode", lambda *_: wrong.getvalue())

    film = run(tmp_path / "in", tmp_path / "out")["a.png"]

    assert film.outcome == "refused"
    assert "read back" in film.reason
    assert not (tmp_path / "out" / "a.png").exists()


def test_an_unknown_choice_is_named() -> None:
    with pytest.raises(InputContractError, match="overlays is 'drop'"):
        ArchiveParams(BOXES, "drop")  # type: ignore[arg-type]
