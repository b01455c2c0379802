"""What `covid-debug bench saliency` does from its arguments to the written files.

Owns loading and the default list of methods; runs, tables, figures and checks are its neighbours'.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.phantom import make_phantom_model
from benchmarks.saliency.figures import write_figures, write_gallery
from benchmarks.saliency.measure import (
    BenchFilms,
    BenchPlan,
    run_saliency_benchmark,
)
from benchmarks.saliency.sanity import check_igos_pp
from benchmarks.saliency.tables import paper_markdown, summarise, write_tables
from covid_debug.artifacts import write_text_atomic
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views, render_film
from covid_debug.errors import CovidDebugError, InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import FILM_SUFFIXES
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import load_checkpoint, load_factory
from covid_debug.models.classifier import Classifier
from covid_debug.models.devices import find_device
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from covid_debug.saliency.grad_cam import find_target_layer
from covid_debug.seeding import derive_seed

Say = Callable[[str], None]
PRESETS = ("igos_pp_published", "igos_published")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Where the classifier comes from.

    Attributes:
        checkpoint: Checkpoint folder; or
        torchvision: name of a torchvision network, with weights from a local file.
        weights: Local weights of that network.
        factory: ``"package.module:function"`` for a checkpoint of the user's own network.
        device: Torch device.
    """

    checkpoint: Path | None
    torchvision: str | None
    weights: Path | None
    factory: str | None
    device: str


@dataclass(frozen=True, slots=True)
class LoadedForBench:
    """A classifier with the view that it sees and a key that identifies it."""

    classifier: Classifier
    view: ViewSpec
    key: str


def load_model(choice: ModelChoice) -> LoadedForBench:
    """Load a classifier from a checkpoint, or a torchvision network from local weights.

    Args:
        choice: Where it comes from.

    Returns:
        The classifier in evaluation mode with its view.

    Raises:
        InputContractError: If neither or both are named.
    """
    if (choice.checkpoint is None) == (choice.torchvision is None):
        raise InputContractError("bench saliency: give either --checkpoint or --torchvision")
    if choice.checkpoint is not None:
        factory = load_factory(choice.factory) if choice.factory else None
        model = load_checkpoint(choice.checkpoint, device=choice.device, factory=factory)
        return LoadedForBench(model.classifier, model.view, _weights_key(model.classifier))
    name = str(choice.torchvision)
    if choice.weights is None:
        raise InputContractError(
            f"bench saliency: --torchvision {name} needs --weights FILE; nothing is downloaded"
        )
    network = build_backbone(name, 1000, 3, weights_path=choice.weights)
    classifier = Classifier(
        network.to(choice.device),
        class_names=[f"imagenet_{i}" for i in range(1000)],
        image_size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        channels=3,
    ).eval()
    return LoadedForBench(classifier, ViewSpec(224, 0.0), _weights_key(classifier))


def _weights_key(classifier: Classifier) -> str:
    total = sum(float(p.detach().double().abs().sum()) for p in classifier.parameters())
    return f"{sum(p.numel() for p in classifier.parameters())}-{total:.6f}"


def load_films(
    model: LoadedForBench,
    source: Path,
    out: Path,
    *,
    target: str | None,
    n_films: int,
    seed: int,
    say: Say,
) -> tuple[BenchFilms, NDArray[np.uint8]]:
    """Draw films that the classifier assigns to the class to explain.

    Args:
        model: Decides the view and the predictions.
        source: A data set folder (its test films) or a folder of images.
        out: Holds the cache of views.
        target: Class to explain; each film's predicted class where None.
        n_films: At most so many, drawn by the seed.
        seed: Run seed.
        say: Receives one line per unreadable film.

    Returns:
        The films and their views ``(N, S, S)``.

    Raises:
        InputContractError: If the class is unknown.
        CovidDebugError: If no film can be used.
    """
    names, patients, views = _collect(model.view, source, out, say)
    classes = model.classifier.class_names
    if target is not None and target not in classes:
        raise InputContractError(
            f"--target {target!r} is not a class of the model{suggest(target, classes)}"
        )
    probabilities = predict_probabilities(model.classifier, views)
    predicted = probabilities.argmax(axis=1)
    wanted = np.arange(len(views))
    if target is not None:
        wanted = wanted[predicted == classes.index(target)]
    keys = [derive_seed(seed, "bench", names[i]) for i in wanted]
    chosen = wanted[np.argsort(keys, kind="stable")][:n_films]
    if len(chosen) == 0:
        raise CovidDebugError(f"{source}: no film is predicted as {target!r}; choose another class")
    images = to_canonical(views[chosen], model.classifier.device)
    targets = torch.from_numpy(predicted[chosen].astype(np.int64)).to(images.device)
    films = BenchFilms(images, targets, [names[i] for i in chosen], [patients[i] for i in chosen])
    return films, views[chosen]


