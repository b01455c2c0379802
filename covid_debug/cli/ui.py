"""MLflow and Prefect user interfaces on localhost, started and stopped together.

Beside Prefect's server stands a process that runs what is started on its page.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import typer

from covid_debug.cli.neighbours import DEMO_CONFIG
from covid_debug.errors import ConfigError, CovidDebugError
from covid_debug.terminal import alive
from covid_debug.tether import HOST, tethered, wait_until_up
from covid_debug.tracking.mlflow_tracker import (
    MlflowTracker,
    default_artifact_location,
    default_tracking_uri,
)
from covid_debug.tracking.ready_view import READY_VIEW
from flows.server import START


def serve(data_dir: Path, tracking_uri: str | None, *, mlflow_port: int, prefect_port: int) -> None:
    """Start the servers, print their addresses and wait until interrupted.

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
        *("-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port)),
        *("--workers", "1", "--backend-store-uri", tracking_uri or default_tracking_uri()),
        *("--default-artifact-root", default_artifact_location()),
    ]
    # Without it, what is started here is found in the working directory's store, which is shown.
    proposed = [] if tracking_uri is None else [f"tracking.uri={tracking_uri}"]
    runner_command = ["-m", "flows.serving", str(DEMO_CONFIG), *proposed]
    mlflow_url = f"http://{HOST}:{mlflow_port}"
    prefect_url = f"http://{HOST}:{prefect_port}"
    form_url = f"{prefect_url}/api/deployments/name/{START}"
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:

            def start(name: str, arguments: list[str], health: str) -> _Server:
                log = data_dir / f"ui-{name.lower()}.log"
                command = [sys.executable, *arguments]
                process = tethered(command, environment=environment, log=log)
                return _Server(name, stack.enter_context(process), health, log)

            servers = [
                start("MLflow", mlflow_command, f"{mlflow_url}/health"),
                start("Prefect", ["-m", "prefect", "server", "start"], f"{prefect_url}/api/health"),
            ]
            for server in servers:
                server.wait()
            environment["PREFECT_API_URL"] = f"{prefect_url}/api"
            servers.append(start("Runner", runner_command, form_url))
            servers[-1].wait()
            runs_url = MlflowTracker(mlflow_url, ready_view=READY_VIEW).runs_url
            with urllib.request.urlopen(form_url) as answer:  # noqa: S310
                form = json.load(answer)["id"]
            typer.echo(f"MLflow:  {runs_url}")
            typer.echo(f"Prefect: {prefect_url}")
            typer.echo(f"Start a run: {prefect_url}/deployments/deployment/{form}/run")
            typer.echo(f"They listen on {HOST}, this machine only, and ask for no password.")
            typer.echo("Press Ctrl-C to stop them, and what was started there.")
            while True:
                for server in servers:
                    server.check()
                time.sleep(0.5)
    except KeyboardInterrupt:
        typer.echo("stopped")


@dataclass(frozen=True)
class _Server:
    name: str
    process: subprocess.Popen[bytes]
    health: str
    log: Path

    def wait(self) -> None:
        with alive(f"{self.name} starts"):
            wait_until_up(self.health, [self.process], self.log)

    def check(self) -> None:
        if self.process.poll() is not None:
            raise CovidDebugError(f"ui: {self.name} ended by itself; see {self.log}")


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
