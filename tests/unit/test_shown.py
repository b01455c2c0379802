"""Names out of strangers' files: nothing in them acts on a terminal, a page or a table."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_debug.cli.failures import describe_failure
from covid_debug.data.integrity import IngestAudit
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Flag
from covid_debug.shown import from_cell, to_cell, to_markdown, to_printable
from covid_debug.terminal import RunConsole

EVIL = "\x1b[2J\x1b]0;owned\x07 a\rb\x9b31m \u202egnp <script>alert(1)</script> [x](j:y) | `c`"
ACTING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b\u00e9 \u0440.png", "a b\u00e9 \u0440.png"),
        ("a\nb\x1b", r"a\x0ab\x1b"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800\u202e", r"\ud800\u202e"),
    ],
)
def test_to_printable_escapes_what_acts_and_nothing_else(text: str, shown: str) -> None:
    assert to_printable(text) == shown


def test_to_markdown_leaves_no_markup() -> None:
    shown = to_markdown(EVIL)

    assert "<script>" not in shown
    assert r"\[x](" in shown
    assert r"\| \`c\`" in shown
    assert not ACTING.search(shown)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_to_cell_is_no_formula(start: str) -> None:
    assert to_cell(f"{start}1+1") == f"'{start}1+1"
    assert to_cell("R 1+1") == "R 1+1"


@given(st.text("'=+-@\t\r a1"))
def test_cells_are_read_as_what_was_written(text: str) -> None:
    assert from_cell(to_cell(text)) == text
    assert to_cell(text)[:1] not in tuple("=+-@\t\r")


def test_what_the_terminal_prints_acts_on_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console = RunConsole()
    console.say(f"line 1: {EVIL}\nline 2")
    console.warn(EVIL)
    console.headline(EVIL)

    said = capsys.readouterr().out
    assert "\nline 2" in said
    assert "alert(1)" in said
    assert not ACTING.search(said)


def test_an_error_is_one_line_without_escapes() -> None:
    line = describe_failure(DataIntegrityError(f"{EVIL}\nerror: second: no such file"))

    assert line is not None
    assert "\n" not in line
    assert not ACTING.search(line)


def test_the_ingest_audit_shows_names_as_they_are(tmp_path: Path) -> None:
    flag = Flag("rule", "warning", f"film {EVIL}", {"n": 1})
    audit = IngestAudit("set", 1, 1, (flag,), {"left_out": ({"reason": EVIL, "n_films": 1},)})

    page = audit.render_markdown()

    assert "<script>" not in page
    assert not ACTING.search(page)
    assert all(line.count(" | ") == 1 for line in page.splitlines() if line.startswith("| reason"))
