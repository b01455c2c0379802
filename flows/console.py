"""What a run says on the terminal: stages, progress with time left, and the end.

A terminal gets live bars; a log file gets a line every few seconds. Nothing here computes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ProgressCallback = Callable[[int, int], None]
LOG_PERIOD_S = 15.0


def format_duration(seconds: float) -> str:
    """Write a duration as people say it, e.g. ``"42 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class RunConsole:
    """Prints the stages of one run, numbered, with their time."""

    def __init__(self, n_stages: int = 0) -> None:
        """Start counting.

        Args:
            n_stages: How many stages will come; 0 prints no numbers (a single command).
        """
        self.rich = Console(highlight=False, soft_wrap=True)
        self._n_stages = n_stages
        self._stage = 0

    def say(self, text: str) -> None:
        """Print one line of plain text below the current stage."""
        self.rich.print(f"      {escape(text)}" if self._n_stages else escape(text))

    def headline(self, text: str) -> None:
        """Print one emphasised line."""
        self.rich.print(f"[bold]{escape(text)}[/bold]")

    def warn(self, text: str) -> None:
        """Print one line that the user should act on."""
        self.rich.print(f"      [yellow]warning:[/yellow] {escape(text)}")

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Announce a stage and, when it ends, its duration.

        Yields:
            Nothing; the stage runs inside.
        """
        self._stage += 1
        number = f"[{self._stage}/{self._n_stages}] " if self._n_stages else ""
        self.headline(f"{number}{title}")
        start = time.monotonic()
        yield
        self.say(f"done in {format_duration(time.monotonic() - start)}")

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """Keep the user informed about a long loop.

        Yields:
            A callback ``(done, total)``.
        """
        if self.rich.is_terminal:
            columns = (
                TextColumn("      {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.rich, transient=True) as bars:
                task = bars.add_task(escape(title), total=None)
                yield lambda done, total: bars.update(task, completed=done, total=total)
        else:
            yield self._log_progress(title)

    def _log_progress(self, title: str) -> ProgressCallback:
        start = last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < LOG_PERIOD_S or not done:
                return
            last = now
            left = format_duration((now - start) / done * (total - done))
            self.say(f"{title}: {done} of {total}, {left} left")

        return report
