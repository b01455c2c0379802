"""Matched patches keep shape, stay in the view and off the text; fills touch them alone."""

import cv2
import numpy as np
import pytest

from covid_debug.audit.interventions import (
    choose_baseline,
    intervene,
    make_baseline_views,
    text_in_view,
)
from covid_debug.audit.nulls import clip_to_view, draw_matched_patches, draw_place, paint
from covid_debug.imaging.geometry import ViewSpec, compute_geometry, render_view
from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.masks import PlacedMask
from covid_debug.records import TextRegion

SPEC = ViewSpec(64, 0.0)
OPTIONS = {"dilation_px": 1, "method": "telea", "radius_px": 3.0, "seed": 5}
NOTHING = np.full((64, 64), 7, np.uint8)


def _region(x0, y0, x1, y1):
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, None, "made")


def _film(height=120, width=100):
    return np.random.default_rng(0).integers(20, 200, (height, width)).astype(np.uint8)


def _text(height=100, width=100):
    mask = np.zeros((height, width), np.bool_)
    mask[5:12, 4:20] = True
    mask[8, 4] = False  # a shape, not a box
    mask[80:90, 85:95] = True
    return mask


def test_patches_have_the_texts_shapes_inside_the_view_and_away_from_text():
    text, geometry = _text(), compute_geometry(100, 100, SPEC)

    found = draw_matched_patches(text, geometry, n_nulls=30, gap_px=2, seed=1)

    near = cv2.dilate(text.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert len(found.patches) == 30
    for patch in found.patches:
        mask = paint(patch, 100, 100)
        assert mask.sum() == text.sum()
        assert not (mask & near).any()
        assert sorted(p.mask.shape for p in patch) == [(7, 16), (10, 10)]
    assert found.n_border_matched > 20


def test_patches_keep_the_distance_to_the_border_when_possible():
    text = np.zeros((200, 200), np.bool_)
    text[2:8, 2:8] = True

    found = draw_matched_patches(
        text, compute_geometry(200, 200, SPEC), n_nulls=20, gap_px=0, seed=1
    )

    assert found.n_border_matched == 20
    for (piece,) in found.patches:
        bottom, right = piece.top + 6, piece.left + 6
        assert min(piece.top, piece.left, 200 - bottom, 200 - right) <= 2 + 6


def test_patches_repeat_with_the_seed_and_change_with_it():
    geometry = compute_geometry(100, 100, SPEC)

    def places(seed):
        found = draw_matched_patches(_text(), geometry, n_nulls=5, gap_px=0, seed=seed)
        return [(piece.top, piece.left) for patch in found.patches for piece in patch]

    assert places(1) == places(1) != places(2)


def test_text_too_large_to_move_gives_no_patch():
    text = np.zeros((100, 100), np.bool_)
    text[10:90, 10:90] = True
    geometry = compute_geometry(100, 100, SPEC)

    assert draw_matched_patches(text, geometry, n_nulls=3, gap_px=0, seed=0).patches == ()
    nothing = np.zeros_like(text)
    assert draw_matched_patches(nothing, geometry, n_nulls=3, gap_px=0, seed=0).patches == ()


def test_text_wider_than_the_view_gives_no_patch():
    text = np.ones((40, 100), np.bool_)

    found = draw_matched_patches(
        text, compute_geometry(100, 40, ViewSpec(32, 0.5)), n_nulls=2, gap_px=0, seed=0
    )

    assert found.patches == ()


def test_text_in_view_drops_what_the_model_cannot_see():
    spec = ViewSpec(64, 0.08)
    everything, inside = text_in_view([_region(10, 0, 30, 8)], 100, 120, spec, dilation_px=0)

    assert everything.any()
    assert not inside.any()
    partly = clip_to_view(np.ones((120, 100), np.bool_), compute_geometry(100, 120, spec))
    assert partly.sum() == 100 * 100


def test_interventions_touch_the_text_alone():
    film, region = _film(100, 100), _region(10, 10, 30, 20)
    view = render_view(film, SPEC)

    made = intervene(film, [region], SPEC, n_nulls=6, baseline=NOTHING, **OPTIONS)

    outside = ~made.text_mask
    np.testing.assert_array_equal(made.text_removed[outside], view[outside])
    assert (made.text_removed[made.text_mask] != view[made.text_mask]).any()
    np.testing.assert_array_equal(made.text_revealed[made.text_mask], view[made.text_mask])
    np.testing.assert_array_equal(made.text_revealed[outside], NOTHING[outside])
    assert made.stack().shape == (3 + 6, 64, 64)
    for removed in made.null_removed:
        np.testing.assert_array_equal(removed[made.text_mask], view[made.text_mask])
        assert (removed != view).any()


def test_fill_of_a_patch_equals_the_fill_of_the_whole_film(monkeypatch):
    film, calls = _film(100, 100), []
    regions = [_region(10, 10, 30, 20), _region(60, 60, 70, 75)]

    def spy(view_film, spec):
        calls.append(view_film.copy())
        return render_view(view_film, spec)

    monkeypatch.setattr("covid_debug.audit.interventions.render_view", spy)
    intervene(film, regions, SPEC, n_nulls=3, baseline=NOTHING, **OPTIONS)

    mask = np.zeros_like(film, dtype=bool)
    for filled in calls[1:4]:
        mask = filled != film
        assert mask.any()
    text, _ = text_in_view(regions, 100, 100, SPEC, dilation_px=1)
    patches = draw_matched_patches(
        text, compute_geometry(100, 100, SPEC), n_nulls=3, gap_px=3, seed=5
    ).patches
    for filled, patch in zip(calls[1:4], patches, strict=True):
        np.testing.assert_array_equal(
            filled, inpaint(film, paint(patch, 100, 100), method="telea", radius_px=3.0)
        )


def test_film_without_room_has_no_nulls_but_is_intervened_on():
    made = intervene(
        _film(64, 64), [_region(5, 5, 58, 58)], SPEC, n_nulls=4, baseline=NOTHING, **OPTIONS
    )

    assert made.null_removed.shape == (0, 64, 64)
    assert made.stack().shape == (3, 64, 64)


def test_text_over_the_whole_film_is_refused():
    with pytest.raises(ValueError, match="mask covers the whole film"):
        intervene(
            _film(64, 64), [_region(0, 0, 64, 64)], SPEC, n_nulls=4, baseline=NOTHING, **OPTIONS
        )


@pytest.mark.parametrize(
    ("target_of_mean", "kind"),
    [
        (lambda mean: mean, "black"),
        (lambda mean: 1 - mean, "white"),
        (lambda mean: 0.5 + 0 * mean, "blur"),
    ],
)
def test_baseline_is_the_first_that_the_model_does_not_take_for_the_target(target_of_mean, kind):
    views = np.stack([_film(64, 64), _film(64, 64)[::-1]])

    def predict(images):
        return target_of_mean(images.mean(axis=(1, 2)) / 255).astype(np.float32)

    assert choose_baseline(predict, views, predict(views), ("blur", "black", "white")) == kind


def test_baseline_views_are_constant_or_smooth():
    views = _film(64, 64)[None]

    assert make_baseline_views(views, "black").max() == 0
    assert make_baseline_views(views, "white").min() == 255
    assert make_baseline_views(views, "blur").std() < 0.2 * views.std()


def test_distance_is_kept_also_from_the_lower_and_the_right_border():
    text = np.zeros((200, 200), np.bool_)
    text[192:198, 150:156] = True  # 2 pixels from below

    found = draw_matched_patches(
        text, compute_geometry(200, 200, SPEC), n_nulls=80, gap_px=0, seed=1
    )

    assert found.n_border_matched == 80
    borders = set()
    for (piece,) in found.patches:
        distances = [piece.top, piece.left, 194 - piece.top, 194 - piece.left]
        assert min(distances) <= 2 + 6
        borders.add(int(np.argmin(distances)))
    assert borders == {0, 1, 2, 3}


def test_last_row_and_column_can_be_drawn():
    geometry = compute_geometry(20, 20, SPEC)
    piece = PlacedMask(10, 10, np.ones((1, 1), np.bool_))
    for place in ((19, slice(0, 8)), (slice(0, 8), 19)):  # too far from the middle to be matched
        taken = np.ones((20, 20), np.bool_)
        taken[place] = False
        drawn = [draw_place(piece, taken, geometry, np.random.default_rng(i)) for i in range(10)]

        assert any(found is not None and not matched for found, matched in drawn)


def test_patches_keep_the_fills_whole_reach_from_text(monkeypatch):
    asked = []

    def spy(*args, gap_px, **options):
        asked.append(gap_px)
        return draw_matched_patches(*args, gap_px=gap_px, **options)

    monkeypatch.setattr("covid_debug.audit.interventions.draw_matched_patches", spy)
    options = {**OPTIONS, "radius_px": 3.2}
    intervene(
        _film(100, 100), [_region(10, 10, 30, 20)], SPEC, n_nulls=1, baseline=NOTHING, **options
    )

    assert asked == [4]


def test_stack_is_removed_revealed_nothing_then_the_nulls():
    made = intervene(
        _film(100, 100), [_region(10, 10, 30, 20)], SPEC, n_nulls=4, baseline=NOTHING, **OPTIONS
    )

    stack = made.stack()

    for at, view in ((0, made.text_removed), (1, made.text_revealed), (2, made.baseline)):
        np.testing.assert_array_equal(stack[at], view)
    np.testing.assert_array_equal(stack[3:], made.null_removed)
    for removed in made.null_removed:
        assert (removed != render_view(_film(100, 100), SPEC)).mean() < 0.2


def test_patches_lie_inside_a_view_that_begins_inside_the_film():
    text = np.zeros((200, 100), np.bool_)
    text[90:96, 20:30] = True
    geometry = compute_geometry(100, 200, ViewSpec(64, 0.08))  # rows 58 to 157

    found = draw_matched_patches(text, geometry, n_nulls=60, gap_px=0, seed=1)

    assert (geometry.y0, geometry.side) == (58, 100)
    tops = [piece.top for (piece,) in found.patches]
    assert (len(tops), min(tops) >= 58, max(tops) <= 158 - 6) == (60, True, True)
    assert max(tops) > 110
