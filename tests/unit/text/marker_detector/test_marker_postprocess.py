"""Heat maps with known rectangles give those rectangles back."""

import cv2
import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.text.marker_detector.postprocess import RegionThresholds, find_regions

EXACT = RegionThresholds(growth=0.0, growth_px=0.0)


def _maps(boxes: list[tuple[int, int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    characters, areas = np.zeros((40, 60), np.float32), np.zeros((40, 60), np.float32)
    for x0, y0, x1, y1 in boxes:
        areas[y0:y1, x0:x1] = 0.9
        characters[(y0 + y1) // 2, (x0 + x1) // 2] = 0.8
    return characters, areas


def test_upright_box_comes_back_in_film_pixels() -> None:
    regions = find_regions(*_maps([(10, 5, 22, 13)]), (2.0, 3.0), EXACT, "marker")

    assert [region.box for region in regions] == [(20.0, 15.0, 44.0, 39.0)]
    assert regions[0].detector == "marker"


def test_confidence_is_the_median_area_score() -> None:
    characters, areas = _maps([(10, 5, 22, 13)])
    areas[5:13, 10:14] = 0.6  # a third of the region
    areas[5:13, 20:22] = 1.0

    assert find_regions(characters, areas, (1, 1), EXACT, "m")[0].confidence == pytest.approx(0.9)


def test_two_boxes_stay_apart() -> None:
    assert len(find_regions(*_maps([(2, 2, 9, 9), (20, 20, 30, 28)]), (1, 1), EXACT, "m")) == 2


def test_area_without_character_is_no_text() -> None:
    characters, areas = _maps([(10, 5, 22, 13)])

    assert find_regions(characters * 0.1, areas, (1, 1), EXACT, "m") == []


def test_specks_are_dropped() -> None:
    assert find_regions(*_maps([(10, 5, 11, 30)]), (1, 1), EXACT, "m") == []


def test_growth_widens_every_side() -> None:
    thresholds = RegionThresholds(growth=0.25, growth_px=1.0)

    (region,) = find_regions(*_maps([(10, 5, 22, 13)]), (1, 1), thresholds, "m")

    np.testing.assert_allclose(region.box, (7.0, 2.0, 25.0, 16.0), atol=1e-5)


def test_turned_line_gives_a_turned_rectangle() -> None:
    areas = np.zeros((80, 80), np.float32)
    box = cv2.boxPoints(((40, 40), (50, 8), 40.0))
    cv2.fillPoly(areas, [np.round(box).astype(np.int32)], 1.0)

    (region,) = find_regions(areas, areas, (1, 1), EXACT, "m")

    assert cv2.contourArea(np.array(region.polygon, np.float32)) < 1.4 * 50 * 8


@pytest.mark.parametrize(
    ("change", "message"), [({"area": 1.0}, "area is 1.0"), ({"growth": -0.1}, "growth is -0.1")]
)
def test_thresholds_out_of_range_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputContractError, match=message):
        RegionThresholds(**change)
