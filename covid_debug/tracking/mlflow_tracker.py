"""Runs in MLflow: found again by tag, closed on failure, with a ready table of the comparison.

Works through ``MlflowClient`` alone, so no global active run exists and any thread may log.
Numbers are decided by the callers.
"""

import datetime
import getpass
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from covid_debug.artifacts import describe_code
from covid_debug.errors import InputContractError, TrackingError
from covid_debug.optional import require
from covid_debug.tracking.mlflow_run import MlflowRun, as_tracking_error
from covid_debug.tracking.names import flatten_params
from covid_debug.tracking.reachability import check_reachable, is_local
from covid_debug.tracking.ready_view import VIEW_KEY, VIEW_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_LOGGER = logging.getLogger(__name__)
KEY_TAG = "covid_debug.key"
_UI_URL = "http://127.0.0.1:5000"


def default_tracking_uri() -> str:
    """Return the SQLite store in the working directory, as an absolute address."""
    return f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def default_artifact_location() -> str:
    """Return the folder for files of runs in the working directory, as an absolute address."""
    return (Path.cwd() / "mlartifacts").as_uri()


class MlflowTracker:
    """One experiment in one tracking store."""

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str = "covid_debug",
        artifact_location: str | None = None,
        *,
        ready_view: str = "",
    ) -> None:
        """Reach the store and create the experiment; call it before any worker starts.

        Args:
            tracking_uri: MLflow tracking address; None is :func:`default_tracking_uri`. Relative
                SQLite paths are made absolute.
            experiment: Name of the experiment.
            artifact_location: Where a new experiment keeps files; None is a folder
                ``mlartifacts`` in the working directory, or the server's own choice.
            ready_view: A ready-made table of runs, see
                :data:`covid_debug.tracking.ready_view.READY_VIEW`; empty writes none.

        Raises:
            TrackingError: If the store cannot be reached or refuses the experiment.
            MissingPackageError: If MLflow is not installed.
        """
        require("mlflow", purpose="tracking")
        self._uri = check_reachable(tracking_uri or default_tracking_uri())
        if artifact_location is None and is_local(self._uri):
            artifact_location = default_artifact_location()
        base = self._uri.rstrip("/") if self._uri.startswith("http") else _UI_URL
        with _one_at_a_time(self._uri), as_tracking_error(self._uri):
            self._client = _make_client(self._uri)
            self._experiment_id = self._find_or_create(experiment, artifact_location)
            if ready_view:
                self._client.set_experiment_tag(self._experiment_id, VIEW_TAG, ready_view)
        self._runs_page = f"{base}/#/experiments/{self._experiment_id}/runs"
        query = f"&viewStateShareKey={VIEW_KEY}" if ready_view else ""
        self.runs_url = f"{self._runs_page}?workflowType=machine_learning{query}"

    @contextmanager
    def run(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> Iterator["MlflowRun"]:
        """Open the run with this key, creating it the first time.

        Args:
            key: What the run is found again by; letters, digits and ``-_./``.
            name: Name in the table of runs.
            params: Parameters, nested mappings allowed. A resumed run keeps those it has.
            tags: Tags of the run.

        Yields:
            The open run. It ends FINISHED, FAILED when the body raises an error and KILLED when
            the body is interrupted. One that had finished before keeps the time of its end, since
            what is added to it later is no part of its duration.

        Raises:
            InputContractError: If the key holds a quote.
            TrackingError: If the store refuses.
        """
        if "'" in key or "`" in key:
            raise InputContractError(f"MlflowTracker: key {key!r} contains a quote")
        with as_tracking_error(self._uri):
            run = self._find_or_start(key, name, tags)
            known = run.data.params
            new = {k: v for k, v in flatten_params(params) if k not in known}
            _log_params(self._client, run.info.run_id, new)
        url = f"{self._runs_page}/{run.info.run_id}?workflowType=machine_learning"
        started = datetime.datetime.fromtimestamp(run.info.start_time / 1000).astimezone()
        tracked = MlflowRun(self._client, self._uri, key, run.info.run_id, url, started)
        status = "KILLED"
        try:
            yield tracked
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            ended = run.info.end_time if run.info.status == "FINISHED" else None
            self._close(run.info.run_id, status, ended)

    def child(
        self, parent: "MlflowRun", name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> AbstractContextManager["MlflowRun"]:
        """Open the run called ``name`` below ``parent``, as :meth:`run` does."""
        nested = {**tags, "mlflow.parentRunId": parent.run_id}
        return self.run(f"{parent.key}/{name}", name, params, nested)

    def _close(self, run_id: str, status: str, ended: int | None) -> None:
        if status == "FINISHED":
            with as_tracking_error(self._uri):
                self._client.set_terminated(run_id, status, ended)
            return
        try:
            self._client.set_terminated(run_id, status)
        except Exception:  # noqa: BLE001  the error that ended the run matters more
            _LOGGER.info("%s: run %s could not be marked %s", self._uri, run_id, status)

    def _find_or_create(self, name: str, artifact_location: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name, artifact_location))
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"{self._uri}: experiment {name!r} is deleted; restore it in MLflow or choose"
                " another name with --set tracking.experiment=NAME"
            )
        return str(found.experiment_id)

    def _find_or_start(self, key: str, name: str, tags: Mapping[str, str]) -> "Run":
        found = self._client.search_runs(
            [self._experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1
        )
        if not found:
            own = {**tags, **_origin_tags(), KEY_TAG: key}
            return self._client.create_run(self._experiment_id, tags=own, run_name=name)
        run_id = found[0].info.run_id
        self._client.update_run(run_id, status="RUNNING")
        for tag, value in tags.items():
            self._client.set_tag(run_id, tag, value)
        return found[0]


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process at a time make the tables of an SQLite store; two at once break it."""
    with ExitStack() as stack:
        if is_local(uri):
            lock = Path(f"{uri.removeprefix('sqlite:///')}.lock")
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock))
        yield


def _make_client(uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient  # noqa: PLC0415  reads the variables above

    with as_tracking_error(uri):
        return MlflowClient(tracking_uri=uri)


def _origin_tags() -> dict[str, str]:
    """Return who made a run with which code, under the names that MLflow's pages know."""
    tags = {"mlflow.source.name": "covid-debug", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    code = describe_code()
    if " " not in code:  # an installed package gives its version instead of a commit
        tags["mlflow.source.git.commit"] = code
    return tags


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param  # noqa: PLC0415

    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(entries), 100):
        client.log_batch(run_id, params=entries[start : start + 100])
