"""`covid-debug bench plants`: does the audit find text that a model really learned?

Joins planting, training, detection, audit and maps, and says what was found. Every step is an
artifact below the output folder, so that a second start repeats nothing that is finished.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.plants.dealing import PlantParams, PlantRequest, load_plants
from benchmarks.plants.detection import count_detected, measure_areas
from benchmarks.plants.overlap import OverlapRequest, load_overlaps
from benchmarks.plants.tables import PlantRun, write_results
from benchmarks.plants.truth import Truth, find_truth, render_twins
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import AuditRequest
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.saliency.catalog import EXPLAINERS
from covid_debug.stages import Means, find_or_make
from covid_debug.text.stage import RegionsRequest
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

COSTLY = (
    "igos_pp_published", "igos_published", "mask", "rise", "leg", "leg_tv", "lime", "kernel_shap"
)  # fmt: skip
"""Methods that explain fewer films: each map takes hundreds of evaluations or more."""


@dataclass(frozen=True)
class PlantBench:
    """What is measured.

    Attributes:
        filmset: Real films with train, val and test.
        regions: Their own text.
        params: What is planted.
        correlations: How the learned plant goes with its class; one training set each.
        archs: Backbones.
        seeds: Trainings of each.
        image_size: Side in pixels that the models see.
        n_epochs: Epochs.
        methods: Saliency methods; none to measure the audit alone.
        n_maps: Most films a split that are explained by each model and method.
        n_costly_maps: The same for :data:`COSTLY` methods.
        seed: Of plants, audit, draws and intervals.
    """

    filmset: Path
    regions: Path
    params: PlantParams = field(default_factory=PlantParams)
    correlations: tuple[float, ...] = (0.5, 0.75, 1.0)
    archs: tuple[str, ...] = ("covidnet", "resnet18_half")
    seeds: tuple[int, ...] = (0, 1)
    image_size: int = 112
    n_epochs: int = 24
    methods: tuple[str, ...] = tuple(EXPLAINERS)
    n_maps: int = 60
    n_costly_maps: int = 30
    seed: int = 0


def bench_plants(bench: PlantBench, out: Path, means: Means) -> str:
    """Plant, train, detect, audit and explain; write ``plants.md`` and ``plants.csv``.

    Args:
        bench: What is measured.
        out: Folder of artifacts and results.
        means: How it is carried out.

    Returns:
        The tables, as Markdown.
    """
    say = means.listener.say
    view = ViewSpec(image_size=bench.image_size)
    probe = find_or_make(
        PlantRequest(bench.filmset, bench.regions, None, bench.params, seed=bench.seed), out, means
    )
    films, plants = load_filmset(probe), load_plants(probe)
    original = load_filmset(bench.filmset)
    twins = {
        split: render_twins(original, films.select(split), plants, view, n_workers=means.n_workers)
        for split in ("val", "test")
    }
    trained = []
    for name, checkpoint in _train(bench, view, out, means):
        classifier = load_checkpoint(checkpoint, device=means.device).classifier
        truth = {split: find_truth(classifier, twins[split]) for split in twins}
        trained.append((name, checkpoint, truth))
        say(f"{name}: {describe_truth(truth['test'])}")
    regions = find_or_make(RegionsRequest(probe), out, means)
    found = read_regions(regions)
    detected, areas = count_detected(plants, found), measure_areas(films, found, view)
    runs = []
    for name, checkpoint, truth in trained:
        start = time.perf_counter()
        request = AuditRequest(
            checkpoint,
            probe,
            regions,
            AuditParams(max_explained=0, grid_size=min(28, bench.image_size)),
            bench.seed,
        )
        audit = load_audit(find_or_make(request, out, means))
        say(f"{name}: audited in {time.perf_counter() - start:.0f} s")
        runs.append(PlantRun(name, truth["val"], truth["test"], audit, areas))
    for method in bench.methods:
        start = time.perf_counter()
        n_maps = bench.n_costly_maps if method in COSTLY else bench.n_maps
        for run, (_, checkpoint, _) in zip(runs, trained, strict=True):
            wanted = OverlapRequest(
                checkpoint,
                probe,
                regions,
                method,
                n_maps,
                bench.seed,
            )
            run.overlaps[method] = load_overlaps(find_or_make(wanted, out, means))
        say(f"{method}: {time.perf_counter() - start:.0f} s")
    return write_results(out, runs, detected, seed=bench.seed)


def _train(
    bench: PlantBench, view: ViewSpec, out: Path, means: Means
) -> Iterator[tuple[str, Path]]:
    for arch in bench.archs:
        for seed in bench.seeds:
            for correlation in sorted(bench.correlations, reverse=True):
                planted = find_or_make(
                    PlantRequest(
                        bench.filmset, bench.regions, correlation, bench.params, seed=bench.seed
                    ),
                    out,
                    means,
                )
                recipe = TrainingParams(arch=arch, n_epochs=bench.n_epochs, precision="bf16-mixed")
                request = TrainRequest(planted, recipe, view, seed)
                yield f"{arch} rho {correlation:g} seed {seed}", find_or_make(request, out, means)


def describe_truth(truth: Sequence[Truth]) -> str:
    """Say how much a model learned the plant.

    Args:
        truth: About films of one split.

    Returns:
        One sentence: films with the plant, and those whose class it changes.
    """
    bearing = [item for item in truth if item.has_learned]
    harmless = [item for item in truth if item.has_harmless]
    n_driven = sum(item.is_driven for item in bearing)
    n_moved = sum(item.planted != item.without_harmless for item in harmless)
    right = np.mean([item.without_both == item.film.label for item in truth])
    return (
        f"the learned plant changes the class of {n_driven} of {len(bearing)} films, the harmless"
        f" one of {n_moved} of {len(harmless)}; accuracy without plants {right:.2f}"
    )
