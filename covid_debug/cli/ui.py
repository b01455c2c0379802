"""MLflow and Prefect user interfaces on localhost, started and stopped together."""

import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import typer

from covid_debug.errors import ConfigError, CovidDebugError
from covid_debug.terminal import alive
from covid_debug.tether import HOST, tethered, wait_until_up
from covid_debug.tracking.mlflow_tracker import (
    MlflowTracker,
    default_artifact_location,
    default_tracking_uri,
)
from covid_debug.tracking.recorder import SHOWN_COLUMNS


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
    mlflow_url = f"http://{HOST}:{mlflow_port}"
    prefect_url = f"http://{HOST}:{prefect_port}"
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            servers = []
            for name, command, health in (
                ("MLflow", mlflow_command, f"{mlflow_url}/health"),
                ("Prefect", prefect_command, f"{prefect_url}/api/health"),
            ):
                log = data_dir / f"ui-{name.lower()}.log"
                process = tethered(command, environment=environment, log=log)
                servers.append((name, stack.enter_context(process), health, log))
            for name, server, health, log in servers:
                with alive(f"{name} starts"):
                    wait_until_up(health, [server], log)
            runs_url = MlflowTracker(mlflow_url, columns=SHOWN_COLUMNS).runs_url
            typer.echo(f"MLflow:  {runs_url}")
            typer.echo(f"Prefect: {prefect_url}")
            typer.echo("Press Ctrl-C to stop both.")
            while True:
                for name, server, _, log in servers:
                    if server.poll() is not None:
                        raise CovidDebugError(f"ui: {name} ended by itself; see {log}")
                time.sleep(0.5)
    except KeyboardInterrupt:
        typer.echo("stopped")


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
