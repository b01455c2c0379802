import json

import pytest

from covid_debug.cleaning.build import CleaningParams, clean_filmset
from covid_debug.cleaning.decisions import (
    Decision,
    apply_decisions,
    count_disagreements,
    read_decisions,
)
from covid_debug.cleaning.diff import diff_builds
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.regions import read_regions
from covid_debug.records import FilmRegions, TextRegion


def make_region(x: float, y: float, wide: float, high: float) -> TextRegion:
    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
    return TextRegion(polygon, 0.9, None, "made")


FIRST, SECOND = make_region(10, 10, 20, 10), make_region(50, 50, 20, 10)
REGIONS = {"a": FilmRegions("a", 100, 100, (FIRST, SECOND)), "b": FilmRegions("b", 100, 100, ())}


def test_apply_decisions_reject_by_index_moves_the_region_with_the_name():
    revised = apply_decisions(REGIONS, [Decision("a", "reject", "AB", region_index=0)])

    assert revised["a"].regions == (SECOND,)
    assert revised["a"].rejected == ((FIRST, "rejected by AB"),)
    assert revised["b"] == REGIONS["b"]


def test_apply_decisions_reject_by_box_takes_the_region_that_overlaps_most():
    revised = apply_decisions(REGIONS, [Decision("a", "reject", "AB", box=(49, 51, 70, 61))])

    assert revised["a"].regions == (FIRST,)


def test_apply_decisions_keep_leaves_the_region_and_says_who_wanted_it():
    line = Decision("a", "keep", "AB", region_index=1, box=(50.0, 50.0, 70.0, 60.0))

    revised = apply_decisions(REGIONS, [line])

    assert revised["a"].regions == (FIRST,)
    assert revised["a"].rejected == ((SECOND, "kept by AB"),)


def test_apply_decisions_last_line_about_a_region_counts():
    lines = [
        Decision("a", "reject", "AB", region_index=0),
        Decision("a", "accept", "CD", region_index=0),
    ]

    assert apply_decisions(REGIONS, lines)["a"].regions == (FIRST, SECOND)
    assert count_disagreements(lines) == 1


def test_count_disagreements_counts_verdicts_on_films_too():
    lines = [
        Decision("f", "accept", "A"),
        Decision("f", "reject", "B"),
        Decision("g", "accept", "A"),
    ]

    assert count_disagreements(lines) == 1
    assert count_disagreements([*lines, Decision("f", "accept", "B")]) == 0


def test_apply_decisions_add_appends_a_region_of_the_reviewer():
    revised = apply_decisions(REGIONS, [Decision("b", "add", "AB", box=(1, 2, 11, 12))])

    assert revised["b"].regions[0].box == (1, 2, 11, 12)
    assert revised["b"].regions[0].detector == "reviewer"


def test_apply_decisions_about_a_verdict_change_nothing():
    lines = [Decision("a", "reject", "AB"), Decision("unknown", "accept", "AB")]

    assert apply_decisions(REGIONS, lines) == REGIONS


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (Decision("z", "reject", "AB", region_index=0), "film 'z' has no text regions"),
        (Decision("a", "reject", "AB", region_index=2), "has 2 regions.*about number 2"),
        (
            Decision("a", "keep", "AB", region_index=0, box=(50, 50, 70, 60)),
            "region 0 of film 'a' is not at box.*not about another scan",
        ),
        (Decision("a", "reject", "AB", box=(80, 80, 90, 90)), "no region at box.*decision 'add'"),
        (Decision("b", "reject", "AB", box=(80, 80, 90, 90)), "no region at box"),
    ],
)
def test_apply_decisions_that_do_not_fit_name_film_and_remedy(decision, message):
    with pytest.raises(DataIntegrityError, match=message):
        apply_decisions(REGIONS, [decision])


