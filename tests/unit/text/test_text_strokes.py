import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.text import catalog
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.strokes import StrokeDetector, StrokeParams


def test_strokes_sees_each_letter_of_a_word_where_it_is(word_film):
    found = StrokeDetector().detect([word_film])[0]

    boxes = np.array([region.box for region in found])
    assert len(found) >= 6
    assert boxes[:, 0].min() > 110
    assert boxes[:, 2].max() < 300
    assert boxes[:, 1].min() > 30
    assert boxes[:, 3].max() < 80


def test_strokes_ignores_faint_and_blurred_shapes():
    film = np.full((300, 300), 60, np.uint8)
    film[100:140, 100:106] = 80
    ramp = np.abs(np.arange(300) - 200)[None, :] < 30
    film = np.where(ramp, film + (60 - 2 * np.abs(np.arange(300) - 200))[None, :], film)

    assert StrokeDetector().detect([film.astype(np.uint8)]) == [[]]


@pytest.mark.parametrize("name", ["max_stroke_px", "min_contrast", "min_steepness"])
def test_stroke_params_out_of_range_name_the_field(name):
    with pytest.raises(InputContractError, match=f"text.strokes: {name} is 0; expected above 0"):
        StrokeParams(**{name: 0})


def test_members_of_a_combined_detector_are_its_parts():
    combined = build_detector("default", members=("marker", "rapidocr"))

    assert members_of(combined) == {"marker", "rapidocr"}
    assert members_of(build_detector("rapidocr")) == {"rapidocr"}


@pytest.mark.parametrize(
    ("used", "has_craft", "second"),
    [
        ({"marker", "rapidocr"}, False, "strokes"),
        ({"marker", "rapidocr"}, True, "craft"),
        ({"marker", "rapidocr", "craft"}, True, "strokes"),
        ({"rapidocr"}, False, "marker"),
        ({"marker"}, False, "rapidocr"),
        (set(), False, "rapidocr"),
    ],
)
def test_choose_second_took_no_part(used, has_craft, second, tmp_path, monkeypatch):
    weights = tmp_path / "craft.pth"
    if has_craft:
        weights.touch()
    monkeypatch.setattr(catalog, "weights_path", lambda _: weights)

    assert choose_second(used) == second
