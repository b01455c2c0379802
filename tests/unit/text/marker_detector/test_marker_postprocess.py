"""Heat maps with known rectangles give those rectangles back, lines are completed and joined."""

import cv2
import numpy as np
import pytest

from covid_debug.errors import CheckpointError, InputContractError
from covid_debug.text.marker_detector import postprocess
from covid_debug.text.marker_detector.calibration import Calibration, load_marker_calibration
from covid_debug.text.marker_detector.candidates import (
    FEATURES,
    Maps,
    RegionThresholds,
    find_candidates,
    grow,
)
from covid_debug.text.marker_detector.postprocess import (
    LineRules,
    choose_text,
    find_annotations,
    find_over_lung,
    join_lines,
    to_region,
)

EXACT = RegionThresholds(growth=0.0, growth_px=0.0)
BY_AREA = Calibration(np.eye(len(FEATURES))[FEATURES.index("area")], 0.0)
Box = tuple[int, int, int, int]


def make_maps(boxes: dict[Box, float], drawn: np.ndarray | None = None, scale=(1.0, 1.0)) -> Maps:
    characters, areas = np.zeros((60, 90), np.float32), np.zeros((60, 90), np.float32)
    for (x0, y0, x1, y1), score in boxes.items():
        areas[y0:y1, x0:x1] = score
        characters[(y0 + y1) // 2, (x0 + x1) // 2] = 0.8
    annotations = np.zeros_like(areas) if drawn is None else drawn
    return Maps(characters, areas, annotations, np.full((60, 90), 50, np.float32), scale)


def find_boxes(maps: Maps, rules: LineRules | None = None) -> list[tuple[float, ...]]:
    rules = rules or LineRules(0.5, 0.15)
    candidates = find_candidates(maps, EXACT)
    shares = BY_AREA.rate(candidates)
    lines = join_lines(candidates, shares, choose_text(candidates, shares, rules), rules)
    return [to_region(rectangle, share, maps.scale, "m").box for rectangle, share in lines]


def test_upright_box_comes_back_in_film_pixels() -> None:
    boxes = find_boxes(make_maps({(10, 5, 22, 13): 0.9}, scale=(2.0, 3.0)))

    np.testing.assert_allclose(boxes, [(20.0, 15.0, 44.0, 39.0)])


def test_probability_of_a_patch_is_that_of_its_median_score() -> None:
    maps = make_maps({(10, 5, 22, 13): 0.9})
    maps.areas[5:13, 10:14] = 0.6  # a third of the region

    (share,) = BY_AREA.rate(find_candidates(maps, EXACT))

    assert share == pytest.approx(0.9, abs=1e-4)


def test_two_boxes_stay_apart() -> None:
    assert len(find_boxes(make_maps({(2, 2, 9, 9): 0.9, (20, 20, 30, 28): 0.9}))) == 2


def test_area_without_character_is_no_candidate() -> None:
    maps = make_maps({(10, 5, 22, 13): 0.9})
    maps.characters[:] = 0.05

    assert find_candidates(maps, EXACT) == []


def test_specks_are_dropped() -> None:
    assert find_boxes(make_maps({(10, 5, 11, 30): 0.9})) == []


def test_growth_widens_every_side() -> None:
    (candidate,) = find_candidates(make_maps({(10, 5, 22, 13): 0.9}), EXACT)

    grown = grow(candidate.rectangle, RegionThresholds(growth=0.25, growth_px=1.0))

    np.testing.assert_allclose(to_region(grown, 1, (1, 1), "m").box, (7, 2, 25, 16), atol=1e-5)


def test_turned_line_gives_a_turned_rectangle() -> None:
    areas = np.zeros((80, 80), np.float32)
    box = cv2.boxPoints(((40, 40), (50, 8), 40.0))
    cv2.fillPoly(areas, [np.round(box).astype(np.int32)], 1.0)

    (found,) = find_candidates(
        Maps(areas, areas, np.zeros_like(areas), np.zeros_like(areas), (1, 1)), EXACT
    )

    assert cv2.contourArea(found.rectangle.corners().astype(np.float32)) < 1.4 * 50 * 8
    assert abs(found.rectangle.ahead @ (np.cos(np.deg2rad(40)), np.sin(np.deg2rad(40)))) > 0.99


@pytest.mark.parametrize(
    ("weak", "n_found", "is_taken"),
    [
        ((42, 10, 60, 18), 1, True),  # two pixels behind the word
        ((48, 10, 60, 18), 2, True),  # a space behind it: in the line, but a region of its own
        ((70, 10, 80, 18), 1, False),  # too far
        ((10, 30, 60, 38), 1, False),  # another line
        ((42, 0, 60, 28), 1, False),  # another size
    ],
)
def test_a_found_word_takes_doubtful_neighbours_of_its_line(
    weak: Box, n_found: int, is_taken: bool
) -> None:
    word = (10, 10, 40, 18)
    maps = make_maps({word: 0.95, weak: 0.3})

    boxes = find_boxes(maps)

    assert len(boxes) == n_found
    assert (max(x1 for _, _, x1, _ in boxes) >= weak[2]) == is_taken
    assert find_boxes(make_maps({weak: 0.3})) == []


def test_flank_of_a_patch_is_no_candidate_and_the_faint_half_of_a_word_is() -> None:
    maps = make_maps({(10, 10, 30, 20): 0.9})
    cv2.blur(maps.areas, (5, 5), dst=maps.areas)
    assert len(find_candidates(maps, EXACT)) == 1

    maps.areas[10:20, 30:60] = 0.35
    maps.characters[15, 45] = 0.4
    ((_, _, x1, _),) = find_boxes(maps)

    assert x1 >= 59


def test_a_word_far_away_is_not_joined_and_pieces_of_one_are() -> None:
    pieces = {(10, 10, 30, 18): 0.95, (33, 10, 50, 18): 0.95, (70, 10, 85, 18): 0.95}

    boxes = find_boxes(make_maps(pieces))

    np.testing.assert_allclose(sorted(boxes), [(10, 10, 50, 18), (70, 10, 85, 18)], atol=1e-3)


def test_letters_below_one_another_are_a_line_too() -> None:
    sure, doubtful = (10, 10, 18, 20), (10, 22, 18, 32)

    assert len(find_boxes(make_maps({sure: 0.95, doubtful: 0.3}))) == 1


def test_over_a_lung_a_region_needs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    lungs = np.zeros((60, 90), np.bool_)
    lungs[:, 45:] = True
    monkeypatch.setattr(postprocess, "find_lungs", lambda film: lungs)
    beside, over, sure_over = (10, 10, 22, 18), (60, 10, 72, 18), (60, 40, 72, 48)
    maps = make_maps({beside: 0.6, over: 0.6, sure_over: 0.95})
    rules = LineRules(0.5, 0.15)
    candidates = find_candidates(maps, EXACT)
    shares = BY_AREA.rate(candidates)

    held = find_over_lung(maps, candidates, shares, rules)
    chosen = choose_text(candidates, shares, rules, held)

    assert [candidates[i].points[:, 0].min() for i in held] == [60]
    kept = sorted(tuple(candidates[i].points.min(axis=0)) for i in chosen)
    assert kept == [(10, 10), (60, 40)]


def test_a_neighbour_of_sure_text_is_taken_over_a_lung_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess, "find_lungs", lambda film: np.ones(film.shape, np.bool_))
    maps = make_maps({(10, 10, 40, 18): 0.95, (43, 10, 60, 18): 0.6})
    rules = LineRules(0.5, 0.15)
    candidates = find_candidates(maps, EXACT)
    shares = BY_AREA.rate(candidates)

    held = find_over_lung(maps, candidates, shares, rules)

    assert len(held) == 1
    assert choose_text(candidates, shares, rules, held) == [0, 1]


