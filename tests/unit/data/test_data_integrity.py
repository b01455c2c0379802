"""The ingest audit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from covid_debug.data.filmset import FilmSet
from covid_debug.data.integrity import (
    IngestAudit,
    check_filmset,
    load_ingest_audit,
    write_ingest_audit,
)
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Film, UnusableFilm
from tests.films import CLASS_NAMES, build_filmset, make_film


def rules(audit: IngestAudit) -> dict[str, str]:
    return {flag.rule: flag.severity for flag in audit.flags}


def rows(audit: IngestAudit, table: str, **wanted: str) -> Sequence[Mapping[str, object]]:
    return [
        row
        for row in audit.tables[table]
        if all(row[column] == value for column, value in wanted.items())
    ]


def bare_filmset(films: Sequence[Film]) -> FilmSet:
    return FilmSet(Path("nowhere"), "bare", CLASS_NAMES, tuple(films), len(films))


def test_audit_of_a_clean_set_only_warns_of_few_test_films(tmp_path: Path) -> None:
    audit = check_filmset(build_filmset(tmp_path / "set", [make_film(i) for i in range(9)]))

    assert rules(audit) == {"small_test_class": "warning"}
    assert (audit.n_ok, audit.n_total) == (9, 9)
    assert len(audit.tables["counts"]) == 9


def test_audit_counts_by_split_class_source_and_view(tmp_path: Path) -> None:
    films = [make_film(0), make_film(9, patient_id="cohen:0"), make_film(18, view="AP")]

    audit = check_filmset(build_filmset(tmp_path / "set", films))

    expected = {"split": "train", "label": "normal", "source": "cohen"}
    assert audit.tables["counts"] == (
        {**expected, "view": "AP", "n_films": 1, "n_patients": 1},
        {**expected, "view": "PA", "n_films": 2, "n_patients": 1},
    )


def test_audit_finds_patients_on_both_sides(tmp_path: Path) -> None:
    films = [make_film(0), make_film(6, patient_id="cohen:0"), make_film(7)]

    audit = check_filmset(build_filmset(tmp_path / "set", films))

    assert rules(audit)["patients_on_both_sides"] == "critical"
    assert audit.tables["shared_patients"] == (
        {"patient": "cohen:0", "splits": "train / test", "labels": "normal", "n_films": 2},
    )


def test_audit_finds_near_duplicates_across_splits_and_labels(tmp_path: Path) -> None:
    films = [make_film(0), make_film(1), make_film(7)]

    audit = check_filmset(build_filmset(tmp_path / "set", films, seeds=[4, 5, 4]))

    assert rules(audit)["near_duplicates_across_splits"] == "critical"
    assert rules(audit)["near_duplicate_labels"] == "critical"
    (pair,) = audit.tables["near_duplicates"]
    assert (pair["first"], pair["second"], pair["distance_bits"]) == ("0.png", "7.png", 0)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("1.2_ABD_SERIES_01.png", "abd"),
        ("FLAT_PLATE_OF_ABDOMEN.png", "flat_plate"),
        ("ABDOMEN_SUPINE_KUB.png", "abdomen"),
        ("CHEST_LATERAL-2.png", "lateral"),
        ("x-kub.png", "kub"),
        ("bilateral-pneumonia.png", None),
        ("88de9d8c39e946abd495b37c.png", None),
    ],
)
def test_audit_recognises_non_chest_films_by_name(
    tmp_path: Path, name: str, word: str | None
) -> None:
    audit = check_filmset(build_filmset(tmp_path / "set", [make_film(0, path=name)]))

    assert [row["word"] for row in audit.tables["non_chest"]] == ([word] if word else [])
    assert ("non_chest_by_name" in rules(audit)) == (word is not None)


def test_audit_measures_what_the_source_gives_away(tmp_path: Path) -> None:
    # Source a is normal, source b COVID-19; in test one film of each source disagrees.
    films = [
        make_film(i, source="ab"[i % 2], label=CLASS_NAMES[2 * (i % 2)], split="train", view="")
        for i in range(6)
    ] + [
        make_film(10, source="a", label="normal", split="test"),
        make_film(11, source="b", label="COVID-19", split="test"),
        make_film(12, source="b", label="COVID-19", split="test"),
        make_film(13, source="b", label="normal", split="test"),
        make_film(14, source="new", label="normal", split="test"),
    ]
    filmset = build_filmset(tmp_path / "set", films)

    audit = check_filmset(filmset)

    # Unknown source: the overall majority, a tie that the alphabet gives to COVID-19.
    (row,) = rows(audit, "shortcuts", question="class", known="source")
    assert (row["n_correct"], row["n_films"], row["majority_accuracy"]) == (3, 5, 0.4)
    assert row["mean_recall"] == pytest.approx((1 / 3 + 2 / 2) / 2, abs=1e-4)
    (row,) = rows(audit, "shortcuts", question="COVID-19 or not", known="view")
    assert row["n_correct"] == 2
    assert rules(audit)["source_predicts_label"] == "warning"


def test_audit_reports_what_was_left_out(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0)])
    unusable = [
        UnusableFilm("a.png", "cohen", "missing file: gone"),
        UnusableFilm("b.png", "cohen", "unreadable: is empty"),
        UnusableFilm("c.png", "cohen", "label conflict: same bytes"),
        UnusableFilm("d.png", "cohen", "exact duplicate: same bytes"),
        UnusableFilm("e.png", "cohen", "todo finding: not labelled"),
        UnusableFilm("f.png", "cohen", "todo finding: not labelled"),
    ]

    audit = check_filmset(filmset, unusable=unusable)

    found = rules(audit)
    assert found["label_conflicts"] == "critical"
    assert found["missing_files"] == found["unreadable_files"] == "warning"
    assert found["exact_duplicates"] == "info"
    (row,) = rows(audit, "left_out", reason="todo finding")
    assert (row["n_films"], row["example"]) == (2, "e.png: not labelled")
    assert [flag.severity for flag in audit.flags] == sorted(
        (flag.severity for flag in audit.flags), key=["critical", "warning", "info"].index
    )


def test_audit_of_a_set_whose_files_broke_says_so(tmp_path: Path) -> None:
    filmset = build_filmset(tmp_path / "set", [make_film(0), make_film(1)])
    (tmp_path / "set" / "1.png").write_bytes(b"")

    audit = check_filmset(filmset)

    assert rules(audit)["broken_films"] == "critical"
    assert audit.n_ok == 1


def test_audit_survives_writing_and_loading(tmp_path: Path) -> None:
    audit = check_filmset(build_filmset(tmp_path / "set", [make_film(i) for i in range(9)]))

    write_ingest_audit(tmp_path, audit)

    assert load_ingest_audit(tmp_path) == audit
    assert (tmp_path / "ingest_audit.md").read_text() == audit.render_markdown()


def test_markdown_shortens_long_tables_and_escapes(tmp_path: Path) -> None:
    films = [make_film(i, view=f"v|{i}") for i in range(27)]

    text = check_filmset(build_filmset(tmp_path / "set", films)).render_markdown()

    assert "# Ingest audit: tiny" in text
    assert "27 / 27 films usable." in text
    assert "7 more rows in ingest_audit.json." in text
    assert r"v\|0" in text


def test_load_ingest_audit_of_missing_or_broken_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataIntegrityError, match="is not a readable ingest audit"):
        load_ingest_audit(tmp_path)
    (tmp_path / "ingest_audit.json").write_text("{}")
    with pytest.raises(DataIntegrityError, match="is not a readable ingest audit"):
        load_ingest_audit(tmp_path)
