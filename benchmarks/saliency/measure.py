"""`covid-debug bench saliency`: every method on one classifier, against the published algorithm.

Joins explainers, deletion/insertion scores, sanity checks and figures; computes no map itself.
Finished parts are kept beside the tables, so that a second start repeats nothing.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.saliency.plain_igos_pp import explain_plainly
from covid_debug.artifacts import artifact_key
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.baselines import blur_baseline
from covid_debug.saliency.base import MIN_SCORE_GAP
from covid_debug.saliency.catalog import build_explainer
from covid_debug.seeding import derive_seed

YARDSTICK = "igos_pp_plain"
GROUP = 8
FINEST_GRID = {"leg_tv": 28}
"""Finest map of a method whose cost explodes with the cells (a linear program of 50,000 unknowns
takes hours); at finer grids this map is scored."""
CODE_VERSION = 2
_MEGABYTE = 2**20


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
        void_reason: ``(N,)`` codes of ``VOID_REASONS``; -1 where the film was not given to it.
        seconds: ``(N,)`` seconds a map (a group's time shared by its films).
        cpu_seconds: ``(N,)`` the same in processor time over all threads; unlike the clock it
            does not depend on what else the machine does.
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


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What the benchmark runs.

    Attributes:
        methods: Catalogue name -> parameters beside the grid.
        grids: Cells a side; the image size means single pixels.
        seed: Run seed.
        max_batch: Most images in one model call.
        yardstick_grids: Grids at which the plain published algorithm runs.
        yardstick_films: Most films that it explains.
        model_key: Identifies the classifier, for what is kept.
    """

    methods: Mapping[str, Mapping[str, Any]]
    grids: Sequence[int]
    seed: int = 0
    max_batch: int = 64
    yardstick_grids: Sequence[int] = ()
    yardstick_films: int = 24
    model_key: str = ""
    parts: Path | None = field(default=None)


def run_saliency_benchmark(
    classifier: Classifier, films: BenchFilms, plan: BenchPlan, say: Callable[[str], None]
) -> list[MethodRun]:
    """Explain and score the films by every method at every grid.

    A method without a grid explains once and is scored at every grid. Films whose score does not
    fall from the film to its baseline are void for every method and are not given to the
    yardstick.

    Args:
        classifier: The model, in evaluation mode.
        films: What is explained.
        plan: Methods, grids, yardstick.
        say: Receives one line per finished part.

    Returns:
        One run per method and grid, the yardstick first.
    """
    runs = [_run_yardstick(classifier, films, plan, grid, say) for grid in plan.yardstick_grids]
    for name, params in plan.methods.items():
        has_grid = hasattr(build_explainer(name, **params).params, "grid_size")
        shared: MethodRun | None = None
        for grid in plan.grids:
            own = dict(params)
            if has_grid:
                own["grid_size"] = min(grid, FINEST_GRID.get(name, grid))
            make = partial(_run_method, classifier, films, plan, name, own, grid, shared)
            executed = vars(build_explainer(name, **own).params)  # defaults may change
            run = _load_or(plan, films, name, grid, executed, make)
            shared = None if has_grid else run
            runs.append(run)
            say(_describe(run))
    return runs


def _describe(run: MethodRun) -> str:
    ok = run.void_reason == 0
    if not ok.any():
        return f"{run.method} at {run.grid}: void on all {len(ok)} films"
    return (
        f"{run.method} at {run.grid}: deletion {run.deletion[ok].mean():.3f}, insertion"
        f" {run.insertion[ok].mean():.3f}, {np.median(run.seconds[ok]):.2f} s a map,"
        f" {int((run.void_reason > 0).sum())} void"
    )


def _protocol(grid: int, image_size: int) -> PerturbationProtocol:
    if grid == image_size:
        return PerturbationProtocol(resolution="image")
    return PerturbationProtocol(grid_size=grid)


