"""A tracker that keeps nothing, for single stages and tests."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from covid_debug.tracking.base import TrackedRun


@dataclass(slots=True)
class NullRun:
    """A run that forgets what it is told."""

    key: str
    run_id: str = ""
    url: str = ""

    def log_epoch(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Do nothing."""

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Do nothing."""

    def log_dataset(self, name: str, digest: str, *, role: str, n_films: int, source: str) -> None:
        """Do nothing."""

    def describe(self, text: str) -> None:
        """Do nothing."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Do nothing."""

    def log_figure(self, figure: Figure, name: str) -> None:
        """Do nothing."""


class NullTracker:
    """Opens runs that forget."""

    runs_url = ""

    @contextmanager
    def parent(
        self,
        key: str,
        name: str,  # noqa: ARG002
        params: Mapping[str, Any],  # noqa: ARG002
        tags: Mapping[str, str],  # noqa: ARG002
    ) -> Iterator[TrackedRun]:
        """Open a run.

        Yields:
            A run that forgets.
        """
        yield NullRun(key)

    @contextmanager
    def child(
        self,
        parent: TrackedRun,
        name: str,
        params: Mapping[str, Any],  # noqa: ARG002
        tags: Mapping[str, str],  # noqa: ARG002
    ) -> Iterator[TrackedRun]:
        """Open a run.

        Yields:
            A run that forgets.
        """
        yield NullRun(f"{parent.key}/{name}")