def _collect(
    view: ViewSpec, source: Path, out: Path, say: Say
) -> tuple[list[str], list[str], NDArray[np.uint8]]:
    if (source / "films.csv").is_file():
        filmset = load_filmset(source)
        chosen = filmset.select("test")
        views = load_views(filmset, chosen, view, out / "views")
        return [f.image_id for f in chosen], [f.patient_id for f in chosen], views
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in FILM_SUFFIXES)
    names, rendered = [], []
    for path in paths:
        try:
            rendered.append(render_film(path, view))
            names.append(str(path.relative_to(source)))
        except CovidDebugError as error:
            say(f"not used: {error}")
    if not rendered:
        raise CovidDebugError(f"{source}: holds no readable image")
    return names, names, np.stack(rendered)


def default_methods(classifier: Classifier) -> dict[str, dict[str, Any]]:
    """Return every catalogue method but the slow presets, with what this model needs."""
    methods: dict[str, dict[str, Any]] = {name: {} for name in EXPLAINERS if name not in PRESETS}
    methods["grad_cam"] = {"target_layer": find_target_layer(classifier)}
    side = min(classifier.image_size)
    methods["occlusion"] = {"window_px": max(side // 7, 2), "stride_px": max(side // 14, 1)}
    return methods


def bench_saliency(
    choice: ModelChoice,
    source: Path | None,
    out: Path,
    *,
    target: str | None,
    n_films: int,
    grids: Sequence[int],
    methods: Sequence[str],
    yardstick: Sequence[int],
    yardstick_films: int,
    paper: bool,
    check_sanity: bool,
    control: Path | None,
    gallery: Path | None,
    seed: int,
    max_batch: int,
    say: Say,
) -> str:
    """Run the benchmark and write tables, figures and facts.

    Args:
        choice: The classifier.
        source: Data set or folder of images; phantom films where it and the classifier are None.
        out: Folder of results; finished parts in it are not repeated.
        target: Class to explain; predicted class where None.
        n_films: At most so many films.
        grids: Cells a side.
        methods: Catalogue names; all but the slow presets where empty.
        yardstick: Grids at which the plain published algorithm runs, too.
        yardstick_films: At most so many films for it.
        paper: Lay the papers' numbers beside ours.
        check_sanity: Run the sanity checks of iGOS++.
        control: Checkpoint of the same network trained on shuffled labels, for these checks.
        gallery: Folder for the page of maps and curves, or None.
        seed: Run seed.
        max_batch: Most images in one model call.
        say: Receives progress lines.

    Returns:
        The Markdown tables.

    Raises:
        InputContractError: If only one of classifier and films is named.
    """
    find_device(choice.device)
    if source is None and choice.checkpoint is None and choice.torchvision is None:
        checkpoint, source = make_phantom_model(out / "phantom_model", say)
        choice = replace(choice, checkpoint=checkpoint)
    if source is None:
        raise InputContractError("bench saliency: give --data DIR for this model")
    model = load_model(choice)
    films, views = load_films(
        model, source, out, target=target, n_films=n_films, seed=seed, say=say
    )
    say(f"{len(films.names)} films")
    defaults = default_methods(model.classifier)
    plan = BenchPlan(
        methods={name: defaults.get(name, {}) for name in (methods or defaults)},
        grids=grids,
        seed=seed,
        max_batch=max_batch,
        yardstick_grids=yardstick,
        yardstick_films=yardstick_films,
        model_key=model.key,
        parts=out / "parts",
    )
    with torch.no_grad():
        model.classifier(films.images[:1])  # warm up
    runs = run_saliency_benchmark(model.classifier, films, plan, say)
    rows = summarise(runs, films, seed=seed)
    facts = {
        "model": str(choice.checkpoint or choice.torchvision),
        "model_key": model.key,
        "films": list(films.names),
        "n_films": len(films.names),
        "device": str(model.classifier.device),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "seed": seed,
        "max_batch": max_batch,
        "group": 8,
        "params": {
            f"{name}": build_explainer(name, **params).params
            for name, params in plan.methods.items()
        },
    }
    text = write_tables(rows, out, facts=facts)
    if paper:
        text += "\n" + paper_markdown(rows)
        write_text_atomic(out / "saliency.md", text)
    write_figures(runs, films, views, model.classifier.class_names, out)
    if check_sanity:
        shuffled = control and load_checkpoint(control, device=choice.device).classifier
        text += "\n" + check_igos_pp(
            model.classifier, films, out, control=shuffled or None, seed=seed, say=say
        )
        write_text_atomic(out / "saliency.md", text)
    if gallery is not None:
        write_gallery(gallery, out, text, n_films=len(films.names))
    return text
