"""Runs in MLflow: found again by tag, closed on failure, with a ready table of the comparison.

Works through ``MlflowClient`` alone, so no global active run exists and any thread may log.
Numbers are decided by the callers.
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from matplotlib.figure import Figure

from covid_debug.errors import InputContractError, TrackingError
from covid_debug.optional import require
from covid_debug.tracking.models import find_or_log_model, register_model
from covid_debug.tracking.names import flatten_params
from covid_debug.tracking.reachability import check_reachable, is_local
from covid_debug.tracking.ready_view import VIEW_KEY, VIEW_TAG, encode_view

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
        columns: Sequence[str] = (),
    ) -> None:
        """Reach the store and create the experiment; call it before any worker starts.

        Args:
            tracking_uri: MLflow tracking address; None is :func:`default_tracking_uri`. Relative
                SQLite paths are made absolute.
            experiment: Name of the experiment.
            artifact_location: Where a new experiment keeps files; None is a folder
                ``mlartifacts`` in the working directory, or the server's own choice.
            columns: Metrics that the ready-made table of runs shows, the first one sorted by;
                empty writes no table.

        Raises:
            TrackingError: If the store cannot be reached or refuses the experiment.
            MissingPackageError: If MLflow is not installed.
        """
        require("mlflow", purpose="tracking")
        self._uri = check_reachable(tracking_uri or default_tracking_uri())
        if artifact_location is None and is_local(self._uri):
            artifact_location = default_artifact_location()
        base = self._uri.rstrip("/") if self._uri.startswith("http") else _UI_URL
        with _one_at_a_time(self._uri), _as_tracking_error(self._uri):
            self._client = _make_client(self._uri)
            self._experiment_id = self._find_or_create(experiment, artifact_location)
            if columns:
                view = encode_view(columns)
                self._client.set_experiment_tag(self._experiment_id, VIEW_TAG, view)
        self._runs_page = f"{base}/#/experiments/{self._experiment_id}/runs"
        query = f"&viewStateShareKey={VIEW_KEY}" if columns else ""
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
            the body is interrupted.

        Raises:
            InputContractError: If the key holds a quote.
            TrackingError: If the store refuses.
        """
        if "'" in key or "`" in key:
            raise InputContractError(f"MlflowTracker: key {key!r} contains a quote")
        with _as_tracking_error(self._uri):
            run = self._find_or_start(key, name, tags)
            known = run.data.params
            new = {k: v for k, v in flatten_params(params) if k not in known}
            _log_params(self._client, run.info.run_id, new)
        url = f"{self._runs_page}/{run.info.run_id}?workflowType=machine_learning"
        tracked = MlflowRun(self._client, self._uri, key, run.info.run_id, url)
        status = "KILLED"
        try:
            yield tracked
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            self._close(run.info.run_id, status)

    def child(
        self, parent: "MlflowRun", name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> AbstractContextManager["MlflowRun"]:
        """Open the run called ``name`` below ``parent``, as :meth:`run` does."""
        nested = {**tags, "mlflow.parentRunId": parent.run_id}
        return self.run(f"{parent.key}/{name}", name, params, nested)

    def _close(self, run_id: str, status: str) -> None:
        if status == "FINISHED":
            with _as_tracking_error(self._uri):
                self._client.set_terminated(run_id, status)
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
            own = {**tags, KEY_TAG: key, "mlflow.source.name": "covid-debug"}
            return self._client.create_run(self._experiment_id, tags=own, run_name=name)
        run_id = found[0].info.run_id
        self._client.update_run(run_id, status="RUNNING")
        for tag, value in tags.items():
            self._client.set_tag(run_id, tag, value)
        return found[0]


class MlflowRun:
    """An open run; everything it takes is written at once."""

    def __init__(self, client: "MlflowClient", uri: str, key: str, run_id: str, url: str) -> None:
        """Attach to a run that exists."""
        self.key = key
        self.run_id = run_id
        self.url = url
        self._client = client
        self._uri = uri
        self._logged: dict[str, set[tuple[int, float]]] = {}

    def log_epoch(
        self, step: int, metrics: Mapping[str, float | None], model_id: str | None = None
    ) -> None:
        """Write the metrics of one epoch in one batch; a repeated epoch is written once.

        Args:
            step: The epoch.
            metrics: Their values; None and NaN are left out.
            model_id: Logged model that they are of, too.

        Raises:
            TrackingError: If the store refuses.
        """
        from mlflow.entities import Metric  # noqa: PLC0415  a second of import, only when used

        now = int(time.time() * 1000)
        with _as_tracking_error(self._uri):
            new = [
                Metric(name, float(value), now, step, model_id=model_id)
                for name, value in metrics.items()
                if value is not None
                and not math.isnan(value)
                and (step, float(value)) not in self._history(name)
            ]
            if new:
                self._client.log_batch(self.run_id, metrics=new)
        for metric in new:
            self._history(metric.key).add((step, metric.value))

    def log_metrics(self, metrics: Mapping[str, float | None], model_id: str | None = None) -> None:
        """Write final metrics, see :meth:`log_epoch`.

        Raises:
            TrackingError: If the store refuses.
        """
        self.log_epoch(0, metrics, model_id)

    def log_model(self, checkpoint: Path, tags: Mapping[str, str]) -> str:
        """Keep a checkpoint as the run's model, once.

        Args:
            checkpoint: Its artifact.
            tags: Tags of the model.

        Returns:
            MLflow's id of the model.

        Raises:
            TrackingError: If the store refuses.
        """
        with _as_tracking_error(self._uri):
            return find_or_log_model(self._client, self.run_id, checkpoint, tags)

    def register(self, model_id: str, name: str, alias: str, tags: Mapping[str, str]) -> None:
        """Make the run's model a version of a registered one, once.

        Args:
            model_id: From :meth:`log_model`.
            name: Name of the registered model.
            alias: What a new version is called from now on; empty for nothing.
            tags: Tags of the version.

        Raises:
            TrackingError: If the store refuses.
        """
        with _as_tracking_error(self._uri):
            register_model(self._client, name, model_id, self.run_id, alias, tags)

    def log_dataset(self, name: str, digest: str, *, role: str, n_films: int, source: str) -> None:
        """Write which films went in; shown as the run's data set.

        Raises:
            TrackingError: If the store refuses.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

        dataset = Dataset(
            name=name[:500],
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps({"n_films": n_films, "digest": digest}),
        )
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", role)])
        with _as_tracking_error(self._uri):
            self._client.log_inputs(self.run_id, [entry])

    def describe(self, text: str) -> None:
        """Write the description that MLflow shows first on the run's page.

        Raises:
            TrackingError: If the store refuses.
        """
        with _as_tracking_error(self._uri):
            self._client.set_tag(self.run_id, "mlflow.note.content", text)

    def set_tag(self, name: str, value: str) -> None:
        """Write a word beside the run's numbers, for filters and the table of runs.

        Raises:
            TrackingError: If the store refuses.
        """
        with _as_tracking_error(self._uri):
            self._client.set_tag(self.run_id, name, value)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file or a folder to the run.

        Raises:
            TrackingError: If it is missing or the store refuses.
        """
        if not path.exists():
            raise TrackingError(f"{path}: no such file to keep with run {self.key}")
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        with _as_tracking_error(self._uri):
            log(self.run_id, str(path), folder or None)

    def log_figure(self, figure: Figure, name: str) -> None:
        """Copy a figure to the run.

        Raises:
            TrackingError: If the store refuses.
        """
        with _as_tracking_error(self._uri):
            self._client.log_figure(self.run_id, figure, name)

    def _history(self, name: str) -> set[tuple[int, float]]:
        if name not in self._logged:
            history = self._client.get_metric_history(self.run_id, name)
            self._logged[name] = {(entry.step, entry.value) for entry in history}
        return self._logged[name]


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process at a time make the tables of an SQLite store; two at once break it."""
    with ExitStack() as stack:
        if is_local(uri):
            lock = Path(f"{uri.removeprefix('sqlite:///')}.lock")
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock))
        yield


@contextmanager
def _as_tracking_error(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into one line, a TrackingError.

    Raises:
        TrackingError: For any error of the body.
    """
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        first = str(error).strip().split("\n", 1)[0][:200]
        raise TrackingError(
            f"{uri}: MLflow refused ({type(error).__name__}: {first}); check tracking.uri"
        ) from error


def _make_client(uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient  # noqa: PLC0415  reads the variables above

    with _as_tracking_error(uri):
        return MlflowClient(tracking_uri=uri)


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param  # noqa: PLC0415

    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(entries), 100):
        client.log_batch(run_id, params=entries[start : start + 100])
