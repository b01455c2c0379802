"""Prefect and MLflow around a run: their settings, and Prefect's server."""

# ruff: noqa: PLC0415

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covid_debug.tether import HOST, tethered, wait_until_up

START = "debug-covidx/start"
"""Flow and deployment behind the form of a new run, see :mod:`flows.serving`."""
WATCH = "audit-new-films/watch"
"""Flow and deployment of a growing folder, with a schedule that is off at first."""


def configure_environment(workdir: Path) -> None:
    """Keep Prefect's files with the work, its output quiet and both tools off the network.

    Must run before Prefect or MLflow is imported.

    Args:
        workdir: Folder of artifacts; Prefect's database goes to ``<workdir>/.prefect``.
    """
    settings = {
        "PREFECT_HOME": str(workdir.resolve() / ".prefect"),
        # Prefect's page gets its log and ours; the terminal gets ours, see RunConsole.
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "covid_debug.terminal",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "true",
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6",  # a tracking server may restart during a run
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its errors come as one line, too
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    for name in ("lightning_fabric", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # where it is imported already
    # Prefect logs a traceback for a task and another one for the flow; main() says it in a line.
    prefect_logger = logging.getLogger("prefect")
    prefect_logger.addHandler(logging.NullHandler())
    prefect_logger.propagate = False
    logging.raiseExceptions = False  # nor what a full disk does to the log
    logging.lastResort = None  # nor what arrives while Prefect changes its handlers
    # Prefect creates the last folder only.
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


@contextmanager
def prefect_server() -> Iterator[None]:
    """Serve Prefect's interface while the body runs, unless one is named by PREFECT_API_URL.

    Prefect would start one itself, which a killed run leaves behind.

    Yields:
        Nothing; flows reach the server inside.

    Raises:
        CovidDebugError: If the server does not come up.
    """
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    url = f"http://{HOST}:{_find_free_port()}/api"
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        *("--host", HOST, "--port", url.rsplit(":", 1)[1].removesuffix("/api")),
        *("--log-level", "error", "--lifespan", "on"),
    ]
    environment = os.environ | {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    with tethered(command, environment=environment, log=log) as server:
        wait_until_up(f"{url}/health", [server], log)
        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield
            finally:
                APILogHandler().flush()  # what is sent at exit finds no server any more


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
