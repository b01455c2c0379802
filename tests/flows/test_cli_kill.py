"""A real SIGKILL in the middle of a command, then the same command again: the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from covid_debug.artifacts import hash_file
from covid_debug.data.phantom import generate_phantom

pytestmark = pytest.mark.slow


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "covid_debug.cli.main", *arguments, "--workers", "2"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )


def kill_when(is_time: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not is_time():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def count_lines(folder: Path, pattern: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(pattern))


def finish(folder: Path, *arguments: str) -> None:
    process = start(folder, *arguments)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output


@pytest.fixture
def films(tmp_path: Path) -> Path:
    generate_phantom(tmp_path / "data", n_train=50, n_test=10, seed=0)
    return tmp_path


def test_clean_killed_goes_on_to_the_same_bytes(films):
    arguments = ("clean", "--data", "data", "--regions", "data/truth_regions.jsonl", "--out")
    finish(films, *arguments, "whole")

    kill_when(
        lambda: count_lines(films, ".out.*.films/*.jsonl") > 10,
        start(films, *arguments, "out"),
    )
    kept = {path: path.stat().st_mtime_ns for path in films.glob(".out.*.films/train/*.png")}
    finish(films, *arguments, "out")

    names = [path.relative_to(films / "whole") for path in (films / "whole").rglob("*.*")]
    for name in names:
        assert hash_file(films / "out" / name) == hash_file(films / "whole" / name), name
    again = {path: films / "out/train" / path.name for path in kept}
    n_kept = sum(new.stat().st_mtime_ns == kept[old] for old, new in again.items())
    assert n_kept > 10
    assert not list(films.glob(".out*"))


def test_detect_text_killed_goes_on_to_the_same_bytes(films):
    arguments = ("detect-text", "--data", "data", "--detector", "marker", "--out")
    finish(films, *arguments, "whole.jsonl")

    kill_when(
        lambda: count_lines(films, ".out.jsonl.*.films/*.jsonl") > 10,
        start(films, *arguments, "out.jsonl"),
    )
    finish(films, *arguments, "out.jsonl")

    assert hash_file(films / "out.jsonl") == hash_file(films / "whole.jsonl")
    assert not list(films.glob(".out*"))
