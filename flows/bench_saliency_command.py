"""What `covid-debug bench saliency` does from its arguments to the written files.

Owns loading, the default list of methods, sanity checks of the run and the figures' selection.
"""

import csv
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covid_debug.artifacts import write_text_atomic
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views, render_film
from covid_debug.errors import CovidDebugError, InputContractError, suggest
from covid_debug.evaluation import sanity
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import load_checkpoint, load_factory
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.models.scoring import TargetScore
from covid_debug.reporting.figures import to_png
from covid_debug.reporting.saliency_figures import (
    MeanCurve,
    MontageCell,
    draw_curves,
    draw_montage,
)
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from covid_debug.seeding import derive_seed
from flows.bench_phantom import make_phantom_model
from flows.bench_saliency import (
    BenchFilms,
    BenchPlan,
    MethodRun,
    run_saliency_benchmark,
)
from flows.bench_saliency_tables import paper_markdown, summarise, write_tables

Say = Callable[[str], None]
PRESETS = ("igos_pp_published", "igos_published")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm", ".bmp", ".tif", ".tiff"}


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
    model: LoadedForBench, source: Path, out: Path, *, target: str | None, n_films: int, say: Say
) -> tuple[BenchFilms, NDArray[np.uint8]]:
    """Collect films that the classifier assigns to the class to explain, most confident first.

    Args:
        model: Decides the view and the predictions.
        source: A data set folder (its test films) or a folder of images.
        out: Holds the cache of views.
        target: Class to explain; each film's predicted class where None.
        n_films: At most so many.
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
    confidence = probabilities[wanted, predicted[wanted]]
    chosen = wanted[np.argsort(-confidence, kind="stable")][:n_films]
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
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
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
    methods["grad_cam"] = {"target_layer": last_spatial_layer(classifier)}
    side = min(classifier.image_size)
    methods["occlusion"] = {"window_px": max(side // 7, 2), "stride_px": max(side // 14, 1)}
    return methods


def last_spatial_layer(classifier: Classifier) -> str:
    """Return the name of the last module whose output is a map of more than one pixel.

    Raises:
        InputContractError: If there is none.
    """
    found: list[str] = []
    handles = []

    def note(name: str) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[-2:]) > 1:
                found.append(name)

        return hook

    for name, module in classifier.module.named_modules():
        if name:
            handles.append(module.register_forward_hook(note(name)))
    try:
        with torch.no_grad():
            classifier(torch.zeros((1, 1, *classifier.image_size), device=classifier.device))
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputContractError("bench saliency: the network has no layer with a spatial output")
    return found[-1]


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
        gallery: Folder for the page of maps and curves, or None.
        seed: Run seed.
        max_batch: Most images in one model call.
        say: Receives progress lines.

    Returns:
        The Markdown tables.

    Raises:
        InputContractError: If only one of classifier and films is named.
    """
    out.mkdir(parents=True, exist_ok=True)
    if source is None and choice.checkpoint is None and choice.torchvision is None:
        checkpoint, source = make_phantom_model(out / "phantom_model", say)
        choice = replace(choice, checkpoint=checkpoint)
    if source is None:
        raise InputContractError("bench saliency: give --data DIR for this model")
    model = load_model(choice)
    films, views = load_films(model, source, out, target=target, n_films=n_films, say=say)
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
        text += "\n" + check_igos_pp(model.classifier, films, out, seed=seed, say=say)
        write_text_atomic(out / "saliency.md", text)
    if gallery is not None:
        write_gallery(gallery, out, text, n_films=len(films.names))
    return text


def write_gallery(gallery: Path, out: Path, table: str, *, n_films: int) -> None:
    """Write a page that shows the montage, the curves and the table of a benchmark.

    Args:
        gallery: Folder of the page, ``README.md`` and its pictures.
        out: Folder of the benchmark.
        table: Its Markdown tables.
        n_films: Films behind the averages.
    """
    gallery.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Gallery: every method on the same films",
        "",
        "Made by `covid-debug bench saliency --gallery docs/gallery --out DIR`. Bright: evidence for",
        "the class above the film. Below each map: deletion (lower is better) / insertion (higher is",
        "better). Pale maps are void: they mean nothing and are in no average.",
        "",
    ]
    for montage in sorted(out.glob("montage_*.png"), key=lambda path: len(path.name)):
        curves = out / montage.name.replace("montage", "curves")
        for picture in (montage, curves):
            if picture.is_file():
                (gallery / picture.name).write_bytes(picture.read_bytes())
        grid = montage.stem.removeprefix("montage_")
        lines += [
            f"## {grid} x {grid}",
            "",
            f"![Maps of every method at {grid} x {grid}]({montage.name})",
            "",
            f"![Mean deletion and insertion curves at {grid} x {grid}]({curves.name})",
            "",
        ]
    lines += [f"## Averages over {n_films} films", "", table]
    write_text_atomic(gallery / "README.md", "\n".join(lines))


