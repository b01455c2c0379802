"""Split files of every COVIDx version."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_debug.data.covidx import (
    LABELS,
    SplitRow,
    format_row,
    parse_line,
    parse_split_file,
    select_class_names,
    write_split_file,
)
from covid_debug.errors import DataIntegrityError, InputContractError

# Rows per published file (train, test).
N_ROWS = {
    "": (16_546, 210),
    "2": (13_569, 231),
    "3": (13_670, 300),
    "4": (13_898, 300),
    "5": (13_958, 300),
    "6": (14_311, 200),
    "7A": (15_111, 300),
    "7B": (15_464, 200),
    "8A": (15_599, 400),
    "8B": (15_952, 400),
    "9A": (30_130, 400),
    "9B": (30_482, 400),
    "Sev": (759, 150),
}
WORDS = st.text("aZ09-_.()é", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("3 SARS-a.jpeg pneumonia", SplitRow("3", "SARS-a.jpeg", "pneumonia")),
        ("3 SARS-a.jpeg pneumonia cohen", SplitRow("3", "SARS-a.jpeg", "pneumonia", "cohen")),
        (
            "COVID 216 COVID(216).png COVID-19 sirm",
            SplitRow("COVID 216", "COVID(216).png", "COVID-19", "sirm"),
        ),
        ("normal normal normal normal", SplitRow("normal normal", "normal", "normal")),
        ("p a.png normal rnsa", SplitRow("p", "a.png", "normal", "rnsa")),
        ("p a.png positive site-b", SplitRow("p", "a.png", "positive", "site-b")),
    ],
)
def test_parse_line_reads_from_the_right(line: str, expected: SplitRow) -> None:
    assert parse_line(line) == expected
    assert format_row(expected) == line


def test_parse_split_file_with_a_byte_order_mark_reads_the_first_patient(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("p1 a.png normal cohen\n", encoding="utf-8-sig")

    assert parse_split_file(tmp_path / "a.txt")[0].patient_id == "p1"


@pytest.mark.parametrize(
    ("row", "source"),
    [
        (SplitRow("p", "a.png", "normal", "rnsa"), "rsna"),
        (SplitRow("p", "a.png", "normal", "cohen"), "cohen"),
        (SplitRow("p", "47c78742-4998-4878-aec4-37b11b1354ac.png", "normal"), "rsna"),
        (SplitRow("p", "01E392EE-69F9-4E33-BFCE-E5C968654078.jpeg", "COVID-19"), ""),
        (SplitRow("p", "a.png", "normal"), ""),
    ],
)
def test_source_mends_the_typo_and_fills_the_gap(row: SplitRow, source: str) -> None:
    assert row.source == source


@given(
    patient=st.lists(WORDS, min_size=1, max_size=3).map(" ".join),
    filename=WORDS,
    label=st.sampled_from(sorted(LABELS)),
    source=st.one_of(st.just(""), WORDS.filter(lambda word: word not in LABELS)),
)
def test_rows_survive_writing_and_parsing(
    patient: str, filename: str, label: str, source: str
) -> None:
    row = SplitRow(patient, filename, label, source)

    assert parse_line(format_row(row)) == row


@pytest.mark.parametrize(
    "row",
    [
        SplitRow("p", "a b.png", "normal", ""),
        SplitRow("p", "a.png", "healthy", "cohen"),
        SplitRow("p", "a.png", "normal", "normal"),
        SplitRow("p", "", "normal", "cohen"),
        SplitRow("", "a.png", "normal", "cohen"),
        SplitRow("p\n", "a.png", "normal", "cohen"),
    ],
)
def test_format_row_refuses_what_cannot_be_read_back(row: SplitRow) -> None:
    with pytest.raises(InputContractError, match=r"covidx\.format_row|is not 'patientid"):
        format_row(row)


@pytest.mark.parametrize("line", ["a.png normal", "p a.png healthy cohen", "normal", "p  normal"])
def test_parse_line_without_fields_raises(line: str) -> None:
    with pytest.raises(InputContractError, match="is not 'patientid filename label"):
        parse_line(line)


def test_parse_split_file_names_the_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("p a.png normal\np b.png healthy\n")

    with pytest.raises(DataIntegrityError, match=r"train.txt:2: line 'p b.png healthy'"):
        parse_split_file(path)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_parse_split_file_without_rows_raises(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.txt").write_bytes(content)

    with pytest.raises(DataIntegrityError, match="lists no image"):
        parse_split_file(tmp_path / "train.txt")


def test_parse_split_file_missing_or_binary_raises(tmp_path: Path) -> None:
    with pytest.raises(DataIntegrityError, match=r"none\.txt: no such file"):
        parse_split_file(tmp_path / "none.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataIntegrityError, match=r"binary\.txt: cannot be read as UTF-8"):
        parse_split_file(tmp_path / "binary.txt")


def test_parse_split_file_accepts_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"p a.png normal cohen\r\n\r\n")

    assert parse_split_file(tmp_path / "train.txt") == [SplitRow("p", "a.png", "normal", "cohen")]


def test_select_class_names_keeps_covid_net_order() -> None:
    assert select_class_names(["COVID-19", "normal"], where="x") == (
        "normal",
        "pneumonia",
        "COVID-19",
    )
    assert select_class_names(["positive"], where="x") == ("negative", "positive")
    with pytest.raises(DataIntegrityError, match="x: labels normal, positive belong to different"):
        select_class_names(["normal", "positive"], where="x")


@pytest.mark.real_data
@pytest.mark.parametrize("version", list(N_ROWS))
@pytest.mark.parametrize("part", ["train", "test"])
def test_published_files_round_trip_byte_for_byte(
    shared_data: Path, tmp_path: Path, version: str, part: str
) -> None:
    published = shared_data / "covidx-labels" / f"{part}_COVIDx{version}.txt"

    rows = parse_split_file(published)
    write_split_file(tmp_path / "copy.txt", rows)

    assert len(rows) == N_ROWS[version][part == "test"]
    assert (tmp_path / "copy.txt").read_bytes() == published.read_bytes()
    assert not any(" " in row.filename for row in rows)
    assert "rnsa" not in {row.source for row in rows}


@pytest.mark.real_data
def test_published_files_hold_what_the_reference_counts(shared_data: Path) -> None:
    labels = shared_data / "covidx-labels"
    train9 = parse_split_file(labels / "train_COVIDx9A.txt")
    train7 = parse_split_file(labels / "train_COVIDx7A.txt")
    test3 = parse_split_file(labels / "test_COVIDx3.txt")

    assert Counter(row.label for row in train9) == {
        "normal": 8085,
        "pneumonia": 5555,
        "COVID-19": 16_490,
    }
    assert sum(row.published_source == "rnsa" for row in train9) == 199
    assert len({row.patient_id for row in train9 if row.label == "COVID-19"}) == 2808
    assert sum(" " in row.patient_id for row in train7 if row.source == "sirm") == 1182
    assert sum(not row.published_source for row in test3) == 197
    inferred = Counter(row.source for row in test3 if not row.published_source)
    assert inferred == {"rsna": 196, "": 1}
    named = [row for row in train7 if replace(row, published_source="").source == "rsna"]
    assert {row.source for row in named} == {"rsna"}
