"""The stage that explains: maps of films with a checkpoint, their scores and pictures.

Joins explainers with the deletion and insertion scores and the overlays; computes nothing itself.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.artifacts import is_complete, write_artifact
from covid_debug.data.filmset import load_filmset
from covid_debug.data.listing import collect_films
from covid_debug.data.views import load_views, render_film
from covid_debug.errors import CovidDebugError, InputContractError, suggest
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.imaging.overlays import overlay_saliency
from covid_debug.models.batching import IMAGES_A_FILM, find_max_batch
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint, load_factory
from covid_debug.models.classifier import Classifier
from covid_debug.models.devices import describe_device
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.models.scoring import TargetScore
from covid_debug.progress import Listener
from covid_debug.saliency.base import Explainer, explain_void_reason
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.feature_maps import find_target_layer
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means, Request


@dataclass(frozen=True)
class _Films:
    names: list[str]
    views: NDArray[np.uint8]
    failures: list[tuple[str, str]]


@dataclass(frozen=True)
class ExplainedFilm:
    """One line of ``explanations.csv``.

    Attributes:
        film: ``image_id``, or the path as given.
        target: Class that is explained.
        probability: Its probability.
        deletion: Deletion score.
        insertion: Insertion score.
        void_reason: Why the map says nothing, or None.
        file: Stem of the map and of the overlay.
    """

    film: str
    target: str
    probability: float
    deletion: float
    insertion: float
    void_reason: str | None
    file: str


@dataclass(frozen=True)
class Explanations:
    """Explained films, and why others were not.

    Attributes:
        films: In the order in which they were given.
        failures: Why a film could not be read, one line a film.
    """

    films: tuple[ExplainedFilm, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class ExplainRequest(Request):
    """Explain films; maps, overlays and a table.

    Attributes:
        checkpoint: The model.
        images: Image files or folders; or
        data: a data set, whose test films are explained.
        method: Catalogue name of the explainer.
        grid: Cells a side of the mask grid.
        target_layer: Layer of Grad-CAM; None takes the last one with maps and says which.
        target: Class to explain; None explains each film's predicted class.
        limit: At most so many films.
        seed: Every film gets its own from it.
        factory: ``"package.module:function"`` that builds the user's own network.
    """

    checkpoint: Path
    images: tuple[Path, ...] = ()
    data: Path | None = None
    method: str = "igos_pp"
    grid: int = 32
    target_layer: str | None = None
    target: str | None = None
    limit: int = 32
    seed: int = 0
    factory: str | None = None

    stage: ClassVar[str] = "explanations"
    makes: ClassVar[str] = "explanations"
    code_version: ClassVar[int] = 2

    def make(self, out: Path, means: Means) -> Explanations:
        """Write ``explanations.csv``, ``maps/*.npy`` and ``overlays/*.png``.

        Args:
            out: Artifact to write.
            means: How it is carried out.

        Returns:
            The table.

        Raises:
            InputContractError: If the class is not one of the model's.
            CovidDebugError: If no film could be read.
        """
        factory = load_factory(self.factory) if self.factory else None
        model = load_checkpoint(self.checkpoint, device=means.device, factory=factory)
        names, target = model.classifier.class_names, self.target
        if target is not None and target not in names:
            raise InputContractError(
                f"--target {target!r} is not a class of {self.checkpoint}{suggest(target, names)}"
                f" (known: {', '.join(names)})"
            )
        options = _parameters(self, model.classifier, means.listener)
        explainer = build_explainer(self.method, **options)
        films = _collect(self, model, means)
        reasons = tuple(
            reason if reason.startswith(name) else f"{name}: {reason}"
            for name, reason in films.failures
        )
        for reason in reasons:
            means.listener.say(f"not explained: {reason}")
        if not films.names:
            raise CovidDebugError(f"explain: none of the films could be read; first {reasons[0]}")
        probabilities = predict_probabilities(model.classifier, films.views)
        targets = probabilities.argmax(axis=1)
        if target is not None:
            targets[:] = names.index(target)
        with (
            write_artifact(
                out,
                kind=self.makes,
                parameters={
                    "method": explainer.name,
                    "params": explainer.params,
                    "seed": self.seed,
                },
                inputs={"checkpoint": self.checkpoint.name},
                device=describe_device(means.device),
            ) as draft,
            means.listener.progress("films") as progress,
        ):
            rows: list[ExplainedFilm] = []
            (draft.path / "maps").mkdir()
            (draft.path / "overlays").mkdir()
            max_batch = find_max_batch(model.classifier)
            size = max(1, max_batch // IMAGES_A_FILM)
            for start in range(0, len(films.names), size):
                group = range(start, min(start + size, len(films.names)))
                rows += _explain_group(
                    model.classifier, explainer, films, group, targets, self.seed, draft.path,
                    max_batch=max_batch,
                )  # fmt: skip
                progress(len(rows), len(films.names))
            _write_table(draft.path / "explanations.csv", rows)
        return Explanations(tuple(rows), reasons)


def _explain_group(
    classifier: Classifier,
    explainer: Explainer[Any],
    films: _Films,
    group: range,
    targets: NDArray[np.intp],
    seed: int,
    folder: Path,
    *,
    max_batch: int,
) -> Iterator[ExplainedFilm]:
    part = slice(group.start, group.stop)
    batch = to_canonical(films.views[part], classifier.device)
    classes = torch.from_numpy(targets[part].astype(np.int64)).to(batch.device)
    explanation = explainer.explain(
        classifier,
        batch,
        classes,
        seeds=[derive_seed(seed, name, explainer.name) for name in films.names[part]],
        max_batch=max_batch,
    )
    score = TargetScore(classifier, classes, scale="probability", max_batch=max_batch)
    curves = compute_deletion_insertion(score, batch, explanation.saliency, PerturbationProtocol())
    maps = explanation.saliency[:, 0].cpu().numpy()
    for i, k in enumerate(group):
        stem = f"{k:05d}-{Path(films.names[k]).stem}"
        np.save(folder / "maps" / f"{stem}.npy", maps[i])
        picture = overlay_saliency(films.views[k], maps[i])
        cv2.imwrite(str(folder / "overlays" / f"{stem}.png"), picture[..., ::-1])
        yield ExplainedFilm(
            film=films.names[k],
            target=classifier.class_names[targets[k]],
            probability=float(explanation.target_score[i]),
            deletion=float(curves.deletion_score[i]),
            insertion=float(curves.insertion_score[i]),
            void_reason=explain_void_reason(explanation, i),
            file=stem,
        )


def _write_table(path: Path, rows: Sequence[ExplainedFilm]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([item.name for item in fields(ExplainedFilm)])
        for row in rows:
            values = [getattr(row, item.name) for item in fields(row)]
            writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in values])


def _parameters(
    request: ExplainRequest, classifier: Classifier, listener: Listener
) -> dict[str, int | str]:
    """Return the options that a method has: a grid, or a layer; others work at image size."""
    method, layer = request.method, request.target_layer
    has = build_explainer(method).params
    if not hasattr(has, "target_layer"):
        if layer is not None:
            raise InputContractError(
                f"--target-layer {layer!r}: {method} has no layer; leave it out, or use"
                " --method grad_cam"
            )
        return {"grid_size": request.grid} if hasattr(has, "grid_size") else {}
    if layer is None:
        layer = find_target_layer(classifier, method)
        listener.say(f"target layer: {layer!r}, the last with maps; see --target-layer")
    return {"target_layer": layer}


def _collect(request: ExplainRequest, model: LoadedModel, means: Means) -> _Films:
    data, limit = request.data, request.limit
    if data is not None and is_complete(data):
        filmset = load_filmset(data)
        chosen = filmset.select("test")[:limit]
        if not chosen:
            raise InputContractError(f"{data}: has no test films to explain")
        views = load_views(filmset, chosen, model.view, means.cache_dir, n_workers=means.n_workers)
        return _Films([film.image_id for film in chosen], views, [])
    names, rendered, failures = [], [], []
    for name, path in collect_films(request.images, data, means.listener)[:limit]:
        try:
            rendered.append(render_film(path, model.view))
            names.append(name)
        except CovidDebugError as error:
            failures.append((name, str(error)))
    size = model.view.image_size
    views = np.stack(rendered) if rendered else np.empty((0, size, size), dtype=np.uint8)
    return _Films(names, views, failures)
