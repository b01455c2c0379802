"""`covid-debug ui` as a process of its own: its servers answer, and none outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
EVERYWHERE = dict.fromkeys(("PREFECT_SERVER_API_HOST", "MLFLOW_HOST", "UVICORN_HOST"), "0.0.0.0")  # noqa: S104
REFUSAL = "nosuch.yaml: cannot be read (No such file or directory)"


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_listening(pid: int) -> set[str]:
    """The addresses on which a process and what it started wait for connections."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def start_on_the_page(api: str, **parameters: object) -> Any:
    """Do what the form of a new run does; return the ended run and the errors in its log."""
    form = ask(f"{api}/deployments/name/debug-covidx/start")
    made = ask(f"{api}/deployments/{form['id']}/create_flow_run", {"parameters": parameters})
    wanted = {"logs": {"flow_run_id": {"any_": [made["id"]]}, "level": {"ge_": 40}}}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        run, logs = ask(f"{api}/flow_runs/{made['id']}"), ask(f"{api}/logs/filter", wanted)
        # The log is sent in parts, the last one after the state.
        if logs and run["state"]["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            return run, [line["message"] for line in logs]
        time.sleep(0.5)
    raise AssertionError(run)


def test_ui_answers_starts_runs_and_leaves_no_server_behind(tmp_path: Path) -> None:
    mlflow_port, prefect_port = find_free_port(), find_free_port()
    ports = ("--mlflow-port", str(mlflow_port), "--prefect-port", str(prefect_port))
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "covid_debug.cli.main", "ui", *ports],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | EVERYWHERE | {"PYTHONPATH": str(ROOT)},
    )
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        servers = psutil.Process(process.pid).children(recursive=True)
        listening = find_listening(process.pid)
        for address in (f"{mlflow_port}/health", f"{prefect_port}/api/health"):
            with urllib.request.urlopen(f"http://127.0.0.1:{address}", timeout=30) as answer:
                assert answer.status == 200
        api = f"http://127.0.0.1:{prefect_port}/api"
        run, errors = start_on_the_page(api, config="nosuch.yaml")
    finally:
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[0].splitlines()

    assert process.returncode == 0, said
    assert "stopped" in said
    assert any(f"{prefect_port}/deployments/deployment/" in line for line in said)
    assert any("listen on 127.0.0.1, this machine only" in line for line in said)
    assert listening == {"127.0.0.1"}
    assert len(servers) >= 3
    assert run["name"].startswith("nosuch 20")
    assert (run["state"]["type"], run["state"]["message"]) == ("FAILED", REFUSAL)
    assert errors == [REFUSAL]
    assert psutil.wait_procs(servers, timeout=30)[1] == []
