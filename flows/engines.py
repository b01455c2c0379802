"""What carries shards out, and the one that needs no cluster: threads of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covid_debug.errors import CovidDebugError
from covid_debug.shards import Shard
from covid_debug.stages import Means, Request
from flows.workers import Making


class WorkerDiedError(CovidDebugError):
    """The worker of a shard died, as often as its scheduler tries again.

    Attributes:
        worker: Which one; what waited there is told the same.
    """

    def __init__(self, worker: str) -> None:
        """Say which worker died."""
        super().__init__(f"killed its worker ({worker}), probably for lack of memory")
        self.worker = worker


@dataclass(frozen=True)
class Engine:
    """What carries shards out.

    Attributes:
        n_workers: How many shards are worked on at once.
        n_handed_out: How many are handed out at once.
        make: Makes a shard, in any thread; raises :class:`WorkerDiedError`.
        check: Raises where no worker is left; asked every few seconds.
        stop: Ends what is going on.
    """

    n_workers: int
    n_handed_out: int
    make: Callable[[Shard], None]
    check: Callable[[], None]
    stop: Callable[[], None]


@contextmanager
def open_threads(n_threads: int, request: Request, target: Path, means: Means) -> Iterator[Engine]:
    """Make shards on threads of this process; each builds what it works with for itself.

    Yields:
        The engine.
    """
    ended, own = threading.Event(), threading.local()

    def make(shard: Shard) -> None:
        making: Making | None = getattr(own, "making", None)
        if making is None or making.is_over:
            making = own.making = Making(request, target, means, lambda: not ended.is_set())
        making.make(shard)

    try:
        yield Engine(n_threads, n_threads, make, check=lambda: None, stop=ended.set)
    finally:
        ended.set()
