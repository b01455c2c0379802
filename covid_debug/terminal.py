"""What a run says on the terminal: stages, progress with time left, and the end.

A terminal gets live bars; a log file gets a line every few seconds; Prefect's page gets the lines
as the log of the run. Nothing here computes.
"""

import logging
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from covid_debug.clock import Cost, now
from covid_debug.progress import Progress as ProgressCallback
from covid_debug.records import Severity
from covid_debug.shown import to_printable

_LOG_PERIOD_S = 15.0
ALIVE_PERIOD_S = 5.0
# Prefect adds the handler that sends to its page (flows.server); the terminal has its own way.
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())
_LOG.setLevel(logging.INFO)
_LOG.propagate = False


def format_duration(seconds: float) -> str:
    """Write a duration as people say it, e.g. ``"42 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def wrap(text: str, *, indent: int = 0, width: int | None = None) -> str:
    """Break text between words, so that a terminal does not break it inside them.

    Args:
        text: May have several lines; what is longer than a line and has no space, e.g. a path
            that someone will copy, stays whole.
        indent: Spaces before every line.
        width: Columns of the terminal; None breaks nothing.

    Returns:
        The text.
    """
    lead, lines = " " * indent, text.split("\n")
    if width is None:
        return "\n".join(f"{lead}{line}" for line in lines)
    wrapper = textwrap.TextWrapper(
        max(width, 20),
        initial_indent=lead,
        subsequent_indent=lead,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrapper.fill(line) for line in lines)


@contextmanager
def alive(text: str) -> Iterator[None]:
    """Say every few seconds that something is still going on.

    Args:
        text: What is going on.

    Yields:
        Nothing; it goes on inside.
    """
    console, start, done = RunConsole(), time.monotonic(), threading.Event()

    def speak() -> None:
        while not done.wait(ALIVE_PERIOD_S):
            console.say(f"{text}, {format_duration(time.monotonic() - start)} so far")

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()


class _Counts(ProgressColumn):
    """``"12 of 42, 20 s left"``; before the total is known, for how long it has been going on."""

    def render(self, task: Task) -> Text:
        """Return the text of one bar."""
        if task.total is None:
            return Text(f"started {format_duration(task.elapsed or 0)} ago")
        counts = f"{task.completed:.0f} of {task.total:.0f}"
        if task.finished or task.time_remaining is None:
            return Text(counts)
        return Text(f"{counts}, {format_duration(task.time_remaining)} left")


class RunConsole:
    """Prints the stages of one run, numbered, with their time."""

    def __init__(self, n_stages: int = 0) -> None:
        """Start counting.

        Args:
            n_stages: How many stages will come; 0 prints no numbers (a single command).
        """
        self.rich = Console(highlight=False, soft_wrap=True)
        self.took: dict[str, Cost] = {}
        """What each finished stage took, by its title."""
        self._n_stages = n_stages
        self._stage = 0

    def say(self, text: str) -> None:
        """Print one line of plain text below the current stage."""
        self._print(text, indent=self._indent)
        _LOG.info(text)

    def headline(self, text: str) -> None:
        """Print one emphasised line."""
        self._print(text, style="bold")
        _LOG.info(text.strip())

    def warn(self, text: str) -> None:
        """Print one line that the user should act on."""
        self.finding("warning", text)

    def finding(self, severity: Severity, text: str) -> None:
        """Print one line about the data, with its severity unless that is ``"info"``."""
        if severity == "info":
            self.say(text)
            return
        colour = "red" if severity == "critical" else "yellow"
        self._print(text, indent=6, lead=f"{severity}:", style=colour)
        _LOG.log(logging.ERROR if severity == "critical" else logging.WARNING, text)

    @property
    def _indent(self) -> int:
        return 6 if self._n_stages else 0

    def _print(self, text: str, *, indent: int = 0, lead: str = "", style: str = "") -> None:
        """Print text; a style is that of its lead where there is one."""
        width = self.rich.width if self.rich.is_terminal else None
        text = "\n".join(map(to_printable, text.split("\n")))  # names of files may hold escapes
        line = Text(wrap(f"{lead} {text}" if lead else text, indent=indent, width=width))
        line.stylize(style, indent if lead else 0, indent + len(lead) if lead else None)
        self.rich.print(line)

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Announce a stage and, when it ends, its duration.

        Yields:
            Nothing; the stage runs inside.
        """
        self._stage += 1
        number = f"[{self._stage}/{self._n_stages}] " if self._n_stages else ""
        self.headline(f"{number}{title}")
        start = now()
        yield
        self.took[title] = now() - start
        self.say(f"done in {format_duration(self.took[title].clock_s)}")

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """Keep the user informed about a long loop.

        Yields:
            A callback ``(done, total)``.
        """
        if self.rich.is_terminal:
            columns = (TextColumn("      {task.description}"), BarColumn(), _Counts())
            with Progress(*columns, console=self.rich, transient=True) as bars:
                task = bars.add_task(escape(title), total=None)
                yield lambda done, total: bars.update(task, completed=done, total=total)
        else:
            yield self._log_progress(title)

    def _log_progress(self, title: str) -> ProgressCallback:
        said = start = time.monotonic()
        begun = latest = loop = 0

        def report(done: int, total: int) -> None:
            nonlocal said, start, begun, latest, loop
            now = time.monotonic()
            if total != loop or done < latest:  # another loop has begun, perhaps halfway
                start, begun, loop = now, done, total
            latest = done
            if now - said < _LOG_PERIOD_S or done == begun:
                return
            said = now
            left = format_duration((now - start) / (done - begun) * (total - done))
            self.say(f"{title}: {done} of {total}, {left} left")

        return report
