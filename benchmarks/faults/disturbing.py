"""The faults: each starts a small run and disturbs it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.faults.trials import Disturb, Run, Undisturbed, kill

_SERVER_PORT: Final = 5987


def kill_after(seconds: float) -> Disturb:
    """Kill the run and all it started after a time."""

    def disturb(run: Run, _: Undisturbed) -> str:
        with run.started() as process:
            try:
                rest, _err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as expired:
                kept = expired.stdout or b""
                rest = kept.decode() if isinstance(kept, bytes) else kept
                run.lines += rest.splitlines()
                return "killed"
            run.lines += rest.splitlines()
            return "well"

    return disturb


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def fill_disk(share: float) -> Disturb:
    """Run on a file system that holds a share of what the run writes; make room afterwards."""

    def disturb(run: Run, expected: Undisturbed) -> str:
        size = int(share * expected.bytes_written)
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(run.folder))
        ended = run.finish()
        _mount("-o", f"remount,size={8 * expected.bytes_written}", str(run.folder))
        return ended

    return disturb


def forbid_writing(run: Run, expected: Undisturbed) -> str:
    """Kill the run in its middle, and start it on a file system that became read-only."""
    _mount("-t", "tmpfs", "-o", f"size={8 * expected.bytes_written}", "tmpfs", str(run.folder))
    kill_after(expected.seconds / 2)(run, expected)
    blocked = Run(run.folder)
    with ExitStack() as stack:
        process = stack.enter_context(blocked.started())  # writes its configuration first
        kill(process)
    _mount("-o", "remount,ro", str(run.folder))
    command = [sys.executable, "-m", "covid_debug.cli.main", "run", str(run.folder / "small.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    _mount("-o", "remount,rw", str(run.folder))
    said = (ended.stderr or ended.stdout).strip().splitlines()
    return "with a traceback" if "Traceback" in ended.stderr else said[-1]


def lock_tracking(run: Run, _: Undisturbed) -> str:
    """Hold MLflow's database for 30 s while the run trains."""
    with run.started() as process:
        run.read_until(process, "Train ")
        holder = sqlite3.connect(run.folder / "mlflow.db", isolation_level=None, timeout=60)
        holder.execute("BEGIN EXCLUSIVE")
        time.sleep(30)
        holder.execute("ROLLBACK")
        holder.close()
        return run.end(process)


@contextmanager
def _mlflow_server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
         str(_SERVER_PORT), "--backend-store-uri", f"sqlite:///{folder}/server.db",
         "--default-artifact-root", str(folder / "artifacts"), "--workers", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_for_server()
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for_server() -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{_SERVER_PORT}/health", timeout=2)
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return


def lose_tracking_server(seconds: float) -> Disturb:
    """Take MLflow's server away while the run trains; it comes back after a time."""

    def disturb(run: Run, _: Undisturbed) -> str:
        run.uri = f"http://127.0.0.1:{_SERVER_PORT}"
        with ExitStack() as started:
            with _mlflow_server(run.folder):
                process = started.enter_context(run.started())
                run.read_until(process, "Train ")
            time.sleep(seconds)
            started.enter_context(_mlflow_server(run.folder))
            return run.end(process)

    return disturb


def lose_prefect_server(run: Run, _: Undisturbed) -> str:
    """Kill Prefect's server while the run trains."""
    with run.started() as process:
        run.read_until(process, "Train ")
        for child in psutil.Process(process.pid).children(recursive=True):
            if "prefect.server.api.server:create_app" in child.cmdline():
                child.kill()
        return run.end(process)


def set_clock_back(run: Run, expected: Undisturbed) -> str:
    """Kill a run whose clock is three days ahead; the second start has the true one."""
    run.before = ("faketime", "-f", "+3d")
    return kill_after(expected.seconds * 0.7)(run, expected)


def start_twice(run: Run, _: Undisturbed) -> str:
    """Start a second run in the folder of one that is at work."""
    with run.started() as process:
        run.read_until(process, "Train ")
        ended = Run(run.folder).finish()
        first = run.end(process)
    return f"the first {first}; the second: {ended}"


def list_faults() -> Iterator[tuple[str, Disturb]]:
    """Yield each fault that this machine can make, but for kills."""
    yield "MLflow's database locked for 30 s", lock_tracking
    yield "MLflow's server gone for 15 s", lose_tracking_server(15)
    yield "Prefect's server killed", lose_prefect_server
    yield "a second run in the same folder", start_twice
    if shutil.which("faketime"):
        yield "clock three days back at the second start", set_clock_back
    if os.geteuid() == 0:
        yield "disk full at a quarter of what a run writes", fill_disk(0.25)
        yield "disk full at half", fill_disk(0.5)
        yield "disk full at nine tenths", fill_disk(0.9)
        yield "store read-only at the second start, writable at the third", forbid_writing
