"""Coverage, excess area and counts in closed form; the committed annotations are well formed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.text.annotated import (
    AnnotatedBox,
    AnnotatedFilm,
    load_all_annotations,
    load_annotations,
)
from benchmarks.text.counting import by_key, count_hits, summarise
from benchmarks.text.reliability import bin_confidences, calibration_error
from benchmarks.text.scoring import measure_contrast, score_film
from covid_debug.errors import DataIntegrityError
from covid_debug.evaluation.statistics import wilson_interval
from covid_debug.records import TextRegion

DATA = Path(__file__).resolve().parents[2] / "benchmarks" / "text" / "annotations"
BLANK = np.zeros((100, 100), np.uint8)


def box(x0, y0, x1, y1, *, kind="single_letter", legible=True, polarity="bright", marks=()):
    return AnnotatedBox((x0, y0, x1, y1), kind, legible, polarity, "R", marks)


def film(*boxes, path="cohen/images/a.jpg"):
    return AnnotatedFilm(path, 100, 100, boxes)


def rectangle(x0, y0, x1, y1):
    return TextRegion(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, None, "test")


@pytest.mark.parametrize(("width", "is_found"), [(6, False), (7, True), (10, True)])
def test_box_is_found_from_seventy_percent_of_its_area(width, is_found):
    score = score_film(film(box(10, 10, 20, 20)), [rectangle(10, 10, 10 + width, 20)], BLANK)

    assert score.boxes[0].coverage == pytest.approx(width / 10)
    assert score.boxes[0].is_found is is_found


def test_two_regions_cover_a_box_together():
    halves = [rectangle(10, 10, 15, 20), rectangle(15, 10, 20, 20)]

    assert score_film(film(box(10, 10, 20, 20)), halves, BLANK).boxes[0].coverage == 1.0


def test_edges_of_a_box_may_cut_pixels():
    score = score_film(film(box(10.5, 10, 20, 20)), [rectangle(10, 10, 11, 20)], BLANK)

    assert score.boxes[0].coverage == pytest.approx(0.5 / 9.5)


def test_excess_is_what_lies_outside_every_text_box():
    regions = [rectangle(10, 10, 30, 20), rectangle(50, 50, 60, 60)]

    score = score_film(
        film(box(10, 10, 20, 20), box(50, 50, 60, 60, legible=False)), regions, BLANK
    )

    assert score.excess_share == pytest.approx(100 / 10_000)
    assert score.needless_share == 0


def test_arrow_is_not_text():
    arrows_only = film(box(10, 10, 20, 20, kind="arrow_not_text", legible=False))

    score = score_film(arrows_only, [rectangle(10, 10, 20, 20)], BLANK)

    assert score.boxes == ()
    assert score.is_text_free
    assert score.is_touched
    assert score.excess_share == pytest.approx(0.01)


def test_illegible_text_counts_neither_way():
    score = score_film(film(box(10, 10, 20, 20, legible=False)), [], BLANK)

    assert score.boxes == ()
    assert not score.is_text_free


def test_film_of_another_size_is_refused():
    with pytest.raises(DataIntegrityError, match=r"a\.jpg is 50x40 px; its annotations expect"):
        score_film(film(), [], np.zeros((40, 50), np.uint8))


@pytest.mark.parametrize(("polarity", "sign"), [("bright", 1), ("dark", -1)])
def test_contrast_is_glyph_against_ring(polarity, sign):
    pixels = np.full((100, 100), 100, np.uint8)
    pixels[12:18, 12:18] = 100 + sign * 60

    assert measure_contrast(pixels, box(10, 10, 20, 20, polarity=polarity)) == pytest.approx(60)


def test_summary_counts_recall_excess_and_touched_films():
    found = score_film(film(box(10, 10, 20, 20)), [rectangle(10, 10, 20, 20)], BLANK)
    missed = score_film(film(box(10, 10, 40, 50, kind="word", marks=("cut",))), [], BLANK)
    touched = score_film(film(path="nih/images/b.jpg"), [rectangle(0, 0, 10, 10)], BLANK)

    rows = by_key(summarise([found, missed, touched]))

    assert rows["all", "legible"].share == 0.5
    assert rows["kind", "single_letter"].share == 1.0
    assert rows["mark", "cut"].share == 0.0
    assert rows["size px", "from 20"].n_total == 1
    assert rows["source", "cohen"].n_total == 2
    assert rows["excess area", "mean"].share == pytest.approx(0.01 / 3)
    assert rows["needless area", "worst film"].share == pytest.approx(0.01)
    assert rows["excess area", "worst film"].share == pytest.approx(0.01)
    assert rows["text-free films", "touched"].n_found == 1
    assert rows["text-free films", "touched"].n_total == 1


def test_summary_without_text_has_no_recall():
    rows = summarise([score_film(film(), [], BLANK)])

    assert math.isnan(rows[0].share)


def test_annotation_region_on_an_arrow_is_not_needless():
    arrow = box(10, 10, 20, 20, kind="arrow_not_text", legible=False)
    drawn = replace(rectangle(10, 10, 20, 20), kind="annotation")

    score = score_film(film(arrow), [drawn], BLANK)

    assert score.excess_share == 0
    assert not score.is_touched
    assert [one.is_found for one in score.arrows] == [True]


def test_annotation_region_finds_no_text_and_counts_where_nothing_was_drawn():
    drawn = replace(rectangle(10, 10, 20, 20), kind="annotation")

    on_text = score_film(film(box(10, 10, 20, 20)), [drawn], BLANK)
    on_nothing = score_film(film(), [drawn], BLANK)

    assert not on_text.boxes[0].is_found
    assert on_text.excess_share == 0
    assert on_nothing.is_touched
    assert on_nothing.excess_share == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("region", "is_needed"),
    [
        (rectangle(10, 10, 20, 20), True),
        (rectangle(10, 10, 15, 20), True),  # half of the box
        (rectangle(10, 10, 14, 20), True),  # all of it on the box
        (rectangle(0, 0, 60, 60), True),  # covers the box
        (rectangle(18, 10, 30, 20), False),
        (rectangle(40, 40, 60, 60), False),
    ],
)
def test_region_is_needed_where_it_and_a_box_share_half_of_one(region, is_needed):
    score = score_film(film(box(10, 10, 20, 20)), [region], BLANK)

    assert score.regions[0].is_needed is is_needed


@pytest.mark.parametrize(
    ("x1", "contrast", "marks", "is_hard"),
    [(30, 60, (), False), (19, 60, (), True), (30, 30, (), True), (30, 60, ("cut",), True)],
)
def test_hard_boxes_are_low_faint_or_cut(x1, contrast, marks, is_hard):
    pixels = BLANK.copy()
    pixels[11:29, 11 : x1 - 1] = contrast

    score = score_film(film(box(10, 10, x1, 30, marks=marks)), [], pixels)

    assert score.boxes[0].is_hard is is_hard


def test_intervals_over_films_are_wider_where_boxes_of_a_film_fall_together():
    boxes = [box(10 * n, 10, 10 * n + 8, 20) for n in range(8)]
    films = [film(*boxes, path=f"a/{n}.png") for n in range(6)]
    scores = [
        score_film(one, [rectangle(0, 0, 100, 30)] if n % 2 else [], BLANK)
        for n, one in enumerate(films)
    ]

    count = by_key(summarise(scores))["all", "legible"]

    assert count.share == count.wilson.value == 0.5
    assert count.over_films.high - count.over_films.low > count.wilson.high - count.wilson.low


def test_confidences_are_binned_with_what_they_came_to():
    regions = [
        replace(rectangle(10, 10, 20, 20), confidence=0.95),
        replace(rectangle(10, 10, 20, 20), confidence=1.0),
        replace(rectangle(50, 50, 60, 60), confidence=0.55),
    ]

    bins = bin_confidences([score_film(film(box(10, 10, 20, 20)), regions, BLANK)])

    assert [one.n for one in bins] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert bins[9].confidence == pytest.approx(0.975)
    assert (bins[5].needed.value, bins[9].needed.value) == (0.0, 1.0)
    assert calibration_error(bins) == pytest.approx((2 * 0.025 + 0.55) / 3)


def test_a_film_is_annotated_once(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a.jpg": {"width": 10, "height": 10, "boxes": []}}))

    assert [film.source for film in load_all_annotations([path])] == ["."]
    with pytest.raises(DataIntegrityError, match=r"a\.jpg is annotated in another file"):
        load_all_annotations([path, path])


def test_second_set_is_the_listed_films_in_two_halves():
    halves = [load_annotations(DATA / f"markers_second_{half}.json") for half in ("choose", "test")]
    readers = [load_annotations(DATA / f"markers_second_reader{n}.json") for n in (1, 2)]

    listed = (DATA / "markers_second_films.txt").read_text(encoding="utf-8").split()
    assert [len(half) for half in halves] == [70, 130]
    assert [film.path for half in halves for film in half] == listed
    assert [film.path for film in readers[0]] == [film.path for film in readers[1]] == listed
    legible = [sum(box.legible for film in half for box in film.boxes) for half in halves]
    assert legible == [159, 264]


def test_third_set_is_the_listed_films():
    listed = (DATA / "markers_third_films.txt").read_text(encoding="utf-8").split()

    for part, n_legible in (("test", 204), ("reader1", 204), ("reader2", 201)):
        films = load_annotations(DATA / f"markers_third_{part}.json")
        assert [film.path for film in films] == listed
        assert sum(box.legible for film in films for box in film.boxes) == n_legible


@pytest.mark.parametrize(
    ("name", "n_films", "n_legible"), [("markers_dev", 120, 232), ("markers_test", 60, 126)]
)
def test_committed_annotations_are_the_listed_films(name, n_films, n_legible):
    films = load_annotations(DATA / f"{name}.json")

    listed = (DATA / f"{name}_films.txt").read_text(encoding="utf-8").split()
    assert [film.path for film in films] == listed
    assert len(films) == n_films
    assert sum(box.legible for film in films for box in film.boxes) == n_legible


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        json.dumps({"a.jpg": {"width": 10}}),
        json.dumps(
            {
                "a.jpg": {
                    "width": 10,
                    "height": 10,
                    "boxes": [{"box": [5, 0, 20, 9], "kind": "word"}],
                }
            }
        ),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, content):
    path = tmp_path / "boxes.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(DataIntegrityError, match=r"boxes\.json: is not a file of annotations"):
        load_annotations(path)


def test_missing_annotations_are_refused(tmp_path):
    with pytest.raises(DataIntegrityError, match=r"none\.json: cannot be read"):
        load_annotations(tmp_path / "none.json")


def test_intervals_over_films_are_no_narrower_than_wilsons_of_the_films():
    hits = [[True, True]] * 39 + [[True, False]]

    count = count_hits("all", "legible", hits)

    wilson = wilson_interval(79, 80)
    assert count.share == 79 / 80
    assert count.over_films.low < wilson.low  # a bootstrap alone ends at 0.9625
    assert count.over_films.low == pytest.approx(0.8909, abs=1e-3)
    assert count.over_films.high >= wilson.high - 0.01