def _run_method(
    classifier: Classifier,
    films: BenchFilms,
    plan: BenchPlan,
    name: str,
    params: Mapping[str, Any],
    grid: int,
    shared: MethodRun | None,
) -> MethodRun:
    explainer = build_explainer(name, **params)
    n, side = len(films.images), films.images.shape[-1]
    if shared is None:
        maps, reasons, seconds, cpu_seconds, evaluations = [], [], [], [], []
        with MemoryPeak(films.images.device) as peak:
            for start in range(0, n, GROUP):
                group = slice(start, start + GROUP)
                started, cpu = _now(films.images.device), time.process_time()
                result = explainer.explain(
                    classifier,
                    films.images[group],
                    films.targets[group],
                    seeds=[derive_seed(plan.seed, film, name) for film in films.names[group]],
                    max_batch=plan.max_batch,
                )
                elapsed = _now(films.images.device) - started
                cpu = time.process_time() - cpu
                size = len(result.saliency)
                maps.append(result.saliency)
                reasons.append(result.diagnostics["void_reason"])
                seconds += [elapsed / size] * size
                cpu_seconds += [cpu / size] * size
                evaluations += [result.n_evaluations / size] * size
        saliency, reason = torch.cat(maps), torch.cat(reasons).cpu().numpy()
        peak_mb = peak.megabytes
    else:
        saliency = torch.from_numpy(shared.saliency)[:, None].to(films.images.device)
        reason, peak_mb = shared.void_reason, shared.peak_mb
        seconds, evaluations = list(shared.seconds), list(shared.evaluations)
        cpu_seconds = list(shared.cpu_seconds)
    score = TargetScore(classifier, films.targets, max_batch=plan.max_batch)
    scores = compute_deletion_insertion(score, films.images, saliency, _protocol(grid, side))
    return MethodRun(
        method=name,
        grid=grid,
        saliency=saliency[:, 0].cpu().numpy(),
        deletion=scores.deletion_score.double().cpu().numpy(),
        insertion=scores.insertion_score.double().cpu().numpy(),
        deletion_curve=scores.deletion_curve.double().cpu().numpy(),
        insertion_curve=scores.insertion_curve.double().cpu().numpy(),
        fraction=scores.perturbed_fraction.double().cpu().numpy(),
        void_reason=reason,
        seconds=np.array(seconds),
        cpu_seconds=np.array(cpu_seconds),
        evaluations=np.array(evaluations),
        peak_mb=peak_mb,
    )


def _run_yardstick(
    classifier: Classifier,
    films: BenchFilms,
    plan: BenchPlan,
    grid: int,
    say: Callable[[str], None],
) -> MethodRun:
    """Return the plain published algorithm's run; each film is kept as it is done."""
    images, baseline = films.images, blur_baseline(films.images)
    index = torch.arange(len(images), device=images.device)
    score = TargetScore(classifier, films.targets, max_batch=plan.max_batch)
    with torch.no_grad():
        gap = score(images, index) - score(baseline, index)
    valid = (gap >= MIN_SCORE_GAP).nonzero().flatten().tolist()[: plan.yardstick_films]
    parts: list[MethodRun] = []
    for number, i in enumerate(valid, start=1):
        film = BenchFilms(
            images[i : i + 1], films.targets[i : i + 1], [films.names[i]], [films.patients[i]]
        )
        make = partial(_explain_one_plainly, classifier, film, baseline[i : i + 1], plan, grid)
        part = _load_or(plan, film, YARDSTICK, grid, {}, make)
        parts.append(part)
        say(f"{number}/{len(valid)} {_describe(part)}")
    n = len(images)

    def spread(values: Sequence[NDArray[Any]], fill: float) -> NDArray[Any]:
        whole = np.full((n, *values[0].shape[1:]), fill, dtype=values[0].dtype)
        whole[valid] = np.concatenate(values)
        return whole

    if not parts:
        empty = np.full(n, np.nan)
        blank = np.zeros((n, *images.shape[-2:]), np.float32)
        curve = np.full((n, 2), np.nan)
        return MethodRun(
            YARDSTICK, grid, blank, empty, empty, curve, curve, np.array([0.0, 1.0]),
            np.full(n, -1), empty, empty, empty, 0.0,
        )  # fmt: skip
    return MethodRun(
        method=YARDSTICK,
        grid=grid,
        saliency=spread([p.saliency for p in parts], 0.0),
        deletion=spread([p.deletion for p in parts], np.nan),
        insertion=spread([p.insertion for p in parts], np.nan),
        deletion_curve=spread([p.deletion_curve for p in parts], np.nan),
        insertion_curve=spread([p.insertion_curve for p in parts], np.nan),
        fraction=parts[0].fraction,
        void_reason=spread([p.void_reason for p in parts], -1),
        seconds=spread([p.seconds for p in parts], np.nan),
        cpu_seconds=spread([p.cpu_seconds for p in parts], np.nan),
        evaluations=spread([p.evaluations for p in parts], np.nan),
        peak_mb=max(p.peak_mb for p in parts),
    )


