"""Runs of the plain published iGOS++, which every other method is compared with.

Each film is kept as it is done: one takes a minute.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.cost import MemoryPeak, Stopwatch
from benchmarks.saliency.plain_igos_pp import explain_plainly
from benchmarks.saliency.runs import MAX_BATCH, BenchFilms, BenchPlan, MethodRun
from benchmarks.saliency.scoring import Maps, score_maps
from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.baselines import blur_baseline
from covid_debug.saliency.base import MIN_SCORE_GAP
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.inputs import preserved
from covid_debug.seeding import derive_seed

YARDSTICK = "igos_pp_plain"


def run_yardstick(
    classifier: Classifier,
    films: BenchFilms,
    plan: BenchPlan,
    grid: int,
    say: Callable[[str], None],
) -> MethodRun:
    """Explain the first films whose score falls from the film to its baseline.

    Args:
        classifier: The model, in evaluation mode.
        films: What is explained.
        plan: Seed, most films, where finished ones are kept.
        grid: Cells a side.
        say: Receives one line per film.

    Returns:
        A run on all films; those not given to it have the void reason -1.
    """
    images, baseline = films.images, blur_baseline(films.images)
    index = torch.arange(len(images), device=images.device)
    score = TargetScore(classifier, films.targets, max_batch=MAX_BATCH)
    with torch.no_grad():
        gap = score(images, index) - score(baseline, index)
    valid = (gap >= MIN_SCORE_GAP).nonzero().flatten().tolist()[: plan.yardstick_films]
    parts: list[MethodRun] = []
    for number, i in enumerate(valid, start=1):
        film = films.pick(i, i + 1)
        make = partial(_explain_one, classifier, film, baseline[i : i + 1], plan.seed, grid)
        parts.append(plan.find_or_make(film, YARDSTICK, grid, {}, make))
        say(f"{number}/{len(valid)} {parts[-1].describe()}")
    return _spread(parts, valid, films, grid)


def _spread(parts: list[MethodRun], valid: list[int], films: BenchFilms, grid: int) -> MethodRun:
    """Return the runs of single films as one on all films."""
    n, side = len(films.names), films.images.shape[-1]
    fraction = parts[0].fraction if parts else np.array([0.0, 1.0])
    curve = np.full((n, len(fraction)), np.nan)
    number = np.full(n, np.nan)
    whole = MethodRun(
        YARDSTICK, grid, np.zeros((n, side, side), np.float32), number, number.copy(), curve,
        curve.copy(), fraction, np.full(n, -1), number.copy(), number.copy(), number.copy(),
        max((part.peak_mb for part in parts), default=0.0),
    )  # fmt: skip
    for i, part in zip(valid, parts, strict=True):
        for name in MethodRun.__dataclass_fields__:
            if name not in {"method", "grid", "fraction", "peak_mb"}:
                getattr(whole, name)[i] = getattr(part, name)[0]
    return whole


def _explain_one(
    classifier: Classifier, film: BenchFilms, baseline: Tensor, seed: int, grid: int
) -> MethodRun:
    image, device = film.images, film.images.device
    seed = derive_seed(seed, film.names[0], YARDSTICK)
    # The published noise is kept where this film's score survives it, as the library does.
    probe = build_explainer("igos_pp", n_iterations=1, grid_size=grid).explain(
        classifier, image, film.targets, seeds=[seed]
    )
    with MemoryPeak(device) as peak, preserved(classifier), Stopwatch(device) as watch:
        saliency, n_evaluations = explain_plainly(
            classifier,
            image,
            baseline,
            int(film.targets[0]),
            grid_size=grid,
            noise_std=float(probe.diagnostics["noise_std"][0]),
            generator=torch.Generator(device).manual_seed(seed),
        )
    moved = bool(saliency.max() > saliency.min())
    maps = Maps(
        saliency=saliency,
        void_reason=np.array([0 if moved else 2]),
        seconds=np.array([watch.seconds]),
        cpu_seconds=np.array([watch.cpu_seconds]),
        evaluations=np.array([float(n_evaluations)]),
        peak_mb=peak.megabytes,
    )
    return score_maps(classifier, film, maps, YARDSTICK, grid)
