import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from covid_debug.errors import ArtifactError, FilmChangedError, InputContractError
from covid_debug.pool import run_in_order

REPOSITORY = Path(__file__).resolve().parents[2]
ORPHANING = """
import time
from tests.unit.test_pool import _sleep
from covid_debug.pool import run_in_order
if __name__ == "__main__":
    for result in run_in_order(_sleep, [0.0, 0.0, 60.0, 60.0], 2, where="test"):
        print(result, flush=True)
"""


def _double(value: int) -> int:
    return 2 * value


def _sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def _die(value: int) -> None:
    os._exit(1)


def _refuse(value: int) -> None:
    raise FilmChangedError(f"{value}.png: film changed since ingest")


def _die_once_on_nine(item: tuple[int, Path]) -> int:
    value, mark = item
    if value == 9 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.parametrize("n_workers", [1, 2])
def test_run_in_order_keeps_the_order(n_workers):
    assert list(run_in_order(_double, range(20), n_workers, where="test")) == list(range(0, 40, 2))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_run_in_order_hands_on_what_a_film_raises(n_workers):
    with pytest.raises(FilmChangedError, match=r"^7\.png: film changed since ingest$"):
        list(run_in_order(_refuse, [7], n_workers, where="test"))


def test_run_in_order_takes_items_only_as_room_becomes_free():
    taken = []

    def items():
        for value in range(100):
            taken.append(value)
            yield value

    results = run_in_order(_double, items(), 2, where="test")
    next(results)
    n_taken = len(taken)
    results.close()

    assert n_taken == 16


def test_run_in_order_without_workers_names_the_caller():
    with pytest.raises(InputContractError, match="clean_filmset: n_workers is 0"):
        run_in_order(_double, [1], 0, where="clean_filmset")


def test_run_in_order_with_an_item_that_kills_its_worker_twice_names_it():
    with pytest.raises(ArtifactError, match=r"test: a worker process died twice on 1, .*go on"):
        list(run_in_order(_die, [1], 2, where="test"))


def _die_on_three(value: int) -> int:
    if value == 3:
        os._exit(1)
    return value


def test_run_in_order_goes_on_without_an_item_that_kills_its_worker_twice():
    results = run_in_order(_die_on_three, range(6), 2, where="test", lose=lambda item, _: -item)

    assert list(results) == [0, 1, 2, -3, 4, 5]


def test_run_in_order_with_workers_that_die_as_they_start_blames_no_item():
    results = run_in_order(
        _double,
        range(6),
        2,
        where="test",
        prepare=functools.partial(os._exit, 1),
        lose=lambda item, _: -item,
    )

    with pytest.raises(ArtifactError, match=r"test: a worker process died as it started"):
        next(results)


def test_run_in_order_with_a_worker_that_dies_once_loses_nothing(tmp_path):
    items = [(value, tmp_path / "died") for value in range(20)]

    results = list(run_in_order(_die_once_on_nine, items, 2, where="test"))

    assert results == list(range(20))


def test_run_in_order_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "orphaning.py"
    script.write_text(ORPHANING)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )
    try:
        children = _wait_for_children(parent.pid, 2)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()

    gone, alive = psutil.wait_procs(children, timeout=30)

    assert alive == []
    assert len(gone) == len(children)


def _wait_for_children(pid: int, n_wanted: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    for _ in range(600):
        children = process.children(recursive=True)
        if sum("spawn_main" in " ".join(child.cmdline()) for child in children) >= n_wanted:
            time.sleep(1.0)  # let them import and start their watch
            return children
        time.sleep(0.1)
    raise AssertionError("no workers were started")
