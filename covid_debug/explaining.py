"""The stage that explains: maps of films with a checkpoint, their scores and pictures.

Joins explainers with the deletion and insertion scores and the overlays; computes nothing itself.
"""

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch

from covid_debug.artifacts import artifact_key, check_absent, is_complete, write_artifact
from covid_debug.data.filmset import load_filmset
from covid_debug.data.listing import collect_films
from covid_debug.data.views import render_film
from covid_debug.errors import CovidDebugError, InputContractError, suggest
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.imaging.overlays import overlay_saliency
from covid_debug.imaging.reading import FILM_ERRORS, FilmFile, identify_film
from covid_debug.models.batching import CPU_IMAGES, IMAGES_A_FILM, MOST_IMAGES, find_max_batch
from covid_debug.models.checkpoint import LoadedModel, hash_weights, load_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.devices import describe_device
from covid_debug.models.factories import load_factory
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.models.scoring import TargetScore
from covid_debug.progress import Listener
from covid_debug.records_json import parse_plain, to_plain
from covid_debug.saliency.base import Explainer, explain_void_reason
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.feature_maps import find_target_layer
from covid_debug.seeding import derive_seed
from covid_debug.shards import NAME, Record
from covid_debug.stages import FILES, Means, Request, has_its_files, keep_file, work_on_films

Films = Sequence[tuple[str, Path | FilmFile]]

_VERSION = 1  # of what is kept of a group of films
_FILMS = "explained"
_FAILURES = "failures"
_PICTURES = {"maps": ".npy", "overlays": ".png"}


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
    code_version: ClassVar[int] = 3
    uses_device: ClassVar[bool] = True

    def make(self, out: Path, means: Means) -> Explanations:
        """Write ``explanations.csv``, ``maps/*.npy`` and ``overlays/*.png``.

        Films go in groups, in any shards; a killed start goes on from its last group.

        Args:
            out: Artifact to write.
            means: How it is carried out.

        Returns:
            The table.

        Raises:
            InputContractError: If the class is not one of the model's.
            CovidDebugError: If no film could be read.
            ShardFinished: If ``means`` ask for a shard, and it did its part.
        """
        factory = load_factory(self.factory) if self.factory else None
        model = load_checkpoint(
            self.checkpoint, device=means.device, factory=factory, finding=self.target
        )
        names, target = model.classifier.class_names, self.target
        if target is not None and target not in names:
            raise InputContractError(
                f"--target {target!r} is not a class of {self.checkpoint}{suggest(target, names)}"
                f" (known: {', '.join(names)})"
            )
        options = _parameters(self, model.classifier, means.listener)
        explainer = build_explainer(self.method, **options)
        films = _collect(self, means.listener)
        chosen = None if target is None else names.index(target)
        check_absent(out)
        size = _group_size(model.classifier)
        groups = {
            f"{start:05d}": range(len(films))[start : start + size]
            for start in range(0, len(films), size)
        }
        facts = [(name, *identify_film(file)) for name, file in films]
        how = [explainer.name, explainer.params, self.seed, chosen, model.view, size]
        key = artifact_key("maps", _VERSION, how, [hash_weights(model.classifier), facts])

        def work(todo: Sequence[str], folder: Path) -> Iterator[Record]:
            max_batch = find_max_batch(model.classifier)
            for name in todo:
                found = _explain_group(
                    model, explainer, films, groups[name], chosen, self.seed, folder,
                    max_batch=max_batch,
                )  # fmt: skip
                yield {NAME: name, **found}

        def refuse(name: str, reason: str) -> Record:
            lost = [(films[k][0], f"no worker survived it: {reason}") for k in groups[name]]
            return {NAME: name, _FILMS: [], _FAILURES: lost}

        records = work_on_films(
            out, key, list(groups), work, means,
            title="groups of films", refuse=refuse, is_intact=has_its_files,
        )  # fmt: skip
        rows = [parse_plain(row, ExplainedFilm) for name in groups for row in records[name][_FILMS]]
        reasons = tuple(
            reason if reason.startswith(name) else f"{name}: {reason}"
            for group in groups
            for name, reason in records[group][_FAILURES]
        )
        for reason in reasons:
            means.listener.say(f"not explained: {reason}")
        if not rows:
            records.remove()
            raise CovidDebugError(f"explain: none of the films could be read; first {reasons[0]}")
        with write_artifact(
            out,
            kind=self.makes,
            parameters={"method": explainer.name, "params": explainer.params, "seed": self.seed},
            inputs={"checkpoint": self.checkpoint.name},
            device=describe_device(means.device),
        ) as draft:
            for folder, suffix in _PICTURES.items():
                (draft.path / folder).mkdir()
                for row in rows:
                    file = f"{row.file}{suffix}"
                    shutil.copyfile(records.folder / file, draft.path / folder / file)
            _write_table(draft.path / "explanations.csv", rows)
        records.remove()
        return Explanations(tuple(rows), reasons)


