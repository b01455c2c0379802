"""Listeners for tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Told:
    """Passes progress on to a function of (done, total), keeps warnings and drops the rest."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self._tell = tell
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def finding(self, severity: object, text: str) -> None:
        pass

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int], None]]:
        yield self._tell
