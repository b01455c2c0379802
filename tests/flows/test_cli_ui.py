"""`covid-debug ui` as a process of its own: both servers answer, and none outlives it."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ui_answers_and_leaves_no_server_behind(tmp_path: Path) -> None:
    mlflow_port, prefect_port = find_free_port(), find_free_port()
    ports = ("--mlflow-port", str(mlflow_port), "--prefect-port", str(prefect_port))
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "covid_debug.cli.main", "ui", *ports],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        servers = psutil.Process(process.pid).children(recursive=True)
        for address in (f"{mlflow_port}/health", f"{prefect_port}/api/health"):
            with urllib.request.urlopen(f"http://127.0.0.1:{address}", timeout=30) as answer:
                assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[0].splitlines()

    assert process.returncode == 0, said
    assert "stopped" in said
    assert len(servers) >= 2
    assert psutil.wait_procs(servers, timeout=30)[1] == []