def test_read_decisions_reads_what_a_report_exports(tmp_path):
    path = tmp_path / "decisions.jsonl"
    lines = [
        {"image_id": "a", "decision": "unsure", "reviewer": "", "note": "?"},
        {"image_id": "a", "decision": "reject", "reviewer": "AB", "region_index": 1},
        {"image_id": "b", "decision": "add", "reviewer": "AB", "box": [1, 2, 3, 4]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")

    assert read_decisions(path) == (
        Decision("a", "unsure", "", note="?"),
        Decision("a", "reject", "AB", region_index=1),
        Decision("b", "add", "AB", box=(1.0, 2.0, 3.0, 4.0)),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "decisions.jsonl:1: is not a decision"),
        ('{"image_id": "a"}', "decision"),
        ('{"image_id": "a", "decision": "maybe"}', "decision is 'maybe'"),
        ('{"image_id": "a", "decision": "reject", "region_index": -1}', "region_index is -1"),
        ('{"image_id": "a", "decision": "reject", "box": [3, 2, 1, 4]}', "x_min < x_max"),
        ('{"image_id": "a", "decision": "add"}', "add has no box"),
        ('{"image_id": "a", "decision": "keep"}', "keep names no region"),
        ('["a"]', "is not a decision"),
    ],
)
def test_read_decisions_with_a_bad_line_names_the_line(tmp_path, line, message):
    path = tmp_path / "decisions.jsonl"
    path.write_text(line)

    with pytest.raises(DataIntegrityError, match=message):
        read_decisions(path)


def test_read_decisions_without_a_file_says_so(tmp_path):
    with pytest.raises(DataIntegrityError, match="no such file"):
        read_decisions(tmp_path / "none.jsonl")


def test_clean_filmset_keeps_decisions_and_diff_shows_their_effect(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 30, 14), (60, 50, 20, 14)], [(20, 40, 24, 14)], []])
    rejected = films.films[0].image_id
    decisions = [
        Decision(rejected, "reject", "AB", region_index=1, note="an electrode"),
        Decision(films.films[2].image_id, "add", "AB", box=(5.0, 5.0, 25.0, 20.0)),
    ]
    plain = clean_filmset(films, regions, CleaningParams(), tmp_path / "plain")

    reviewed = clean_filmset(
        films, regions, CleaningParams(), tmp_path / "reviewed", decisions=decisions
    )

    assert read_decisions(reviewed.root / "decisions.jsonl") == tuple(decisions)
    line = read_regions(reviewed.root / "regions.jsonl")[rejected]
    assert [reason for _, reason in line.rejected] == ["rejected by AB"]
    diff = diff_builds(plain.root, reviewed.root)
    assert diff.regions_changed == {rejected: (1, 0), films.films[2].image_id: (0, 1)}
    assert set(diff.pixels_changed) == set(diff.regions_changed)
    assert diff.only_first == diff.only_second == diff.inputs_changed == ()
    assert diff.parameters == {}
    assert f"- film {rejected}: 1 regions gone, 0 new" in diff.to_markdown()


def test_diff_builds_of_equal_builds_is_empty(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 30, 14)], []])
    for name in ("a", "b"):
        clean_filmset(films, regions, CleaningParams(), tmp_path / name)

    diff = diff_builds(tmp_path / "a", tmp_path / "b")

    assert diff.is_empty
    assert diff.to_markdown() == "The two builds are equal.\n"


def test_diff_builds_names_changed_parameters_and_lost_films(make_set, tmp_path):
    films, regions = make_set([[(10, 10, 30, 14)], [], []])
    clean_filmset(films, regions, CleaningParams(), tmp_path / "a")
    lost = films.films[2].image_id
    del regions[lost]
    clean_filmset(films, regions, CleaningParams(method="blur"), tmp_path / "b")

    diff = diff_builds(tmp_path / "a", tmp_path / "b")

    assert diff.parameters == {"method": ("telea", "blur")}
    assert diff.only_first == (lost,)
    assert "- method: `telea` -> `blur`" in diff.to_markdown()


def test_diff_builds_of_a_data_set_that_was_not_cleaned_says_so(make_set):
    films, _ = make_set([[], []])

    with pytest.raises(DataIntegrityError, match=r"provenance\.csv.*made by covid-debug clean"):
        diff_builds(films.root, films.root)


def test_note_with_a_separator_that_json_leaves_alone_is_one_line(tmp_path):
    line = {"image_id": "f", "decision": "accept", "note": "a\u2028b\x85c"}
    (tmp_path / "d.jsonl").write_text(json.dumps(line, ensure_ascii=False), encoding="utf-8")

    (decision,) = read_decisions(tmp_path / "d.jsonl")

    assert decision.note == "a\u2028b\x85c"
