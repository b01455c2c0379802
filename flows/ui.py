"""MLflow and Prefect user interfaces on localhost, started and stopped together."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

import typer

from covid_debug.errors import ConfigError, CovidDebugError
from covid_debug.tracking.mlflow_tracker import (
    MlflowTracker,
    default_artifact_location,
    default_tracking_uri,
)
from flows.recording import SHOWN_COLUMNS

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0


def serve(data_dir: Path, tracking_uri: str | None, *, mlflow_port: int, prefect_port: int) -> None:
    """Start both servers, print their addresses and wait until interrupted.

    Args:
        data_dir: Folder of artifacts; Prefect's database lies in ``<data_dir>/.prefect``.
        tracking_uri: MLflow store; None is the default of the flow.
        mlflow_port: Port of MLflow.
        prefect_port: Port of Prefect.

    Raises:
        ConfigError: If a port is taken.
        CovidDebugError: If a server does not come up or ends by itself.
    """
    for name, port in (("--mlflow-port", mlflow_port), ("--prefect-port", prefect_port)):
        if not _is_free(port):
            raise ConfigError(f"{name} {port}: the port is taken; choose another")
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(prefect_port),
    }
    mlflow_command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port)),
        *("--workers", "1", "--backend-store-uri", tracking_uri or default_tracking_uri()),
        *("--default-artifact-root", default_artifact_location()),
    ]
    prefect_command = [sys.executable, "-m", "prefect", "server", "start"]
    typer.echo(f"Starting MLflow and Prefect ({data_dir.resolve()}) ...")
    log = data_dir / "ui.log"
    with log.open("wb") as stream:
        servers = [
            subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)  # noqa: S603
            for command in (mlflow_command, prefect_command)
        ]
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        mlflow_url = f"http://{HOST}:{mlflow_port}"
        prefect_url = f"http://{HOST}:{prefect_port}"
        _wait_until_up(f"{mlflow_url}/health", servers, log)
        _wait_until_up(f"{prefect_url}/api/health", servers, log)
        runs_url = MlflowTracker(mlflow_url, columns=SHOWN_COLUMNS).runs_url
        typer.echo(f"MLflow:  {runs_url}")
        typer.echo(f"Prefect: {prefect_url}")
        typer.echo("Press Ctrl-C to stop both.")
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
        raise CovidDebugError(f"ui: a server ended by itself; its last words are in {log}")
    except KeyboardInterrupt:
        typer.echo("stopped")
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _wait_until_up(url: str, servers: list[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if any(server.poll() is not None for server in servers):
            raise CovidDebugError(f"ui: the server of {url} ended while starting; see {log}")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise CovidDebugError(f"ui: {url} did not answer within {START_TIMEOUT_S:.0f} s; see {log}")
