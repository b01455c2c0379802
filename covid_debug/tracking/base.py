"""What a run tracker offers, whatever stands behind it.

Owns the protocol and the naming of metrics; stores nothing.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")


class TrackedRun(Protocol):
    """One run that takes parameters at its start and results while it is open.

    Attributes:
        key: What the run is found again by.
        run_id: Identifier in the tracking store; empty where there is none.
        url: Page of the run; empty where there is none.
    """

    key: str
    run_id: str
    url: str

    def log_epoch(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Record the metrics of one epoch; names with ``/`` are grouped (``train/loss``)."""

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Record final metrics; undefined ones (None, NaN) are left out."""

    def log_dataset(self, name: str, digest: str, *, role: str, n_films: int, source: str) -> None:
        """Record which films went in: name, content hash, role (``train``, ``test``), place."""

    def describe(self, text: str) -> None:
        """Put a text in Markdown on the run's page, in place of an earlier one."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a file (or a folder with everything in it) with the run."""

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a figure with the run, ``name`` being its path with extension."""


class RunTracker(Protocol):
    """Finds or creates runs, so that a resumed flow continues the ones it had.

    Attributes:
        runs_url: Page with the table of all runs; empty where there is none.
    """

    runs_url: str

    def parent(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> AbstractContextManager[TrackedRun]:
        """Open the run of a whole flow; it ends FAILED when the body raises."""

    def child(
        self, parent: TrackedRun, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> AbstractContextManager[TrackedRun]:
        """Open a run below another one, e.g. one training."""


def metric_name(*parts: str) -> str:
    """Return the parts joined to a metric name, e.g. ``"test_cleaned/COVID-19/recall"``.

    Characters outside letters, digits and ``-_. :/`` become ``_``.
    """
    return _NOT_ALLOWED.sub("_", "/".join(part.replace("/", "_") for part in parts))


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested parameters as ``("training.batch_size", "64")``.

    Args:
        params: Parameters; mappings inside become dotted names.
        prefix: Put before every name.

    Yields:
        Name and text, in the order given.
    """
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flatten_params(value, f"{prefix}{name}.")
        else:
            yield metric_name(f"{prefix}{name}"), str(value)
