"""Runs a command that ends when the process that wanted it ends, however that dies.

``python -m covid_debug.tether COMMAND...``: the caller holds this process's standard input open.
When it closes, because the caller closed it or because the system did after a kill, the command is
ended, with everything that it had started.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from covid_debug.errors import CovidDebugError

HOST = "127.0.0.1"
_GRACE_S = 10.0
_SERVER_START_S = 120.0


@contextlib.contextmanager
def tethered(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a command running while the body runs, never longer than this process.

    Args:
        command: Program and arguments.
        environment: Its environment variables.
        log: File that gets what it prints.

    Yields:
        The process to poll; it ends when the command ends.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "covid_debug.tether", *command],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,  # Ctrl-C is the caller's to answer
        )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


def wait_until_up(url: str, servers: list[subprocess.Popen[bytes]], log: Path) -> None:
    """Wait until a server answers.

    Args:
        url: Address that answers when it is up.
        servers: Processes that must not end meanwhile.
        log: What they print, for the message.

    Raises:
        CovidDebugError: If one of them ends, or the address does not answer in time.
    """
    deadline = time.monotonic() + _SERVER_START_S
    while time.monotonic() < deadline:
        if any(server.poll() is not None for server in servers):
            raise CovidDebugError(f"{url}: the server ended while it started; see {log}")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise CovidDebugError(f"{url} did not answer within {_SERVER_START_S:.0f} s; see {log}")


def main() -> None:
    """Run the command of the command line until it ends or the standard input closes."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603
    is_ending = threading.Event()

    def end_with_caller() -> None:
        sys.stdin.buffer.read()
        is_ending.set()
        command.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(_GRACE_S)
        os.killpg(0, signal.SIGKILL)  # also what the command had started, and this process

    caller = threading.Thread(target=end_with_caller, daemon=True)
    caller.start()
    code = command.wait()
    if is_ending.is_set():
        caller.join()
    sys.exit(code)


if __name__ == "__main__":
    main()
