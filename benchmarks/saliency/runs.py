"""What the saliency benchmark runs, on what, and what comes out; finished runs are kept.

A run is found again by its method, parameters, classifier and films, so that a second start
repeats nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from covid_debug.artifacts import artifact_key
from covid_debug.saliency.base import MIN_SCORE_GAP, VOID_GAP

MAX_BATCH = 64
CODE_VERSION = 3


@dataclass(frozen=True, slots=True)
class BenchFilms:
    """What is explained.

    Attributes:
        images: Canonical, ``(N, 1, S, S)``.
        targets: Class index explained, ``(N,)``.
        names: One per film.
        patients: One per film; intervals resample patients.
    """

    images: Tensor
    targets: Tensor
    names: Sequence[str]
    patients: Sequence[str]

    def pick(self, start: int, stop: int) -> "BenchFilms":
        """Return some neighbours."""
        part = slice(start, stop)
        return BenchFilms(
            self.images[part], self.targets[part], self.names[part], self.patients[part]
        )


@dataclass(frozen=True, slots=True)
class MethodRun:
    """One method at one grid on all films.

    Attributes:
        method: Catalogue name, or the yardstick's.
        grid: Cells a side of the mask and of the ranking.
        saliency: ``(N, S, S)``.
        deletion: ``(N,)`` area, lower is better; NaN where not scored.
        insertion: ``(N,)`` area, higher is better; NaN where not scored.
        deletion_curve: ``(N, T)``.
        insertion_curve: ``(N, T)``.
        fraction: ``(T,)``.
        void_reason: ``(N,)`` codes of ``VOID_REASONS`` as the method says; -1 where the film was
            not given to it.
        seconds: ``(N,)`` seconds a map (a group's time shared by its films).
        cpu_seconds: ``(N,)`` the same in processor time over all threads.
        evaluations: ``(N,)`` images passed through the model.
        peak_mb: Most memory above the start, MiB; device memory on a GPU.
    """

    method: str
    grid: int
    saliency: NDArray[np.float32]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    deletion_curve: NDArray[np.float64]
    insertion_curve: NDArray[np.float64]
    fraction: NDArray[np.float64]
    void_reason: NDArray[np.int64]
    seconds: NDArray[np.float64]
    cpu_seconds: NDArray[np.float64]
    evaluations: NDArray[np.float64]
    peak_mb: float

    @property
    def void(self) -> NDArray[np.int64]:
        """``(N,)`` codes, so that all methods are averaged over the same films.

        Where the score does not fall from the film to the baseline of the curves they say nothing
        about any map, not only about those that need a baseline themselves.
        """
        falls = self.deletion_curve[:, 0] - self.deletion_curve[:, -1] >= MIN_SCORE_GAP
        return np.where((self.void_reason == 0) & ~falls, VOID_GAP, self.void_reason)

    def describe(self) -> str:
        """Return one line."""
        ok = self.void == 0
        if not ok.any():
            return f"{self.method} at {self.grid}: void on all {len(ok)} films"
        return (
            f"{self.method} at {self.grid}: deletion {self.deletion[ok].mean():.3f}, insertion"
            f" {self.insertion[ok].mean():.3f}, {np.median(self.seconds[ok]):.2f} s a map,"
            f" {int((self.void > 0).sum())} void"
        )


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What the benchmark runs.

    Attributes:
        methods: Catalogue name -> parameters beside the grid.
        grids: Cells a side; the image size means single pixels.
        seed: Run seed.
        yardstick_grids: Grids at which the plain published algorithm runs.
        yardstick_films: Most films that it explains.
        model_key: Identifies the classifier, for what is kept.
        parts: Folder of finished runs; None keeps none.
    """

    methods: Mapping[str, Mapping[str, Any]]
    grids: Sequence[int]
    seed: int = 0
    yardstick_grids: Sequence[int] = ()
    yardstick_films: int = 24
    model_key: str = ""
    parts: Path | None = None

    def find_or_make(
        self,
        films: BenchFilms,
        method: str,
        grid: int,
        params: Mapping[str, Any],
        make: Callable[[], MethodRun],
    ) -> MethodRun:
        """Return a finished run from the folder, or make and keep it.

        Args:
            films: What is explained.
            method: Catalogue name, or the yardstick's.
            grid: Cells a side.
            params: What is executed, defaults included.
            make: Makes the run.

        Returns:
            The run.
        """
        if self.parts is None:
            return make()
        key = artifact_key(
            f"{method}-{grid}",
            CODE_VERSION,
            [params, self.seed, MAX_BATCH],
            [self.model_key, list(films.names), films.targets.tolist()],
        )
        path = self.parts / f"{key}.npz"
        if path.is_file():
            with np.load(path) as stored:
                values: dict[str, Any] = {name: stored[name] for name in stored.files}
            peak = float(values.pop("peak_mb"))
            return MethodRun(method=method, grid=grid, peak_mb=peak, **values)
        run = make()
        self.parts.mkdir(parents=True, exist_ok=True)
        names = [n for n in MethodRun.__dataclass_fields__ if n not in {"method", "grid"}]
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, **{name: getattr(run, name) for name in names})
        partial.replace(path)
        return run