def _group_size(classifier: Classifier) -> int:
    """Return how many films are explained together: decided by the kind of device alone.

    The last bits of a map depend on the films beside it. A device with less memory asks the model
    in more calls, which the explainer sees to.
    """
    most = CPU_IMAGES if classifier.device.type == "cpu" else MOST_IMAGES
    return most // IMAGES_A_FILM


def _explain_group(
    model: LoadedModel,
    explainer: Explainer[Any],
    films: Films,
    group: range,
    target: int | None,
    seed: int,
    folder: Path,
    *,
    max_batch: int,
) -> Record:
    """Explain films together; maps and overlays go into the folder, the rest into the record."""
    classifier, rows, views, failures = model.classifier, [], [], []
    for k in group:
        name, file = films[k]
        try:
            views.append(render_film(file, model.view))
            rows.append(k)
        except FILM_ERRORS as error:
            failures.append((name, str(error)))
    if not rows:
        return {_FILMS: [], _FAILURES: failures}
    seen = np.stack(views)
    targets = predict_probabilities(classifier, seen).argmax(axis=1)
    if target is not None:
        targets[:] = target
    batch = to_canonical(seen, classifier.device)
    classes = torch.from_numpy(targets.astype(np.int64)).to(batch.device)
    explanation = explainer.explain(
        classifier,
        batch,
        classes,
        seeds=[derive_seed(seed, films[k][0], explainer.name) for k in rows],
        max_batch=max_batch,
    )
    score = TargetScore(classifier, classes, scale="probability", max_batch=max_batch)
    curves = compute_deletion_insertion(score, batch, explanation.saliency, PerturbationProtocol())
    maps = explanation.saliency[:, 0].cpu().numpy()
    explained, files = [], {}
    for i, k in enumerate(rows):
        stem = f"{k:05d}-{Path(films[k][0]).stem}"
        stream = io.BytesIO()
        np.save(stream, maps[i])
        _, picture = cv2.imencode(".png", overlay_saliency(seen[i], maps[i])[..., ::-1])
        for made, content in ((f"{stem}.npy", stream.getvalue()), (f"{stem}.png", picture)):
            files[made] = keep_file(folder, made, bytes(content))
        film = ExplainedFilm(
            film=films[k][0],
            target=classifier.class_names[targets[i]],
            probability=float(explanation.target_score[i]),
            deletion=float(curves.deletion_score[i]),
            insertion=float(curves.insertion_score[i]),
            void_reason=explain_void_reason(explanation, i),
            file=stem,
        )
        explained.append(to_plain(film))
    return {_FILMS: explained, _FAILURES: failures, FILES: files}


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


def _collect(request: ExplainRequest, listener: Listener) -> Films:
    data, limit = request.data, request.limit
    if data is None or not is_complete(data):
        return collect_films(request.images, data, listener)[:limit]
    filmset = load_filmset(data)
    chosen = filmset.select("test")[:limit]
    if not chosen:
        raise InputContractError(f"{data}: has no test films to explain")
    return [(film.image_id, filmset.file_of(film)) for film in chosen]
