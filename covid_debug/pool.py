"""Applies a function to many items in several processes, a few items ahead of the caller.

Owns the life of the processes: they limit themselves to one thread of OpenCV, and they end when
the process that started them dies, however it dies.
"""

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from covid_debug.errors import ArtifactError, InputContractError

InT = TypeVar("InT")
OutT = TypeVar("OutT")

_AHEAD = 4
_WATCH_PERIOD_S = 1.0


def run_in_order(
    work: Callable[[InT], OutT],
    items: Iterable[InT],
    n_workers: int,
    *,
    where: str,
    prepare: Callable[[], None] | None = None,
) -> Iterator[OutT]:
    """Apply a function to items, in order, with few items in flight.

    Memory does not grow with the number of items, and the results do not depend on ``n_workers``.

    Args:
        work: Module-level function.
        items: Consumed as room becomes free.
        n_workers: Processes; 1 works in this process.
        where: Name of the caller, for messages.
        prepare: Module-level function that each process calls once, first.

    Returns:
        Results in the order of the items.

    Raises:
        InputContractError: If ``n_workers`` is less than 1.
    """
    if n_workers < 1:
        raise InputContractError(f"{where}: n_workers is {n_workers}; expected at least 1")
    if n_workers == 1:
        if prepare is not None:
            prepare()
        return map(work, items)
    return _run_in_pool(work, items, n_workers, where, prepare)


def _run_in_pool(
    work: Callable[[InT], OutT],
    items: Iterable[InT],
    n_workers: int,
    where: str,
    prepare: Callable[[], None] | None,
) -> Iterator[OutT]:
    pool = ProcessPoolExecutor(
        n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), prepare),
    )
    waiting: deque[Future[OutT]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= _AHEAD * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ArtifactError(
            f"{where}: a worker process died, probably for lack of memory; what is finished is "
            "kept; start again with fewer workers to go on"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int, prepare: Callable[[], None] | None) -> None:
    # A killed parent closes no pipe that its workers do not hold open themselves.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    if prepare is not None:
        prepare()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_PERIOD_S)
    os._exit(1)