def write_figures(
    runs: Sequence[MethodRun],
    films: BenchFilms,
    views: NDArray[np.uint8],
    class_names: Sequence[str],
    out: Path,
    *,
    n_shown: int = 6,
) -> None:
    """Write a montage and mean curves per grid as PNG files.

    Args:
        runs: What was measured.
        films: The films.
        views: Their views.
        class_names: For the titles.
        out: Folder.
        n_shown: Films in the montage: the first that are not void for iGOS++, then others.
    """
    for grid in sorted({run.grid for run in runs}):
        at_grid = [run for run in runs if run.grid == grid]
        leading = next((r for r in at_grid if r.method == "igos_pp"), at_grid[0])
        order = np.argsort(leading.void_reason != 0, kind="stable")[:n_shown]
        montage = {
            run.method: [
                MontageCell(
                    run.saliency[i],
                    f"{run.deletion[i]:.2f} / {run.insertion[i]:.2f}",
                    bool(run.void_reason[i] != 0),
                )
                for i in order
            ]
            for run in at_grid
        }
        titles = [class_names[int(films.targets[i])] for i in order]
        figure = draw_montage([views[i] for i in order], titles, montage)
        (out / f"montage_{grid}.png").write_bytes(to_png(figure))
        curves = {}
        for run in at_grid:
            ok = (run.void_reason == 0) & np.isfinite(run.deletion)
            if ok.any():
                curves[run.method] = MeanCurve(
                    run.fraction,
                    run.deletion_curve[ok].mean(axis=0),
                    run.insertion_curve[ok].mean(axis=0),
                )
        if curves:
            figure = draw_curves(curves, f"{grid} x {grid}")
            (out / f"curves_{grid}.png").write_bytes(to_png(figure))


def check_igos_pp(
    classifier: Classifier, films: BenchFilms, out: Path, *, seed: int, say: Say, n_films: int = 8
) -> str:
    """Run the sanity checks of iGOS++ and write ``sanity.csv``.

    Args:
        classifier: The model.
        films: The first ``n_films`` are used.
        out: Folder.
        seed: Run seed.
        say: Receives progress lines.
        n_films: How many.

    Returns:
        A Markdown section.
    """
    images, targets = films.images[:n_films], films.targets[:n_films]
    explainer = build_explainer("igos_pp")

    def explain(model: Classifier, run_seed: int = seed) -> sanity.MapSample:
        seeds = [derive_seed(run_seed, name, "sanity") for name in films.names[:n_films]]
        result = explainer.explain(model, images, targets, seeds=seeds)
        return sanity.MapSample(result.saliency, result.diagnostics["void"])

    lines = [["check", "value", "detail"]]
    for step in sanity.randomise_cascading(classifier, explain, seed=seed, n_steps=4):
        similarity = step.similarity[~step.void & ~step.similarity.isnan()]
        shown = f"{float(similarity.mean()):.3f}" if len(similarity) else "all void"
        lines.append(
            [
                f"rank correlation after randomising down to {step.layer}",
                shown,
                f"{int(step.void.sum())} of {len(step.void)} void",
            ]
        )
    say("sanity: parameters randomised")
    repeat = sanity.measure_repeatability(lambda s: explain(classifier, s), [seed, seed + 1])
    lines.append(
        ["rank correlation between two seeds", f"{float(repeat.nanmean()):.3f}", "noise on"]
    )
    lines += _adversarial_lines(classifier, images, targets, seed)
    say("sanity: adversarial films")
    trace = explainer.explain(classifier, images, targets, seeds=list(range(len(images))))
    settled = sanity.settle_iteration(trace.diagnostics["loss"])
    lines.append(
        [
            "iteration with 95 % of the decrease (median)",
            str(int(settled.median())),
            f"of {trace.diagnostics['loss'].shape[1]}",
        ]
    )
    with (out / "sanity.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(lines)
    table = "\n".join(f"| {a} | {b} | {c} |" for a, b, c in lines[1:])
    return f"### Sanity checks of igos_pp\n\n| check | value | detail |\n|---|---|---|\n{table}\n"


def _adversarial_lines(
    classifier: Classifier, images: Tensor, targets: Tensor, seed: int
) -> list[list[str]]:
    """Return lines that compare natural films with films attacked towards another class."""
    wanted = (targets + 1) % classifier.n_classes
    explainer = build_explainer("igos_pp")
    seeds = [derive_seed(seed, "adversarial", i) for i in range(len(images))]
    attack_score = TargetScore(classifier.eval(), wanted)
    with torch.no_grad():
        adversarial = sanity.attack_mi_fgsm(attack_score, images)
        reached = attack_score(adversarial, torch.arange(len(images), device=images.device))
    insertion = []
    for pictures, classes in ((images, targets), (adversarial, wanted)):
        maps = explainer.explain(classifier, pictures, classes, seeds=seeds)
        scores = compute_deletion_insertion(
            TargetScore(classifier, classes), pictures, maps.saliency, PerturbationProtocol()
        )
        insertion.append(scores.insertion_score)
    auc = sanity.separation(insertion[0], insertion[1])
    return [
        ["probability of the attacked class after MI-FGSM", f"{float(reached.mean()):.3f}", ""],
        [
            "insertion score, natural and adversarial",
            f"{float(insertion[0].mean()):.3f} / {float(insertion[1].mean()):.3f}",
            f"area under the ROC curve of the warning {auc:.2f}",
        ],
    ]
