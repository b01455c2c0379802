"""Counts of a scan."""

import pytest

from covid_debug.records import FilmRegions, TextRegion
from covid_debug.text.statistics import count_by_source


def region(detector, side=10):
    return TextRegion(((0, 0), (side, 0), (side, side), (0, side)), 0.9, None, detector)


SCAN = [
    FilmRegions("a", 100, 100, (region("rapidocr"), region("marker+rapidocr", 20))),
    FilmRegions("b", 100, 100, (), rejected=((region("rapidocr"), "film scale: covers 9 %"),)),
    FilmRegions("c", 0, 0, (), error="c: truncated"),
    FilmRegions("d", 200, 50, (region("marker"),)),
]


def test_total_and_sources_are_counted():
    total, cohen, nih = count_by_source(
        SCAN, {"a": "cohen", "b": "cohen", "c": "cohen", "d": "nih"}
    )

    assert (total.n_total, total.n_ok, total.n_with_text, total.n_regions) == (4, 3, 2, 3)
    assert (cohen.source, cohen.n_total, cohen.n_ok) == ("cohen", 3, 2)
    assert cohen.mean_area_share == pytest.approx((0.05 + 0) / 2)
    assert cohen.seen_by == {"marker+rapidocr": 1, "rapidocr": 1}
    assert cohen.rejected == {"film scale": 1}
    assert nih.mean_area_share == pytest.approx(0.01)


def test_image_without_source_is_unknown():
    assert [s.source for s in count_by_source(SCAN[:1], {})] == ["all", "unknown"]


def test_empty_scan_counts_nothing():
    (total,) = count_by_source([], {})

    assert (total.n_total, total.mean_area_share, total.seen_by) == (0, 0.0, {})
