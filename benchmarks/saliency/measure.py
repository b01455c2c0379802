"""Every method on one classifier and the same films: maps, their cost, deletion and insertion.

Joins explainers and scores; computes no map itself.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.cost import MemoryPeak, Stopwatch
from benchmarks.saliency.runs import MAX_BATCH, BenchFilms, BenchPlan, MethodRun
from benchmarks.saliency.scoring import Maps, score_maps
from benchmarks.saliency.yardstick import run_yardstick
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.catalog import build_explainer
from covid_debug.seeding import derive_seed

GROUP = 8
FINEST_GRID = {"leg_tv": 28}
"""Finest map of a method whose cost explodes with the cells (a linear program of 50,000 unknowns
takes hours); at finer grids this map is scored."""


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
    runs = [run_yardstick(classifier, films, plan, grid, say) for grid in plan.yardstick_grids]
    for name, params in plan.methods.items():
        has_grid = hasattr(build_explainer(name, **params).params, "grid_size")
        made: MethodRun | None = None
        for grid in plan.grids:
            own = dict(params)
            if has_grid:
                own["grid_size"] = min(grid, FINEST_GRID.get(name, grid))
            make = partial(_run_method, classifier, films, plan.seed, name, own, grid, made)
            executed = vars(build_explainer(name, **own).params)  # defaults may change
            run = plan.find_or_make(films, name, grid, executed, make)
            made = None if has_grid else run
            runs.append(run)
            say(run.describe())
    return runs


def _run_method(
    classifier: Classifier,
    films: BenchFilms,
    seed: int,
    name: str,
    params: Mapping[str, Any],
    grid: int,
    made: MethodRun | None,
) -> MethodRun:
    """Return a run; the maps of ``made`` are scored again instead of being made."""
    if made is None:
        maps = _explain(classifier, films, seed, name, params)
    else:
        saliency = torch.from_numpy(made.saliency)[:, None].to(films.images.device)
        maps = Maps(
            saliency, made.void_reason, made.seconds, made.cpu_seconds, made.evaluations,
            made.peak_mb,
        )  # fmt: skip
    return score_maps(classifier, films, maps, name, grid)


def _explain(
    classifier: Classifier, films: BenchFilms, seed: int, name: str, params: Mapping[str, Any]
) -> Maps:
    explainer, device = build_explainer(name, **params), films.images.device
    saliency, reasons, costs = [], [], []
    with MemoryPeak(device) as peak:
        for start in range(0, len(films.names), GROUP):
            group = films.pick(start, start + GROUP)
            with Stopwatch(device) as watch:
                result = explainer.explain(
                    classifier,
                    group.images,
                    group.targets,
                    seeds=[derive_seed(seed, film, name) for film in group.names],
                    max_batch=MAX_BATCH,
                )
            saliency.append(result.saliency)
            reasons.append(result.diagnostics["void_reason"])
            size = len(group.names)
            cost = (watch.seconds / size, watch.cpu_seconds / size, result.n_evaluations / size)
            costs += [cost] * size
    seconds, cpu_seconds, evaluations = np.array(costs).T
    return Maps(
        torch.cat(saliency),
        torch.cat(reasons).cpu().numpy(),
        seconds,
        cpu_seconds,
        evaluations,
        peak.megabytes,
    )
