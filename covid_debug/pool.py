"""Applies a function to many items in several processes, a few items ahead of the caller.

Owns the life of the processes: they limit themselves to one thread of OpenCV, and they end when
the process that started them dies, however it dies.
"""

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.shown import hush_readers

InT = TypeVar("InT")
OutT = TypeVar("OutT")

_AHEAD = 8  # so that one film that takes ten times as long keeps no other worker waiting
_WATCH_PERIOD_S = 1.0
DIED = "a worker process died twice on it, probably for lack of memory"
"""Why a film is recorded as unusable, whoever worked on it: artifacts hold these words."""


def run_in_order(
    work: Callable[[InT], OutT],
    items: Iterable[InT],
    n_workers: int,
    *,
    where: str,
    prepare: Callable[[], None] | None = None,
    name: Callable[[InT], object] = str,
    lose: Callable[[InT, str], OutT] | None = None,
) -> Iterator[OutT]:
    """Apply a function to items, in order, with few items in flight.

    Memory does not grow with the number of items, and the results do not depend on ``n_workers``.
    When a worker dies, the oldest item in flight is worked on again with no other beside it, and
    the others in flight after it.

    Args:
        work: Module-level function; may run twice on an item.
        items: Consumed as room becomes free.
        n_workers: Processes; 1 works in this process.
        where: Name of the caller, for messages.
        prepare: Picklable function that each process calls once, first.
        name: Names an item in messages.
        lose: Makes the result of an item on which a worker died that had it for itself, from the
            reason; None ends the work there. Work in this process ends with the process.

    Returns:
        Results in the order of the items. Consuming them raises :class:`ArtifactError` when a
        worker dies on an item that it had for itself, and always when workers die as they start.

    Raises:
        InputContractError: If ``n_workers`` is less than 1.
    """
    if n_workers < 1:
        raise InputContractError(f"{where}: n_workers is {n_workers}; expected at least 1")
    if n_workers == 1:
        if prepare is not None:
            prepare()
        return map(work, items)
    return _run_in_pool(work, items, n_workers, where, prepare, name, lose)


def _run_in_pool(
    work: Callable[[InT], OutT],
    items: Iterable[InT],
    n_workers: int,
    where: str,
    prepare: Callable[[], None] | None,
    name: Callable[[InT], object],
    lose: Callable[[InT, str], OutT] | None,
) -> Iterator[OutT]:
    source = iter(items)
    waiting: deque[InT] = deque()
    futures: deque[Future[OutT]] = deque()
    pool = _start_pool(n_workers, prepare)
    try:
        while True:
            waiting.extend(itertools.islice(source, _AHEAD * n_workers - len(waiting)))
            if not waiting:
                return
            try:
                while len(futures) < len(waiting):
                    futures.append(pool.submit(work, waiting[len(futures)]))
                result = futures[0].result()
                futures.popleft()
            except BrokenProcessPool:
                pool.shutdown()
                futures.clear()
                result = _run_alone(work, waiting[0], where, prepare, name, lose)
                pool = _start_pool(n_workers, prepare)
            waiting.popleft()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_alone(
    work: Callable[[InT], OutT],
    item: InT,
    where: str,
    prepare: Callable[[], None] | None,
    name: Callable[[InT], object],
    lose: Callable[[InT, str], OutT] | None,
) -> OutT:
    has_started = False
    try:
        with _start_pool(1, prepare) as pool:
            pool.submit(os.getpid).result()
            has_started = True
            return pool.submit(work, item).result()
    except BrokenProcessPool as error:
        if has_started and lose is not None:
            return lose(item, DIED)
        what = f"died twice on {name(item)}" if has_started else "died as it started"
        raise ArtifactError(
            f"{where}: a worker process {what}, probably for lack of memory; "
            "what is finished is kept; free memory or take it off the list and start again to go on"
            " (a script of your own needs its calls below `if __name__ == '__main__':`)"
        ) from error


def _start_pool(n_workers: int, prepare: Callable[[], None] | None) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), prepare),
    )


def end_with_parent(parent: int) -> None:
    """Let this process end when its parent dies, however that dies.

    A killed parent closes no pipe that its workers do not hold open themselves.

    Args:
        parent: Its process id.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _start_worker(parent: int, prepare: Callable[[], None] | None) -> None:
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    cv2.setNumThreads(1)
    hush_readers()
    if prepare is not None:
        prepare()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_PERIOD_S)
    os._exit(1)
