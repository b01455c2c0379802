"""`covid-debug explain`: maps of films with a checkpoint, their scores and pictures.

Joins explainers with the deletion and insertion scores and the overlays; computes nothing itself.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.artifacts import is_complete, write_artifact
from covid_debug.cli.films import collect_films
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views, render_film
from covid_debug.errors import CovidDebugError, InputContractError, suggest
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.imaging.overlays import overlay_saliency
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint, load_factory
from covid_debug.models.classifier import Classifier
from covid_debug.models.devices import describe_device
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import explain_void_reason
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.grad_cam import find_target_layer
from covid_debug.seeding import derive_seed
from covid_debug.terminal import RunConsole

GROUP = 8  # films explained together


@dataclass(frozen=True)
class _Films:
    names: list[str]
    views: NDArray[np.uint8]
    failures: list[tuple[str, str]]


def explain_films(
    checkpoint: Path,
    out: Path,
    *,
    images: Sequence[Path],
    data: Path | None,
    method: str,
    grid: int,
    target_layer: str | None,
    target: str | None,
    limit: int,
    seed: int,
    device: str,
    factory: str | None,
    console: RunConsole,
) -> None:
    """Explain films and write an artifact of maps, overlays and a table.

    Args:
        checkpoint: Checkpoint folder.
        out: Artifact to write: ``explanations.csv``, ``maps/*.npy``, ``overlays/*.png``.
        images: Image files; or
        data: a data set, whose test films are explained.
        method: Catalogue name of the explainer.
        grid: Cells a side of the mask grid.
        target_layer: Layer of Grad-CAM; None takes the last one with maps and says which.
        target: Class to explain; None explains each film's predicted class.
        limit: At most so many films.
        seed: Run seed; every film gets its own from it.
        device: Torch device.
        factory: ``"package.module:function"`` that builds the user's own network.
        console: Terminal.

    Raises:
        InputContractError: If the class is not one of the model's.
        CovidDebugError: If no film could be read.
    """
    model = load_checkpoint(
        checkpoint, device=device, factory=load_factory(factory) if factory else None
    )
    names = model.classifier.class_names
    if target is not None and target not in names:
        raise InputContractError(
            f"--target {target!r} is not a class of {checkpoint}{suggest(target, names)}"
            f" (known: {', '.join(names)})"
        )
    explainer = build_explainer(
        method, **_parameters(method, grid, target_layer, model.classifier, console)
    )
    films = _collect(model, images, data, limit, out.parent / "views", console)
    reasons = [
        reason if reason.startswith(name) else f"{name}: {reason}"
        for name, reason in films.failures
    ]
    for reason in reasons:
        console.say(f"not explained: {reason}")
    if not films.names:
        raise CovidDebugError(f"explain: none of the films could be read; first {reasons[0]}")
    probabilities = predict_probabilities(model.classifier, films.views)
    targets = probabilities.argmax(axis=1)
    if target is not None:
        targets[:] = names.index(target)
    with (
        write_artifact(
            out,
            kind="explanations",
            parameters={"method": explainer.name, "params": explainer.params, "seed": seed},
            inputs={"checkpoint": checkpoint.name},
            device=describe_device(device),
        ) as draft,
        console.progress("films") as progress,
        (draft.path / "explanations.csv").open("w", newline="", encoding="utf-8") as stream,
    ):
        (draft.path / "maps").mkdir()
        (draft.path / "overlays").mkdir()
        writer = csv.writer(stream)
        writer.writerow(
            ["film", "target", "probability", "deletion", "insertion", "void_reason", "file"]
        )
        for start in range(0, len(films.names), GROUP):
            group = slice(start, start + GROUP)
            batch = to_canonical(films.views[group], model.classifier.device)
            classes = torch.from_numpy(targets[group].astype(np.int64)).to(batch.device)
            explanation = explainer.explain(
                model.classifier,
                batch,
                classes,
                seeds=[derive_seed(seed, name, explainer.name) for name in films.names[group]],
            )
            score = TargetScore(model.classifier, classes, scale="probability", max_batch=64)
            curves = compute_deletion_insertion(
                score, batch, explanation.saliency, PerturbationProtocol()
            )
            maps = explanation.saliency[:, 0].cpu().numpy()
            for i, name in enumerate(films.names[group]):
                stem = f"{start + i:05d}-{Path(name).stem}"
                np.save(draft.path / "maps" / f"{stem}.npy", maps[i])
                picture = overlay_saliency(films.views[start + i], maps[i])
                cv2.imwrite(str(draft.path / "overlays" / f"{stem}.png"), picture[..., ::-1])
                writer.writerow(
                    [
                        name,
                        names[targets[start + i]],
                        f"{float(explanation.target_score[i]):.4f}",
                        f"{float(curves.deletion_score[i]):.4f}",
                        f"{float(curves.insertion_score[i]):.4f}",
                        explain_void_reason(explanation, i) or "",
                        stem,
                    ]
                )
            progress(min(start + GROUP, len(films.names)), len(films.names))
    console.say(f"{len(films.names)} films explained with {method}: {out}")


def _parameters(
    method: str, grid: int, target_layer: str | None, classifier: Classifier, console: RunConsole
) -> dict[str, int | str]:
    """Return the options that a method has: a grid, or a layer; others work at image size."""
    has = build_explainer(method).params
    if not hasattr(has, "target_layer"):
        if target_layer is not None:
            raise InputContractError(
                f"--target-layer {target_layer!r}: {method} has no layer; leave it out, or use"
                " --method grad_cam"
            )
        return {"grid_size": grid} if hasattr(has, "grid_size") else {}
    if target_layer is None:
        target_layer = find_target_layer(classifier)
        console.say(f"target layer: {target_layer!r}, the last with maps; see --target-layer")
    return {"target_layer": target_layer}


def _collect(
    model: LoadedModel,
    images: Sequence[Path],
    data: Path | None,
    limit: int,
    cache_dir: Path,
    console: RunConsole,
) -> _Films:
    if data is not None and is_complete(data):
        filmset = load_filmset(data)
        chosen = filmset.select("test")[:limit]
        if not chosen:
            raise InputContractError(f"{data}: has no test films to explain")
        views = load_views(filmset, chosen, model.view, cache_dir)
        return _Films([film.image_id for film in chosen], views, [])
    names, rendered, failures = [], [], []
    for name, path in collect_films(images, data, console)[:limit]:
        try:
            rendered.append(render_film(path, model.view))
            names.append(name)
        except CovidDebugError as error:
            failures.append((name, str(error)))
    size = model.view.image_size
    views = np.stack(rendered) if rendered else np.empty((0, size, size), dtype=np.uint8)
    return _Films(names, views, failures)
