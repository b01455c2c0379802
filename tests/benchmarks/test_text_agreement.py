"""Agreement of two readers in closed form."""

from pathlib import Path

import pytest

from benchmarks.text.agreement import (
    DISAGREEMENTS_NAME,
    bench_agreement,
    measure_agreement,
    pair_readings,
)
from benchmarks.text.annotated import AnnotatedBox, AnnotatedFilm
from covid_debug.errors import DataIntegrityError
from tests.cli import call

DATA = Path(__file__).resolve().parents[2] / "benchmarks" / "text" / "annotations"


def box(x0, y0, x1, y1, *, kind="word", content="AP", legible=True):
    return AnnotatedBox((x0, y0, x1, y1), kind, legible, "bright", content, ())


def film(*boxes, path="a.png", width=100):
    return AnnotatedFilm(path, width, 100, boxes)


def measured(first, second):
    rows = measure_agreement(pair_readings(first, second))
    return {row.measure: row.estimate for row in rows}


def test_boxes_match_by_overlap_or_by_their_centre():
    first = film(box(10, 10, 30, 20), box(50, 50, 90, 60), box(0, 80, 10, 90))
    second = film(box(12, 10, 30, 20), box(68, 50, 72, 60), box(11, 80, 20, 90))

    (pair,) = pair_readings([first], [second])

    assert len(pair.matched) == 2
    assert len(pair.pairs) == 4


def test_a_box_matches_once_and_its_best_partner():
    whole = box(10, 10, 50, 20)
    (pair,) = pair_readings([film(whole)], [film(box(10, 10, 22, 20), box(10, 10, 48, 20))])

    assert pair.matched == [(whole, box(10, 10, 48, 20))]


def test_f1_kinds_contents_and_edges_are_counted():
    first = [film(box(10, 10, 30, 20), box(50, 50, 90, 60)), film(path="b.png")]
    second = [
        film(path="b.png"),
        film(box(12, 10, 30, 20, kind="number", content="a p"), box(0, 80, 10, 90)),
    ]

    found = measured(first, second)

    assert found["boxes, F1"].value == pytest.approx(2 / 4)
    assert found["kind"].value == 0.0
    assert found["content"].value == 1.0
    assert found["edges within 2 px"].value == 1.0
    assert found["distance of an edge, median"].value == 0.0
    assert found["film with or without text, kappa"].value == 1.0


def test_kappa_is_cohens():
    def read(kinds):
        return [
            film(box(10, 10, 30, 20, kind=kind), path=f"{number}.png")
            for number, kind in enumerate(kinds)
        ]

    # Cohen's worked example in small: 7 of 10 agree, .5 by chance.
    first = read(["word"] * 5 + ["date"] * 5)
    second = read(["word"] * 4 + ["date"] + ["date"] * 3 + ["word"] * 2)

    found = measured(first, second)["kind, kappa"]

    chance = 0.5 * 0.6 + 0.5 * 0.4
    assert found.value == pytest.approx((0.7 - chance) / (1 - chance))
    assert found.low < found.value < found.high


def test_readers_of_other_films_are_refused():
    with pytest.raises(DataIntegrityError, match="1 films have one reader"):
        pair_readings([film()], [film(), film(path="b.png")])
    with pytest.raises(DataIntegrityError, match="100x100 px for one reader and 90x100"):
        pair_readings([film()], [film(width=90)])


@pytest.mark.parametrize(
    ("name", "kappa"),
    [("second", "0.96 | 0.94 to 0.98 | 496"), ("third", "0.93 | 0.87 to 0.98 | 262")],
)
def test_the_sets_are_what_two_readers_saw(tmp_path, name, kappa):
    readers = [DATA / f"markers_{name}_reader{number}.json" for number in (1, 2)]

    outcome = call("bench", "agreement", *readers, "--out", tmp_path / "out")

    assert outcome.code == 0
    assert f"| kind, kappa | {kappa} |" in outcome.out
    assert (tmp_path / "out" / DISAGREEMENTS_NAME).read_text().startswith("film,about,first_box")


def test_equal_readings_have_no_disagreement(tmp_path):
    path = DATA / "markers_second_reader1.json"

    text = bench_agreement(path, path, tmp_path / "out")

    assert "| boxes, F1 | 100.0 %" in text
    assert len((tmp_path / "out" / DISAGREEMENTS_NAME).read_text().splitlines()) == 1
