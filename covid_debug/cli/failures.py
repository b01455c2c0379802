"""Which errors a user can mend, and the one line that says how."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from covid_debug.errors import CovidDebugError
from covid_debug.shown import to_printable

_MENDABLE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENAMETOOLONG,
        errno.ESTALE,
    }
)
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended
TERMINATED = 143  # the same, by SIGTERM
_arrived: list[int] = []
_FRAMEWORKS = ("prefect", "httpx", "httpcore", "anyio")


def describe_failure(error: BaseException) -> str | None:
    """Say in one line what a user can mend.

    Args:
        error: What ended a command.

    Returns:
        The line, or None for an error that is a fault of this program.
    """
    for link in _chain(error):
        line = _describe(link)
        if line is not None:
            return to_printable(" ".join(line.split()))
    if type(error).__module__ == "httpx":  # which Prefect asks its server with, and nothing else
        return (
            f"Prefect's server does not answer ({error}); finished stages are kept, start again to"
            " go on"
        )
    return None


def find_interruption(error: BaseException) -> int | None:
    """Return the exit code of a run that Ctrl-C (130) or SIGTERM (143) ended, otherwise None.

    The signal may arrive anywhere, also where a library makes an error of its own of it.
    """
    if _arrived:
        return TERMINATED
    for link in _chain(error, whole=True):
        if isinstance(link, KeyboardInterrupt):
            return INTERRUPTED
        if type(link).__name__ == "TerminationSignal":  # ours, or Prefect's own
            return TERMINATED
    return None


class TerminationSignal(BaseException):
    """SIGTERM arrived."""


@contextmanager
def termination_raised() -> Iterator[None]:
    """Raise :class:`TerminationSignal` at SIGTERM while the body runs, so that it is told.

    Prefect puts a handler of its own into this one's place, and what either raises may be lost in
    a library. So the interpreter itself notes each signal, whoever handles it.
    """

    def end(*_: object) -> None:
        raise TerminationSignal

    _arrived.clear()
    noted, note = os.pipe()
    os.set_blocking(noted, False)
    os.set_blocking(note, False)
    before, noted_before = signal.signal(signal.SIGTERM, end), signal.set_wakeup_fd(note)
    try:
        yield
    finally:
        signal.set_wakeup_fd(noted_before)
        signal.signal(signal.SIGTERM, before)
        with suppress(BlockingIOError):
            _arrived.extend(one for one in os.read(noted, 1000) if one == signal.SIGTERM)
        os.close(noted)
        os.close(note)


def _chain(error: BaseException, *, whole: bool = False) -> Iterator[BaseException]:
    """Yield the error, and what lies behind it when a framework stumbled over the first one."""
    link: BaseException | None = error
    while link is not None:
        yield link
        if not whole and not type(link).__module__.startswith(_FRAMEWORKS):
            return
        link = link.__cause__ or link.__context__


def _describe(error: BaseException) -> str | None:
    if isinstance(error, CovidDebugError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _MENDABLE:
        place = error.filename or "the output folder"
        return f"{place}: {error.strerror}; finished stages are kept, free or choose another place"
    # torch's own class is a RuntimeError; importing torch for it would slow --help down.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            f"out of memory ({error}); finished stages are kept; use smaller batches or images, or"
            " fewer processes"
        )
    return None