def _explain_one_plainly(
    classifier: Classifier, film: BenchFilms, baseline: Tensor, plan: BenchPlan, grid: int
) -> MethodRun:
    image, device = film.images, film.images.device
    seed = derive_seed(plan.seed, film.names[0], YARDSTICK)
    # The published noise is kept where this film's score survives it, as the library does.
    probe = build_explainer("igos_pp", n_iterations=1, grid_size=grid).explain(
        classifier, image, film.targets, seeds=[seed]
    )
    with MemoryPeak(device) as peak, _frozen(classifier):
        started, cpu = _now(device), time.process_time()
        saliency, n_evaluations = explain_plainly(
            classifier,
            image,
            baseline,
            int(film.targets[0]),
            grid_size=grid,
            noise_std=float(probe.diagnostics["noise_std"][0]),
            generator=torch.Generator(device).manual_seed(seed),
        )
        elapsed, cpu = _now(device) - started, time.process_time() - cpu
    score = TargetScore(classifier, film.targets, max_batch=plan.max_batch)
    scores = compute_deletion_insertion(score, image, saliency, _protocol(grid, image.shape[-1]))
    moved = bool(saliency.max() > saliency.min())
    return MethodRun(
        method=YARDSTICK,
        grid=grid,
        saliency=saliency[:, 0].cpu().numpy(),
        deletion=scores.deletion_score.double().cpu().numpy(),
        insertion=scores.insertion_score.double().cpu().numpy(),
        deletion_curve=scores.deletion_curve.double().cpu().numpy(),
        insertion_curve=scores.insertion_curve.double().cpu().numpy(),
        fraction=scores.perturbed_fraction.double().cpu().numpy(),
        void_reason=np.array([0 if moved else 2]),
        seconds=np.array([elapsed]),
        cpu_seconds=np.array([cpu]),
        evaluations=np.array([float(n_evaluations)]),
        peak_mb=peak.megabytes,
    )


class _frozen:  # noqa: N801
    """Parameters without gradients, as before afterwards."""

    def __init__(self, classifier: Classifier) -> None:
        self._parameters = [(p, p.requires_grad) for p in classifier.parameters()]

    def __enter__(self) -> None:
        for parameter, _ in self._parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter, required in self._parameters:
            parameter.requires_grad_(required)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class MemoryPeak:
    """Most memory above the start: the device's on a GPU, else the process' (every 10 ms)."""

    def __init__(self, device: torch.device) -> None:
        """Prepare; measuring begins on entry.

        Args:
            device: Whose memory is watched.
        """
        self._device = device
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.megabytes = 0.0

    def __enter__(self) -> "MemoryPeak":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._start = torch.cuda.memory_allocated(self._device)
        else:
            self._start = self._process.memory_info().rss
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            used = self._process.memory_info().rss - self._start
            self.megabytes = max(self.megabytes, used / _MEGABYTE)

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.megabytes = (peak - self._start) / _MEGABYTE
        else:
            self._stop.set()
            self._thread.join()


def _load_or(
    plan: BenchPlan,
    films: BenchFilms,
    method: str,
    grid: int,
    params: Mapping[str, Any],
    make: Callable[[], MethodRun],
) -> MethodRun:
    """Return a finished part from the folder, or make and keep it."""
    if plan.parts is None:
        return make()
    key = artifact_key(
        f"{method}-{grid}",
        CODE_VERSION,
        [params, plan.seed, plan.max_batch],
        [plan.model_key, list(films.names), films.targets.tolist()],
    )
    path = plan.parts / f"{key}.npz"
    if path.is_file():
        with np.load(path) as stored:
            values: dict[str, Any] = {name: stored[name] for name in stored.files}
        peak = float(values.pop("peak_mb"))
        return MethodRun(method=method, grid=grid, peak_mb=peak, **values)
    run = make()
    plan.parts.mkdir(parents=True, exist_ok=True)
    names = [n for n in MethodRun.__dataclass_fields__ if n not in {"method", "grid"}]
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **{name: getattr(run, name) for name in names})
    partial.replace(path)
    return run
