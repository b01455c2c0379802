"""What the terminal shows."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from covid_debug import terminal as console_module
from covid_debug.terminal import RunConsole, _Counts, alive


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