def test_no_lungs_are_looked_for_where_they_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess, "find_lungs", None)
    maps = make_maps({(10, 10, 40, 18): 0.95, (43, 10, 60, 18): 0.3})
    candidates = find_candidates(maps, EXACT)

    assert not find_over_lung(maps, candidates, BY_AREA.rate(candidates), LineRules(0.5, 0.15))


def test_circle_is_annotated_along_its_line_and_arrow_as_a_whole() -> None:
    drawn = np.zeros((60, 90), np.float32)
    cv2.circle(drawn, (30, 30), 25, 0.95, 2)
    drawn[40:50, 65:80] = 0.95

    regions = find_annotations(make_maps({}, drawn), [], EXACT, "m")

    assert {region.kind for region in regions} == {"annotation"}
    assert (65.0, 40.0, 80.0, 50.0) in {region.box for region in regions}
    assert not any(x0 < 30 < x1 and y0 < 30 < y1 for x0, y0, x1, y1 in (r.box for r in regions))


def test_text_is_no_annotation() -> None:
    drawn = np.zeros((60, 90), np.float32)
    drawn[10:20, 10:30] = 0.95
    (candidate,) = find_candidates(make_maps({(10, 10, 30, 20): 0.9}), EXACT)

    assert find_annotations(make_maps({}, drawn), [candidate.rectangle], EXACT, "m") == []


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RegionThresholds(area=1.0), "area is 1.0"),
        (lambda: RegionThresholds(growth=-0.1), "growth is -0.1"),
        (lambda: LineRules(in_line=0.0), "in_line is 0.0"),
        (lambda: LineRules(over_lung=1.0), "over_lung is 1.0"),
        (lambda: LineRules(lung_share=0.0), "lung_share is 0.0"),
    ],
)
def test_impossible_thresholds_are_refused(build, message: str) -> None:
    with pytest.raises(InputContractError, match=message):
        build()


def test_calibration_of_other_features_is_refused(tmp_path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text('{"weights": {"area": 1.0}, "intercept": 0.0}', encoding="utf-8")

    with pytest.raises(CheckpointError, match="holds no calibration"):
        load_marker_calibration(path)


def test_nothing_is_rated_nothing() -> None:
    assert BY_AREA.rate([]) == []
