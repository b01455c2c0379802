"""Text regions as masks and as regions.jsonl."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.regions import (
    read_regions,
    regions_to_mask,
    write_regions,
)
from covid_debug.records import FilmRegions, TextRegion


def box(x0: float, y0: float, x1: float, y1: float) -> TextRegion:
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, "L", "test")


def test_box_with_integer_corners_covers_exactly_its_pixels() -> None:
    expected = np.zeros((20, 30), np.bool_)
    expected[5:8, 10:14] = True

    np.testing.assert_array_equal(regions_to_mask([box(10, 5, 14, 8)], 30, 20), expected)


def test_box_with_broken_corners_covers_every_touched_pixel() -> None:
    expected = np.zeros((20, 30), np.bool_)
    expected[5:9, 10:15] = True

    np.testing.assert_array_equal(regions_to_mask([box(10.4, 5.9, 14.1, 8.2)], 30, 20), expected)


def test_box_beyond_the_film_is_cut_off() -> None:
    expected = np.zeros((20, 30), np.bool_)
    expected[:4, :3] = True

    np.testing.assert_array_equal(regions_to_mask([box(-9, -9, 3, 4)], 30, 20), expected)
    assert not regions_to_mask([box(-9, -9, -3, -4)], 30, 20).any()
    assert not regions_to_mask([box(40, 40, 50, 50)], 30, 20).any()


def test_rotated_polygon_covers_all_pixel_centres_inside() -> None:
    diamond = TextRegion(((10, 0), (20, 10), (10, 20), (0, 10)), 1.0, None, "test")
    rows, columns = np.mgrid[0:25, 0:25] + 0.5
    inside = np.abs(columns - 10) + np.abs(rows - 10) < 9.9
    near = np.abs(columns - 10) + np.abs(rows - 10) <= 12

    covered = regions_to_mask([diamond], 25, 25)

    assert covered[inside].all()
    assert not covered[~near].any()


def test_regions_to_mask_without_regions_is_empty() -> None:
    assert not regions_to_mask([], 5, 4, dilation_px=3).any()
    assert regions_to_mask([], 5, 4).shape == (4, 5)


@given(
    corners=st.lists(st.tuples(st.floats(-5, 45), st.floats(-5, 35)), min_size=3, max_size=6),
    small=st.integers(0, 4),
    more=st.integers(0, 4),
)
@settings(deadline=None, derandomize=True)
def test_mask_grows_with_dilation(
    corners: list[tuple[float, float]], small: int, more: int
) -> None:
    region = TextRegion(tuple(corners), 1.0, None, "test")

    inner = regions_to_mask([region], 40, 30, dilation_px=small)
    outer = regions_to_mask([region], 40, 30, dilation_px=small + more)

    assert not (inner & ~outer).any()


def test_dilation_grows_a_pixel_into_a_disc() -> None:
    covered = regions_to_mask([box(10, 10, 11, 11)], 21, 21, dilation_px=2)

    assert covered[10, 8:13].all()
    assert covered[8:13, 10].all()
    assert not covered[10, 7]
    assert not covered[8, 8]


def test_negative_dilation_raises() -> None:
    with pytest.raises(InputContractError, match="dilation_px is -1"):
        regions_to_mask([], 5, 5, dilation_px=-1)


def test_regions_survive_writing_and_reading(tmp_path: Path) -> None:
    films = [
        FilmRegions("a", 30, 20, (box(1, 2, 3, 4),), None, ((box(5, 6, 7, 8), "too small"),)),
        FilmRegions("b", 30, 20, ()),
        FilmRegions("c", 0, 0, (), "c.png: is empty (0 bytes)"),
        FilmRegions("d", 9, 9, (TextRegion(((0, 0), (1, 0), (1, 1)), 0.5, "\u2028°", "x"),)),
        FilmRegions("e", 9, 9, (replace(box(1, 2, 3, 4), kind="side_marker"),)),
    ]

    write_regions(tmp_path / "regions.jsonl", films)

    assert read_regions(tmp_path / "regions.jsonl") == {film.image: film for film in films}


def test_read_regions_ignores_unknown_keys(tmp_path: Path) -> None:
    path = tmp_path / "regions.jsonl"
    path.write_text('{"image": "a", "width": 3, "height": 2, "regions": [], "comment": 1}\n\n')

    assert read_regions(path) == {"a": FilmRegions("a", 3, 2, ())}


def test_region_of_an_older_version_is_of_unknown_kind(tmp_path: Path) -> None:
    path = tmp_path / "regions.jsonl"
    path.write_text(
        '{"image": "a", "width": 30, "height": 20, "regions": [{"polygon": [[1, 2], [3, 2], [3, 4]'
        '], "confidence": 0.9, "content": "L", "detector": "test"}]}'
    )

    (region,) = read_regions(path)["a"].regions

    assert (region.content, region.kind) == ("L", "unknown")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not json\n", "regions.jsonl:1: is not a film's regions"),
        ('{"image": "a"}\n', "regions.jsonl:1: is not a film's regions .'regions'"),
        ('{"image": "a", "regions": [{"polygon": [[0, 0]], "confidence": 1}]}\n', "3 corners"),
        (
            '{"image": "a", "regions": [{"polygon": [[0, 0], [1e9, 3], [5, 5]], "confidence": 1}]}',
            r"leaves \+-1000000 pixels",
        ),
        (
            '{"image": "a", "regions": [{"polygon": [[0, 0], [NaN, 3], [5, 5]], "confidence": 1}]}',
            "NaN is no finite number",
        ),
        (
            '{"image": "a", "regions": [{"polygon": [[0, 0], [1, 3], [5, 5]], "confidence": 1,'
            ' "kind": "letter"}]}',
            "kind 'letter'; expected one of side_marker, ",
        ),
        ('{"image": "a", "regions": []}\n' * 2, "regions.jsonl:2: film 'a' appears twice"),
        ("[]\n", "regions.jsonl:1: is not a film's regions"),
    ],
)
def test_read_regions_of_broken_file_names_the_line(
    tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "regions.jsonl"
    path.write_text(content)

    with pytest.raises(DataIntegrityError, match=reason):
        read_regions(path)


def test_read_regions_of_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataIntegrityError, match=r"none\.jsonl: cannot be read"):
        read_regions(tmp_path / "none.jsonl")


def test_diamond_covers_exactly_the_pixels_whose_centres_it_holds() -> None:
    middle, reach = 30.5, 25.4
    corners = ((middle, middle - reach), (middle + reach, middle))
    corners += ((middle, middle + reach), (middle - reach, middle))
    rows, columns = np.mgrid[0:70, 0:64] + 0.5

    covered = regions_to_mask([TextRegion(corners, 1.0, None, "test")], 64, 70)

    np.testing.assert_array_equal(covered, np.abs(columns - middle) + np.abs(rows - middle) < reach)


@pytest.mark.parametrize(
    "corners",
    [
        ((5.0, 3.0), (5.0, 3.0), (5.0, 8.0), (5.0, 8.0)),  # a line without width
        ((5.2, 3.0), (5.6, 3.0), (5.7, 8.0), (5.3, 8.0)),  # a sliver within one column
    ],
)
def test_thin_region_covers_the_column_that_it_lies_in(corners) -> None:
    covered = regions_to_mask([TextRegion(corners, 1.0, None, "test")], 12, 12)

    expected = np.zeros((12, 12), np.bool_)
    expected[3:8, 5] = True
    np.testing.assert_array_equal(covered, expected)
