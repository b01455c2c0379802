"""Grouping of heat maps and merging of regions, in closed form."""

import numpy as np
import pytest

from covid_debug.records import TextRegion
from covid_debug.text.heat_maps import group_characters, merge_regions


def blank(shape=(60, 80)):
    return np.zeros(shape, np.float32)


def box_of(region):
    xs, ys = zip(*region.polygon, strict=True)
    return tuple(round(value, 3) for value in (min(xs), min(ys), max(xs), max(ys)))


def rectangle(x0, y0, x1, y1, confidence=0.5, content=None, detector="a"):
    polygon = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return TextRegion(polygon, confidence, content, detector)


def test_empty_map_has_no_regions():
    assert group_characters(blank(), blank()) == []


def test_filled_square_is_grown_by_the_root_of_its_side():
    text = blank()
    text[20:29, 30:39] = 0.8

    (region,) = group_characters(text, blank())

    growth = 3.0  # sqrt(81 * 9 / 81)
    assert box_of(region) == (30 - growth, 20 - growth, 39 + growth, 29 + growth)
    assert region.confidence == pytest.approx(0.8)


def test_growth_stops_at_the_border_of_the_map():
    text = blank()
    text[0:9, 71:80] = 0.8

    (region,) = group_characters(text, None)

    assert box_of(region) == (68, 0, 80, 12)


def test_link_joins_two_characters_and_its_absence_parts_them():
    text, link = blank(), blank()
    text[20:28, 10:18] = text[20:28, 24:32] = 0.9
    link[22:26, 18:24] = 0.6

    assert len(group_characters(text, link)) == 1
    assert len(group_characters(text, None)) == 2


def test_weak_peak_and_small_speck_are_dropped():
    text = blank()
    text[5:15, 5:15] = 0.69
    text[30:33, 30:33] = 0.99

    assert group_characters(text, None, text_threshold=0.7, min_area_px=10) == []


def test_slanted_word_gets_a_slanted_rectangle():
    text = blank((80, 80))
    for step in range(50):
        text[10 + step : 16 + step, 10 + step : 16 + step] = 0.9

    (region,) = group_characters(text, None)

    points = np.array(region.polygon)
    x, y = points.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert area < 0.5 * np.prod(np.ptp(points, axis=0))


def test_overlapping_regions_become_one_that_names_both():
    first = rectangle(0, 0, 10, 10, 0.6, "R", "rapidocr")
    second = rectangle(4, 0, 14, 10, 0.9, None, "marker")

    (merged,) = merge_regions([first, second])

    assert merged.box == (0, 0, 14, 10)
    assert merged.confidence == 0.9
    assert merged.content == "R"
    assert merged.detector == "marker+rapidocr"


def test_merging_is_transitive():
    chain = [rectangle(5 * i, 0, 5 * i + 10, 10) for i in range(4)]

    (merged,) = merge_regions(chain)

    assert merged.box == (0, 0, 25, 10)


def test_regions_apart_keep_their_polygons_in_reading_order():
    low, high = rectangle(0, 50, 10, 60), rectangle(30, 0, 40, 10)

    assert merge_regions([low, high]) == [high, low]


def test_crossing_regions_with_a_far_larger_common_box_stay_apart():
    upright, lying = rectangle(20, 0, 24, 40), rectangle(0, 36, 40, 40)

    assert merge_regions([upright, lying]) == [upright, lying]


def test_nothing_merges_to_nothing():
    assert merge_regions([]) == []
