"""One open run in MLflow: what it takes is written at once, and once."""

import datetime
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import TrackingError
from covid_debug.tracking.models import find_or_log_model, register_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


class MlflowRun:
    """An open run; everything it takes is written at once."""

    def __init__(
        self,
        client: "MlflowClient",
        uri: str,
        key: str,
        run_id: str,
        url: str,
        started: datetime.datetime,
    ) -> None:
        """Attach to a run that exists."""
        self.key = key
        self.run_id = run_id
        self.url = url
        self.started = started
        self._client = client
        self._uri = uri
        self._logged: dict[str, set[tuple[int, float]]] = {}
        self._images: set[str] | None = None

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
        with as_tracking_error(self._uri):
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
        """Write final metrics in four digits, which is what a table shows; see :meth:`log_epoch`.

        Raises:
            TrackingError: If the store refuses.
        """
        rounded = {key: v if v is None else float(f"{v:.4g}") for key, v in metrics.items()}
        self.log_epoch(0, rounded, model_id)

    def log_model(self, checkpoint: Path, name: str, tags: Mapping[str, str]) -> str:
        """Keep a checkpoint as the run's model, once.

        Args:
            checkpoint: Its artifact.
            name: Name among the models of the experiment, without ``/`` and ``:``.
            tags: Tags of the model.

        Returns:
            MLflow's id of the model.

        Raises:
            TrackingError: If the store refuses.
        """
        with as_tracking_error(self._uri):
            return find_or_log_model(self._client, self.run_id, checkpoint, name, tags)

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
        with as_tracking_error(self._uri):
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
        with as_tracking_error(self._uri):
            self._client.log_inputs(self.run_id, [entry])

    def describe(self, text: str) -> None:
        """Write the description that MLflow shows first on the run's page.

        Raises:
            TrackingError: If the store refuses.
        """
        with as_tracking_error(self._uri):
            self._client.set_tag(self.run_id, "mlflow.note.content", text)

    def set_tag(self, name: str, value: str) -> None:
        """Write a word beside the run's numbers, for filters and the table of runs.

        Raises:
            TrackingError: If the store refuses.
        """
        with as_tracking_error(self._uri):
            self._client.set_tag(self.run_id, name, value)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Copy a file or a folder to the run.

        Raises:
            TrackingError: If it is missing or the store refuses.
        """
        if not path.exists():
            raise TrackingError(f"{path}: no such file to keep with run {self.key}")
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        with as_tracking_error(self._uri):
            log(self.run_id, str(path), folder or None)

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Copy a figure to the run.

        Raises:
            TrackingError: If the store refuses.
        """
        with as_tracking_error(self._uri):
            self._client.log_figure(self.run_id, figure, name)

    def log_image(self, key: str, pixels: NDArray[np.uint8]) -> None:
        """Show a picture in MLflow's grid of images, once.

        Args:
            key: Its name; runs with a picture of the same name are shown side by side.
            pixels: ``(H, W, 3)`` RGB.

        Raises:
            TrackingError: If the store refuses.
        """
        with as_tracking_error(self._uri):
            if self._images is None:
                found = self._client.list_artifacts(self.run_id, "images")
                self._images = {Path(entry.path).name.split("+", 1)[0] for entry in found}
            if key.replace("/", "~") not in self._images:
                self._client.log_image(self.run_id, pixels, key=key, step=0)

    def _history(self, name: str) -> set[tuple[int, float]]:
        if name not in self._logged:
            history = self._client.get_metric_history(self.run_id, name)
            self._logged[name] = {(entry.step, entry.value) for entry in history}
        return self._logged[name]


@contextmanager
def as_tracking_error(uri: str) -> Iterator[None]:
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
