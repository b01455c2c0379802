"""The second reader: decoding, crops, and reading of drawn text in every position."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from covid_debug.errors import CheckpointError, InputContractError
from covid_debug.imaging.boxes import to_polygon
from covid_debug.records import TextRegion
from covid_debug.text import recognition
from covid_debug.text.contents import build_content_reader
from covid_debug.text.recognition import Reader, ReaderParams, cut_upright, decode_steps


def region(x0: float, y0: float, x1: float, y1: float, **fields: str) -> TextRegion:
    return TextRegion(to_polygon((x0, y0, x1, y1)), 0.9, None, "test", **fields)


def draw(text: str, size: int = 40) -> np.ndarray:
    """Text in white on gray, with nothing around it."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 60)
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, fill=230, font=font)
    return np.asarray(canvas)


def place(patches: list[np.ndarray]) -> tuple[np.ndarray, list[TextRegion]]:
    """Patches on one film, one below the other, with their regions."""
    film = np.full((120 * len(patches) + 40, 500), 60, np.uint8)
    regions = []
    for index, patch in enumerate(patches):
        y, (high, wide) = 20 + 120 * index, patch.shape
        film[y : y + high, 30 : 30 + wide] = patch
        regions.append(region(30, y, 30 + wide, y + high))
    return film, regions


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def test_decode_steps_drops_blanks_and_repetitions():
    steps = np.zeros((7, 4), np.float32)
    for at, (character, score) in enumerate(
        [(0, 0.9), (1, 0.8), (1, 0.6), (0, 0.9), (1, 0.4), (2, 0.9), (3, 0.9)]
    ):
        steps[at, character] = score

    reading = decode_steps(steps, ["", "A", "P", " "])

    assert reading.content == "AAP"
    assert reading.score == pytest.approx((0.8 + 0.4 + 0.9 + 0.9) / 4)


def test_decode_steps_of_blanks_only_is_nothing():
    steps = np.zeros((5, 3), np.float32)
    steps[:, 0] = 1.0

    assert decode_steps(steps, ["", "A", "B"]) == recognition.Reading("", 0.0)


@pytest.mark.parametrize("text", ["R", "L", "PORTABLE", "AP SUPINE", "12:34"])
def test_reader_reads_plain_text(reader, text):
    film, regions = place([draw(text)])

    (read,) = reader.fill_in(regions, film)

    assert read.content == text
    assert read.polygon == regions[0].polygon


@pytest.mark.parametrize(
    "turn",
    [
        np.fliplr,
        lambda patch: np.rot90(patch, 1),
        lambda patch: np.rot90(patch, 2),
        lambda patch: np.rot90(patch, 3),
        lambda patch: np.rot90(np.fliplr(patch), 1),
    ],
    ids=["mirrored", "90", "180", "270", "90 mirrored"],
)
def test_reader_reads_turned_and_mirrored_letters(reader, turn):
    film, regions = place([np.ascontiguousarray(turn(draw(text))) for text in ("R", "ERECT")])

    assert [one.content for one in reader.fill_in(regions, film)] == ["R", "ERECT"]


def test_reader_reads_a_line_that_lies_aslant(reader):
    patch = draw("PORTABLE", 40)
    film = np.full((400, 400), 60, np.uint8)
    film[180 : 180 + patch.shape[0], 80 : 80 + patch.shape[1]] = patch
    turn = cv2.getRotationMatrix2D((200, 200), 25, 1.0)
    turned = cv2.warpAffine(film, turn, (400, 400), borderValue=60)
    box = np.array(to_polygon((80, 180, 80 + patch.shape[1], 180 + patch.shape[0])))
    corners = cv2.transform(box[None].astype(np.float32), turn)[0]
    slanted = TextRegion(tuple((float(x), float(y)) for x, y in corners), 0.9, None, "test")

    (read,) = reader.fill_in([slanted], turned)

    assert read.content == "PORTABLE"


def test_reader_leaves_annotations_and_illegible_regions_without_content(reader):
    film, regions = place([draw("R"), np.full((40, 40), 60, np.uint8)])
    arrow = region(30, 20, 60, 50, kind="annotation")

    read = reader.fill_in([arrow, *regions], film)

    assert [one.content for one in read] == [None, "R", None]
    assert read[0] is arrow


def test_reader_without_regions_loads_nothing(monkeypatch):
    monkeypatch.setattr(recognition, "find_weights", lambda: pytest.fail("loaded"))

    assert Reader().fill_in([], np.zeros((9, 9), np.uint8)) == ()


@pytest.mark.parametrize(
    "box", [(-20, -20, 5, 5), (95, 95, 140, 160), (50, 50, 50.2, 50.2), (0, 0, 100, 2)]
)
def test_crops_at_the_edge_and_of_no_size_can_be_read(reader, box):
    film = np.random.default_rng(0).integers(0, 255, (100, 100)).astype(np.uint8)

    assert min(cut_upright(region(*box), film).shape) >= 3
    assert len(reader.read([region(*box)], film)) == 1


def test_narrow_letter_is_cut_as_wide_as_high():
    film = np.zeros((100, 100), np.uint8)

    high, wide = cut_upright(region(40, 40, 50, 60), film).shape

    assert wide == high


def test_missing_network_names_the_remedy(monkeypatch):
    monkeypatch.setattr(recognition.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(CheckpointError, match=r"no recognition network.*read_content=false"):
        Reader().prepare()


def test_reader_params_out_of_range_are_refused():
    with pytest.raises(InputContractError, match="min_score is 2"):
        ReaderParams(min_score=2)


def test_content_reader_gives_content_and_kind():
    film, regions = place([draw("L"), draw("PORTABLE")])

    read = build_content_reader().complete(regions, film)

    assert [(one.content, one.kind) for one in read] == [
        ("L", "side_marker"),
        ("PORTABLE", "position"),
    ]


def test_content_reader_without_reading_keeps_what_the_detector_read():
    film, regions = place([draw("L")])

    (read,) = build_content_reader(read_content=False).complete(regions, film)

    assert (read.content, read.kind) == (None, "unknown")
