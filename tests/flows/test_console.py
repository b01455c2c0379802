"""What the terminal shows."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from covid_debug import terminal as console_module
from covid_debug.cli.run import write_ending
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.answers import TrainTest
from covid_debug.terminal import RunConsole, _Counts, alive

SHARE = Estimate(0.8, 0.7, 0.9, 100)


@pytest.fixture
def console() -> RunConsole:
    quiet = RunConsole()
    quiet.rich = Console(file=io.StringIO(), width=200)
    return quiet


def read(console: RunConsole) -> str:
    assert isinstance(console.rich.file, io.StringIO)
    return console.rich.file.getvalue()


def test_findings_are_printed_with_their_severity(console: RunConsole) -> None:
    for severity in ("info", "warning", "critical"):
        console.finding(severity, f"{severity} [text]")

    assert [line.strip() for line in read(console).splitlines()] == [
        "info [text]",
        "warning: warning [text]",
        "critical: critical [text]",
    ]


def test_terminal_breaks_between_words_and_leaves_what_is_copied_whole() -> None:
    narrow = RunConsole(2)
    narrow.rich = Console(file=io.StringIO(), width=40, force_terminal=True, soft_wrap=True)
    path = "/a/folder/with/a-rather-long/name/of/its/own/report.html"

    narrow.finding("critical", "the source alone answers 'class' for 4 of 4 films")
    narrow.say(f"report: {path}")

    shown = re.sub(r"\x1b\[[0-9;]*m", "", read(narrow))
    assert [line.rstrip() for line in shown.splitlines()] == [
        "      critical: the source alone answers",
        "      'class' for 4 of 4 films",
        "      report:",
        f"      {path}",
    ]


def test_ending_is_answers_then_tables_that_fit_then_links(tmp_path: Path) -> None:
    cells = {"class_name": "COVID-19", "precision": SHARE, "recall": SHARE}
    rows = tuple(
        TrainTest(train_data=arm, test_data=test, **cells)
        for arm in ("original", "cleaned")
        for test in ("original", "cleaned", "placebo", "decoys", "swapped", "text_free")
    )
    summary = SimpleNamespace(train_test=rows, short_answers=())
    outcome = SimpleNamespace(run_dir=tmp_path, summary=summary, mlflow_url="http://host")

    lines = "\n".join(write_ending(outcome, 80)).splitlines()

    assert max(len(line) for line in lines if "://" not in line and "Tables" not in line) <= 80
    assert sum("tested on" in line for line in lines) == 2
    assert sum("80 [70, 90]" in line for line in lines) == 8
    assert [line for line in lines if "://" in line] == [
        f"Report: {(tmp_path / 'report.html').as_uri()}",
        "MLflow: http://host",
    ]
    assert len("\n".join(write_ending(outcome, 200)).splitlines()) < len(lines)


def test_bar_says_what_is_known() -> None:
    now = 0.0
    bars = Progress(get_time=lambda: now, auto_refresh=False)
    bar = bars.add_task("films", total=None)

    now = 7.0
    assert _Counts().render(bars.tasks[0]).plain == "started 7 s ago"
    bars.update(bar, completed=0, total=42)
    assert _Counts().render(bars.tasks[0]).plain == "0 of 42"
    now = 8.0
    bars.update(bar, advance=1)
    now = 9.0
    bars.update(bar, advance=1)
    assert _Counts().render(bars.tasks[0]).plain == "2 of 42, 40 s left"


def test_time_left_is_counted_anew_in_every_loop(
    console: RunConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((0, 100, 120, 140, 160, 180))
    monkeypatch.setattr(console_module.time, "monotonic", lambda: next(times))

    with console.progress("films") as progress:
        for done, total in ((1, 3), (2, 3), (3, 3), (8, 10), (9, 10)):
            progress(done, total)

    assert [line.strip() for line in read(console).splitlines()] == [
        "films: 2 of 3, 20 s left",
        "films: 3 of 3, 0 s left",
        "films: 9 of 10, 20 s left",
    ]


def test_waiting_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console_module, "ALIVE_PERIOD_S", 0.001)
    said = ""

    with alive("loading"):
        while not said:
            said = capsys.readouterr().out

    assert said.startswith("loading, 0 s so far")
