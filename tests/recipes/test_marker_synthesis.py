"""Training samples: targets lie where the letters are, and seeds decide everything."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from recipes.marker_detector.annotations import draw_annotation, to_target
from recipes.marker_detector.backgrounds import Background, OwnText, load_backgrounds
from recipes.marker_detector.blending import blend
from recipes.marker_detector.clutter import draw_clutter
from recipes.marker_detector.glyphs import draw_mark, find_fonts
from recipes.marker_detector.synthesis import _crop, _emphasis, _hills, render_sample

FLAT = Background(np.full((300, 320), 60, np.uint8), (), ())


@pytest.fixture(scope="module")
def fonts() -> list[Path]:
    found = find_fonts([Path(matplotlib.get_data_path()) / "fonts" / "ttf"])
    assert found
    return found


def test_same_seed_same_sample(fonts: list[Path]) -> None:
    first, second = (render_sample([FLAT], fonts, np.random.default_rng(4)) for _ in range(2))

    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.characters, second.characters)


def test_targets_are_in_range_and_hills_lie_in_areas(fonts: list[Path]) -> None:
    n_text = 0
    for seed in range(30):
        sample = render_sample([FLAT], fonts, np.random.default_rng(seed))
        assert sample.pixels.shape == (256, 256)
        assert sample.pixels.dtype == np.uint8
        assert sample.characters.shape == sample.areas.shape == (128, 128)
        assert 0 <= sample.characters.min() <= sample.characters.max() <= 1
        assert set(np.unique(sample.areas)) <= {0.0, 1.0}
        tops = sample.characters > 0.9
        if tops.any():
            n_text += 1
            assert sample.areas[tops].mean() > 0.9
    assert n_text > 15


def test_own_text_is_a_target_and_ignored_boxes_have_no_weight(fonts: list[Path]) -> None:
    box = (100.0, 100.0, 160.0, 120.0)
    film = Background(np.full((300, 320), 60, np.uint8), (OwnText(box, 3),), ())
    unknown = Background(film.pixels, (), ((0.0, 0.0, 320.0, 300.0),))

    has_target = [
        render_sample([film], fonts, np.random.default_rng(s)).areas.any() for s in range(12)
    ]
    without_weight = render_sample([unknown], fonts, np.random.default_rng(0))

    assert np.mean(has_target) > 0.7
    assert not without_weight.weights.any()
    assert not without_weight.areas.any()


@pytest.mark.parametrize("cut_px", [0, 12, 24])
def test_hill_of_a_cut_character_stands_on_what_is_left_of_it(cut_px: int) -> None:
    quad = np.array([(0, 0), (24, 0), (24, 32), (0, 32)], np.float32)

    hills = _hills([quad + np.array([-cut_px, 112], np.float32)], 128)

    if cut_px == 24:  # nothing is left
        assert not hills.any()
        return
    row, column = np.unravel_index(np.argmax(hills), hills.shape)
    assert hills.max() > 0.9
    # Output pixels are two film pixels wide, and the width is at least half of the height.
    assert (row, column) == pytest.approx((64, (24 - cut_px) / 4), abs=1)


def test_crops_dwell_on_hard_negatives() -> None:
    pixels = np.full((300, 1500), 60, np.uint8)
    pixels[130:160, 300:330] = 255
    film = Background(pixels, hard=((300.0, 130.0, 330.0, 160.0),))

    n_dwelling, n_plain = (
        sum(int(_crop(shown, np.random.default_rng(seed)).pixels.max() > 200) for seed in range(40))
        for shown in (film, Background(pixels))
    )

    assert n_dwelling > n_plain + 8


def test_real_arrow_is_a_target_along_its_outline(tmp_path: Path, fonts: list[Path]) -> None:
    pixels = np.full((300, 300), 60, np.uint8)
    cv2.arrowedLine(pixels, (150, 180), (150, 120), 250, 6)
    cv2.imwrite(str(tmp_path / "film.png"), pixels)
    listing = tmp_path / "listing.json"
    listing.write_text('{"film.png": {"annotation": [[135, 115, 166, 184]]}}', encoding="utf-8")

    (film,) = load_backgrounds(tmp_path, listing)
    (outline,) = film.annotated
    drawn = np.zeros_like(pixels)
    cv2.fillPoly(drawn, [np.round(outline - 0.5).astype(np.int32)], 255)

    assert np.mean((drawn > 0) == (pixels > 150)) > 0.995
    shares = [
        render_sample([film], fonts, np.random.default_rng(seed)).annotations.mean()
        for seed in range(8)
    ]
    assert min(shares) > 0


def test_given_contrast_is_laid_on_softly() -> None:
    film, ink = np.full((20, 20), 100, np.float32), np.zeros((20, 20), np.float32)
    ink[5:10, 5:10] = 1

    rng = np.random.default_rng(0)
    blended = blend(film, ink, rng, dark_share=0.5, contrast=20)
    bright = blend(film + 140, ink, rng, dark_share=0.5, contrast=20)

    np.testing.assert_array_equal(blended - film, 20 * ink)
    np.testing.assert_array_equal(bright - film - 140, -20 * ink)


def test_marks_know_their_characters(fonts: list[Path]) -> None:
    for seed in range(60):
        mark = draw_mark(np.random.default_rng(seed), fonts)
        height, width = mark.ink.shape
        assert len(mark.characters) >= len(mark.areas) >= 1
        assert mark.areas[..., 0].min() >= -1
        assert mark.areas[..., 0].max() <= width + 1
        assert mark.areas[..., 1].max() <= height + 1
        x0, y0 = np.floor(mark.areas.min(axis=(0, 1))).astype(int)
        x1, y1 = np.ceil(mark.areas.max(axis=(0, 1))).astype(int)
        assert mark.ink[max(y0, 0) : y1, max(x0, 0) : x1].sum() > 0.25 * mark.ink.sum()


def test_clutter_draws_something_and_stays_in_range() -> None:
    seen = 0
    for seed in range(60):
        layer = draw_clutter(np.random.default_rng(seed), 128)
        assert 0 <= layer.min() <= layer.max() <= 1
        seen += int(layer.any())
    assert seen > 45


def test_target_of_a_circle_is_its_line_and_that_of_an_arrow_is_filled() -> None:
    circle, arrow = np.zeros((128, 128), np.float32), np.zeros((128, 128), np.float32)
    cv2.circle(circle, (64, 64), 40, 1.0, 1)
    cv2.rectangle(arrow, (20, 20), (40, 30), 1.0, 1)

    assert to_target(circle)[64, 64] == 0
    assert to_target(circle)[64, 24] == 1
    assert to_target(arrow)[25, 30] == 1


def test_every_annotation_has_a_target_apart_from_text(fonts: list[Path]) -> None:
    assert all(draw_annotation(np.random.default_rng(s), 256).any() for s in range(30))

    samples = [render_sample([FLAT], fonts, np.random.default_rng(s)) for s in range(30)]

    assert any(one.annotations.any() for one in samples)
    assert not any((one.annotations * one.areas).any() for one in samples)


@pytest.mark.parametrize("ground", [0, 90, 200, 235, 255])
def test_ink_is_seen_on_any_ground(ground: int) -> None:
    ink = np.zeros((64, 64), np.float32)
    ink[20:40, 20:40] = 1
    for seed in range(20):
        film = blend(
            np.full((64, 64), ground, np.float32), ink, np.random.default_rng(seed), dark_share=0.2
        )
        assert abs(film[30, 30] - ground) >= 5


def test_small_text_counts_more_than_large() -> None:
    line = np.array([(0, 0), (80, 0), (80, 8), (0, 8)], np.float32)

    assert _emphasis(line) == pytest.approx(1.5)
    assert _emphasis(line * np.array([1, 10], np.float32)) == pytest.approx(0.3)
