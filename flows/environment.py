"""Environment of Prefect and MLflow; must run before either is imported."""

import logging
import os
from pathlib import Path

from covid_debug.errors import ArtifactError


def configure_environment(workdir: Path) -> None:
    """Keep Prefect's files with the work, its output quiet and both tools off the network.

    Args:
        workdir: Folder of artifacts; Prefect's database goes to ``<workdir>/.prefect``.

    Raises:
        ArtifactError: If that folder cannot be created.
    """
    settings = {
        "PREFECT_HOME": str(workdir.resolve() / ".prefect"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    for name in ("lightning_fabric", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    home = Path(os.environ["PREFECT_HOME"])
    try:
        home.mkdir(parents=True, exist_ok=True)  # Prefect creates the last folder only
    except OSError as error:
        raise ArtifactError(
            f"{home}: cannot be written ({error.strerror}); choose another folder with --set"
            " data_dir=DIR"
        ) from error
