"""What long work tells while it goes on: how far it is, and the lines that a user should read."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from covid_debug.records import Severity

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class Listener(Protocol):
    """Who is told; :class:`covid_debug.terminal.RunConsole` prints it."""

    def say(self, text: str) -> None:
        """Take one line of plain text."""

    def warn(self, text: str) -> None:
        """Take one line that the user should act on."""

    def finding(self, severity: Severity, text: str) -> None:
        """Take one line about the data, with its severity."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """Open one long loop, e.g. over ``"films"``; the callback takes (done, total)."""


class Silent:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def warn(self, text: str) -> None:
        """Drop the line."""

    def finding(self, severity: Severity, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:  # noqa: ARG002
        """Yield a callback that does nothing."""
        yield lambda _done, _total: None


SILENT: Final[Listener] = Silent()
