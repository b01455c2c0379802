"""Whatever stands in a list, table, decisions file or configuration: records, or one line."""

# ruff: noqa: PT017  either is right: a record, or one error

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from covid_debug.cleaning.decisions import apply_decisions, read_decisions, render_decisions
from covid_debug.config.loader import load_config
from covid_debug.data.covidx import format_row, parse_split_file
from covid_debug.data.sources.base import read_table
from covid_debug.errors import ConfigError, DataIntegrityError
from covid_debug.imaging.regions import iter_regions, to_line
from covid_debug.journal import Journal
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.reporting.returned import read_export
from covid_debug.text.kinds import load_kinds

SETTINGS = settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FILM = FilmRegions("a", 9, 9, (TextRegion(((0, 0), (5, 0), (5, 5)), 0.5, "R", "d", "unknown"),))
ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        10**30,
        1e308,
        float("inf"),
        float("nan"),
        "",
        "a",
        "\x1b[2J",
        "\ud800",
        [],
        {},
    ]
)
JSON = st.recursive(
    ODD | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
CORNERS = st.lists(st.lists(ODD | st.integers(0, 9), min_size=1, max_size=3), max_size=5)
REGION = st.fixed_dictionaries(
    {
        "polygon": CORNERS | ODD | st.just([[0, 0], [5, 0], [5, 5]]),
        "confidence": ODD | st.just(0.5),
    },
    optional={"content": ODD, "kind": ODD | st.just("date"), "detector": ODD, "reason": ODD},
)
REGIONS = st.fixed_dictionaries(
    {"image": ODD},
    optional={
        "width": ODD,
        "height": ODD,
        "regions": st.lists(REGION, max_size=2) | ODD,
        "rejected": st.lists(REGION, max_size=2) | ODD,
        "error": ODD,
    },
)
DECISION = st.fixed_dictionaries(
    {"image_id": st.just("a") | ODD, "decision": st.sampled_from(["add", "keep", "reject", None])},
    optional={
        "region_index": st.just(0) | ODD,
        "box": st.just([0, 0, 5, 5]) | st.lists(ODD, max_size=4) | ODD,
        "reviewer": ODD,
        "note": ODD,
    },
)
TEXT = st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
DEEP = "[" * 100_000


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def check_line(film: FilmRegions) -> None:
    """What was read can be written."""
    json.dumps(to_line(film), ensure_ascii=False, allow_nan=False).encode()


@SETTINGS
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
@example(b"1 a\0b.png normal x\n")
@example(b"\xef\xbb\xbf1 ../../etc/passwd COVID-19 <script>\n")
def test_a_split_list_is_rows_that_can_be_written_or_one_line(
    tmp_path: Path, content: bytes
) -> None:
    try:
        rows = parse_split_file(write(tmp_path, content))
    except DataIntegrityError as error:
        assert str(tmp_path / "file") in str(error)
    else:
        assert all("\n" not in format_row(row) for row in rows)


@SETTINGS
@given(st.binary(max_size=60))
@example(b'a,b\n"1')
@example(b"a,b\n1,\0\n")
@example(b"a,b\n" + b"x" * 200_000)
@example(b"a,a,b\n1,2,3,4,5\n\n")
def test_a_table_is_rows_of_its_columns_or_one_line(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    try:
        rows = list(read_table(tmp_path, "file", ("a", "b")))
    except DataIntegrityError as error:
        assert str(tmp_path / "file") in str(error)
    else:
        assert all(row.keys() == {"a", "b"} for row in rows)


@SETTINGS
@given(REGIONS | JSON)
def test_regions_can_be_written_again_or_are_one_line(tmp_path: Path, record: Any) -> None:
    path = write(tmp_path, json.dumps(record) + "\n")
    try:
        for film in iter_regions(path):
            check_line(film)
    except DataIntegrityError as error:
        assert f"{path}:1: " in str(error)
        assert "\n" not in str(error)


@SETTINGS
@given(DECISION | JSON)
def test_decisions_can_be_applied_and_written_or_are_one_line(tmp_path: Path, record: Any) -> None:
    path = write(tmp_path, json.dumps(record) + "\n")
    try:
        decisions = read_decisions(path)
        render_decisions(decisions).encode()
        check_line(apply_decisions({"a": FILM}, decisions)["a"])
    except DataIntegrityError as error:
        assert "\n" not in str(error)


@SETTINGS
@given(JSON | st.lists(st.fixed_dictionaries({"data": JSON, "annotations": st.lists(JSON)})))
def test_an_export_of_another_tool_is_decisions_or_one_line(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path, json.dumps(content))
    try:
        read_export(path, "somebody")
    except (DataIntegrityError, ValueError) as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("read", [lambda p: list(iter_regions(p)), read_decisions, read_export])
@pytest.mark.parametrize("content", [DEEP, '{"image": ' * 5000, "9" * 5000, "\0", '"\\ud800"'])
def test_json_that_no_reader_survives_is_one_line(tmp_path: Path, read: Any, content: str) -> None:
    with pytest.raises(DataIntegrityError, match="file"):
        read(write(tmp_path, content))


def test_a_journal_passes_over_what_is_nested_too_deeply(tmp_path: Path) -> None:
    path = write(tmp_path, f'{DEEP}\n{{"image": "a"}}\n')

    assert list(Journal(path, "image")) == ["a"]


@SETTINGS
@given(TEXT | st.binary(max_size=40))
@example(b"name: &a [*a]")
@example(b"name: t\ndata: {kind: phantom, n_train: 1e400, n_test: 2}")
@example(b"name: t\ndata: {kind: phantom, n_train: " + b"9" * 400 + b", n_test: 2}")
@example(b"name: t\n? {a: b}\n: 1")
@example(b"2001-01-01: !!set {a, b}")
@pytest.mark.parametrize("load", [load_config, load_kinds])
def test_a_configuration_is_valid_or_one_error(tmp_path: Path, load: Any, content: bytes) -> None:
    try:
        load(write(tmp_path, content))
    except ConfigError as error:
        assert str(tmp_path / "file") in str(error)
