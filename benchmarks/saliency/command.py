"""What `covid-debug bench saliency` does from its request to the written files.

Owns the default list of methods; runs, tables, figures and checks are its neighbours'.
"""

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.phantoms import PhantomModel
from benchmarks.saliency.figures import write_figures, write_gallery
from benchmarks.saliency.films import FilmChoice, ModelChoice, describe_weights
from benchmarks.saliency.measure import GROUP, run_saliency_benchmark
from benchmarks.saliency.paper import paper_markdown
from benchmarks.saliency.rankings import SEARCHES, rank_searches
from benchmarks.saliency.runs import MAX_BATCH, BenchFilms, BenchPlan
from benchmarks.saliency.sanity import check_igos_pp, check_randomisation
from benchmarks.saliency.tables import summarise, write_tables
from covid_debug.artifacts import write_text_atomic
from covid_debug.errors import InputContractError, suggest
from covid_debug.models.classifier import Classifier
from covid_debug.models.devices import find_device
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from covid_debug.saliency.feature_maps import find_target_layer
from covid_debug.terminal import RunConsole

PRESETS = ("igos_pp_published", "igos_plus_published", "igos_published", "mask_published")
"""Entries that run only where they are named: each map takes minutes, or is another's."""


@dataclass(frozen=True, slots=True)
class SaliencyBench:
    """What `bench saliency` measures and shows.

    Attributes:
        model: The classifier.
        films: What is explained.
        grids: Cells a side.
        methods: Catalogue names; all but the slow presets where empty, and none where only
            rankings are asked for.
        yardstick_grids: Grids at which the plain published algorithm runs, too.
        yardstick_films: At most so many films for it.
        ranking_films: Films of the table of searches and rankings; 0 leaves it out.
        searches: Searches of that table; all where empty.
        seed: Run seed.
        paper: Lay the papers' numbers beside ours.
        sanity: Run the sanity checks of iGOS++.
        control: Checkpoint of the same network trained on shuffled labels, for these checks.
        gallery: Folder for the page of maps and curves, or None.
    """

    model: ModelChoice
    films: FilmChoice
    grids: tuple[int, ...] = (7, 28)
    methods: tuple[str, ...] = ()
    yardstick_grids: tuple[int, ...] = ()
    yardstick_films: int = 24
    ranking_films: int = 0
    searches: tuple[str, ...] = ()
    seed: int = 0
    paper: bool = False
    sanity: bool = False
    control: Path | None = None
    gallery: Path | None = None


def bench_saliency(request: SaliencyBench, out: Path, console: RunConsole) -> str:
    """Run the benchmark and write tables, figures and facts.

    Args:
        request: What is measured.
        out: Folder of results; finished runs in it are not repeated.
        console: Terminal.

    Returns:
        The Markdown tables.

    Raises:
        InputContractError: If only one of classifier and films is named, a search is unknown, or
            searches are named and no table of them is asked for.
    """
    find_device(request.model.device)
    _require_searches(request)
    if request.films.source is None and request.model.checkpoint is None:
        request = _with_phantoms(request, out / "phantom_model", console)
    if request.model.checkpoint is None:
        raise InputContractError("bench saliency: give --checkpoint DIR for these films")
    model = request.model.load(request.model.checkpoint)
    classifier = model.classifier
    films, views = request.films.load(model, out, request.seed, console)
    console.say(f"{len(films.names)} films")
    with torch.no_grad():
        classifier(films.images[:1])  # warm up
    table = _rank(request, classifier, films, out, console) if request.ranking_films else ""
    if table and not request.methods:
        return table
    defaults = default_methods(classifier)
    plan = BenchPlan(
        methods={name: defaults.get(name, {}) for name in (request.methods or defaults)},
        grids=request.grids,
        seed=request.seed,
        yardstick_grids=request.yardstick_grids,
        yardstick_films=request.yardstick_films,
        model_key=describe_weights(classifier),
        parts=out / "parts",
    )
    runs = run_saliency_benchmark(classifier, films, plan, console.say)
    rows = summarise(runs, films, seed=request.seed)
    write_tables(rows, out, facts=_describe(request, plan, films))
    text = (out / "saliency.md").read_text(encoding="utf-8")
    text += f"\n{table}" if table else ""
    if request.paper:
        text += "\n" + paper_markdown(rows)
    write_figures(runs, films, views, classifier.class_names, out)
    if request.sanity:
        control = request.model.load(request.control).classifier if request.control else None
        text += "\n" + check_igos_pp(
            classifier, films, out, control=control, seed=request.seed, say=console.say
        )
        text += "\n" + check_randomisation(
            classifier, films, out, seed=request.seed, say=console.say
        )
    write_text_atomic(out / "saliency.md", text)
    if request.gallery is not None:
        write_gallery(
            request.gallery,
            out,
            text,
            n_films=len(films.names),
            yardsticks=request.yardstick_grids,
        )
    return text


def default_methods(classifier: Classifier) -> dict[str, dict[str, Any]]:
    """Return every catalogue method but the slow presets, with what this model needs."""
    methods: dict[str, dict[str, Any]] = {name: {} for name in EXPLAINERS if name not in PRESETS}
    methods["grad_cam"] = {"target_layer": find_target_layer(classifier)}
    side = min(classifier.image_size)
    methods["occlusion"] = {"window_px": max(side // 7, 2), "stride_px": max(side // 14, 1)}
    return methods


def _require_searches(request: SaliencyBench) -> None:
    for name in request.searches:
        if name not in SEARCHES:
            raise InputContractError(
                f"--search {name!r}: expected one of {', '.join(SEARCHES)}{suggest(name, SEARCHES)}"
            )
    if request.searches and not request.ranking_films:
        raise InputContractError("--search: names searches of a table; give --rankings FILMS, too")


def _rank(
    request: SaliencyBench,
    classifier: Classifier,
    films: BenchFilms,
    out: Path,
    console: RunConsole,
) -> str:
    sections = [
        rank_searches(
            classifier,
            films.pick(0, request.ranking_films),
            out / f"rankings-{grid}",
            searches=request.searches or tuple(SEARCHES),
            grid=grid,
            seed=request.seed,
            model_key=describe_weights(classifier),
            say=console.say,
        )
        for grid in request.grids
    ]
    return "\n".join(sections)


def _with_phantoms(request: SaliencyBench, folder: Path, console: RunConsole) -> SaliencyBench:
    phantoms = PhantomModel(
        films=folder / "phantom",
        checkpoint=folder / "checkpoint",
        n_train=300,
        n_test=90,
        image_size=112,
        n_epochs=8,
        film_seed=7,
        seed=0,
    )
    phantoms.make(console)
    return replace(
        request,
        model=replace(request.model, checkpoint=phantoms.checkpoint),
        films=replace(request.films, source=phantoms.films),
    )


def _describe(request: SaliencyBench, plan: BenchPlan, films: BenchFilms) -> dict[str, Any]:
    return {
        "model": str(request.model.checkpoint),
        "model_key": plan.model_key,
        "films": list(films.names),
        "n_films": len(films.names),
        "device": str(films.images.device),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "seed": request.seed,
        "max_batch": MAX_BATCH,
        "group": GROUP,
        "params": {
            name: build_explainer(name, **params).params for name, params in plan.methods.items()
        },
    }
