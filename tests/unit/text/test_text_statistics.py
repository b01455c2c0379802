"""Counts of a scan."""

from dataclasses import replace

import pytest

from covid_debug.artifacts import write_artifact
from covid_debug.data.phantom import generate_phantom
from covid_debug.imaging.regions import REGIONS_NAME, write_regions
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.text.stage import describe_regions
from covid_debug.text.statistics import count_by_group, is_single_letter


def region(detector, side=10):
    return TextRegion(((0, 0), (side, 0), (side, side), (0, side)), 0.9, None, detector)


SCAN = [
    FilmRegions("a", 100, 100, (region("rapidocr"), region("marker+rapidocr", 20))),
    FilmRegions("b", 100, 100, (), rejected=((region("rapidocr"), "film scale: covers 9 %"),)),
    FilmRegions("c", 0, 0, (), error="c: truncated"),
    FilmRegions("d", 200, 50, (region("marker"),)),
]


def test_total_and_sources_are_counted():
    total, cohen, nih = count_by_group(SCAN, {"a": "cohen", "b": "cohen", "c": "cohen", "d": "nih"})

    assert (total.n_total, total.n_ok, total.n_with_text, total.n_regions) == (4, 3, 2, 3)
    assert (cohen.group, cohen.n_total, cohen.n_ok) == ("cohen", 3, 2)
    assert cohen.mean_area_share == pytest.approx((0.05 + 0) / 2)
    assert cohen.seen_by == {"marker+rapidocr": 1, "rapidocr": 1}
    assert cohen.rejected == {"film scale": 1}
    assert nih.mean_area_share == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("width", "content", "is_letter"),
    [(10, None, True), (14, None, True), (15, None, False), (60, "R", True), (10, "PA", False)],
)
def test_single_letter_is_told_by_content_or_shape(width, content, is_letter):
    polygon = ((0, 0), (width, 0), (width, 10), (0, 10))

    assert is_single_letter(TextRegion(polygon, 0.9, content, "x")) is is_letter


def test_describe_is_one_line_with_the_reasons():
    (_, cohen) = count_by_group(SCAN[:3], dict.fromkeys("abc", "cohen"))

    assert cohen.describe() == (
        "cohen: text on 1 of 2 films, 2 regions, about 2 single letters; dropped: 1 film scale"
    )


def test_image_without_source_is_unknown():
    assert [s.group for s in count_by_group(SCAN[:1], {})] == ["all", "unknown"]


def test_empty_scan_counts_nothing():
    (total,) = count_by_group([], {})

    assert (total.n_total, total.mean_area_share, total.seen_by) == (0, 0.0, {})


def test_an_annotation_is_no_text():
    corners = ((0, 0), (5, 0), (5, 5), (0, 5))
    arrow = TextRegion(corners, 0.9, None, "marker", "annotation")
    letter = TextRegion(corners, 0.9, "R", "marker", "side_marker")

    (total, *_) = count_by_group(
        [FilmRegions("a", 10, 10, (arrow,)), FilmRegions("b", 10, 10, (arrow, letter))], {}
    )

    assert (total.n_ok, total.n_with_text, total.n_regions) == (2, 1, 1)
    assert (total.n_single_letters, dict(total.seen_by)) == (1, {"marker": 1})
    assert total.mean_area_share == pytest.approx(0.125)


def test_what_was_found_counts_text_as_its_lines_by_source_do_and_names_what_is_drawn(tmp_path):
    films = generate_phantom(tmp_path / "films", n_train=1, n_test=1, seed=0).films
    arrow = replace(region("marker"), kind="annotation")
    scan = [FilmRegions(films[0].image_id, 100, 100, (region("marker"), arrow))]
    scan += [FilmRegions(film.image_id, 100, 100, (arrow,)) for film in films[1:]]
    with write_artifact(tmp_path / "text", kind="regions") as draft:
        write_regions(draft.path / REGIONS_NAME, scan)
        n = len(films)
        draft.facts |= {"n_total": n, "n_ok": n, "n_with_text": n, "n_regions": n + 1}

    first, *by_source = describe_regions(tmp_path / "text", tmp_path / "films")

    assert (
        first
        == f"1 text regions on 1 of {n} films, besides {n} arrows or drawn lines (0 unreadable)"
    )
    assert sum(" 1 regions" in line for line in by_source) == 1
