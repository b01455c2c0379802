"""What a piece of work costs: seconds by the clock, and of the processor."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from covid_debug.progress import Progress
from covid_debug.records import Severity


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of some work.

    Attributes:
        clock_s: By the clock: what somebody waits for, beside whatever else the machine does.
        processor_s: Of the processor, all threads together: the same on a busy machine.
    """

    clock_s: float = 0.0
    processor_s: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Return both, one after the other."""
        return Cost(self.clock_s + other.clock_s, self.processor_s + other.processor_s)

    def __sub__(self, other: "Cost") -> "Cost":
        """Return what is left, at least nothing."""
        return Cost(
            max(self.clock_s - other.clock_s, 0.0), max(self.processor_s - other.processor_s, 0.0)
        )

    def __mul__(self, times: float) -> "Cost":
        """Return the work done several times."""
        return Cost(self.clock_s * times, self.processor_s * times)


NOTHING: Final = Cost()


def now() -> Cost:
    """Return the clock, and what this process and its finished children have used so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = time.process_time() + children.ru_utime + children.ru_stime
    return Cost(time.perf_counter(), used)


def measure(work: Callable[[], object], budget_s: float) -> Cost:
    """Return the cost of a call, warm: once for nothing, then again until the time is spent.

    Args:
        work: What is timed.
        budget_s: Seconds after which it is not called again.

    Returns:
        The mean of the calls but the first.
    """
    work()
    start, n = now(), 0
    while n == 0 or (now() - start).clock_s < budget_s:
        work()
        n += 1
    return (now() - start) * (1 / n)


class TickingListener:
    """Notes when each item of a stage's loops was finished, and tells nobody."""

    def __init__(self) -> None:
        """Start with no loop."""
        self._start = now()
        self._loops: list[list[tuple[int, Cost]]] = []

    @property
    def per_item(self) -> Cost:
        """Cost of an item after the first, which warms up; of several loops the sum."""
        total = Cost()
        for ticks in self._loops:
            (first, start), (last, end) = ticks[0], ticks[-1]
            if last > first:
                total += (end - start) * (1 / (last - first))
        return total

    def measure_rest(self) -> Cost:
        """Return what the stage that has just ended cost besides its items."""
        rest = now() - self._start
        for ticks in self._loops:
            (first, start), (last, end) = ticks[0], ticks[-1]
            if last > first:
                rest -= (end - start) * (last / (last - first))
        return rest

    def say(self, text: str) -> None:
        """Drop the line."""

    def warn(self, text: str) -> None:
        """Drop the line."""

    def finding(self, severity: Severity, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:  # noqa: ARG002
        """Note every step of a loop."""
        ticks = [(0, now())]
        yield lambda done, _total: ticks.append((done, now()))
        self._loops.append(ticks[1:] or ticks)
