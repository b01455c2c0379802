"""The classifier and the films that the saliency benchmark is about."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.saliency.runs import BenchFilms
from covid_debug.data.filmset import load_filmset
from covid_debug.data.listing import collect_films
from covid_debug.data.views import load_views, render_film
from covid_debug.errors import CovidDebugError, InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.factories import load_factory
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.records import SPLITS, Split
from covid_debug.seeding import derive_seed
from covid_debug.terminal import RunConsole

Views = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Where classifiers come from.

    Attributes:
        checkpoint: Checkpoint folder; None: phantoms, and a model trained on them.
        factory: ``"package.module:function"`` for checkpoints of the user's own network.
        device: Torch device.
    """

    checkpoint: Path | None = None
    factory: str | None = None
    device: str = "cpu"

    def load(self, checkpoint: Path) -> LoadedModel:
        """Load a checkpoint of this network."""
        factory = load_factory(self.factory) if self.factory else None
        return load_checkpoint(checkpoint, device=self.device, factory=factory)


@dataclass(frozen=True, slots=True)
class FilmChoice:
    """Which films are explained.

    Attributes:
        source: A data set or a folder of images; None: phantoms.
        split: Which films of a data set, the test films where None; settings are chosen on
            ``"train"`` or ``"val"`` only. A folder has no splits.
        target: Class to explain; each film's predicted class where None.
        n_films: At most so many, drawn by the seed.
    """

    source: Path | None = None
    target: str | None = None
    n_films: int = 24
    split: str | None = None

    def load(
        self, model: LoadedModel, out: Path, seed: int, console: RunConsole
    ) -> tuple[BenchFilms, Views]:
        """Draw films that the classifier assigns to the class to explain.

        Args:
            model: Decides the view and the predictions.
            out: Holds the cache of views.
            seed: Run seed.
            console: Told of every unreadable film.

        Returns:
            The films and their views ``(N, S, S)``.

        Raises:
            InputContractError: If the class or the split is unknown, a folder is to have a split,
                or no film is named.
            CovidDebugError: If no film can be used.
        """
        if self.source is None:
            raise InputContractError("bench saliency: give --data DIR for this model")
        split = next((one for one in SPLITS if one == (self.split or "test")), None)
        if split is None:
            raise InputContractError(f"--split {self.split!r}: expected one of {', '.join(SPLITS)}")
        if self.split is not None and not _is_data_set(self.source):
            raise InputContractError(
                f"--split {self.split!r}: {self.source} is a folder of images, which has no splits;"
                " leave it out, or give a data set"
            )
        names, patients, views = _collect(model.view, self.source, split, out, console)
        classes = model.classifier.class_names
        if self.target is not None and self.target not in classes:
            raise InputContractError(
                f"--target {self.target!r} is not a class of the model"
                f"{suggest(self.target, classes)}"
            )
        predicted = predict_probabilities(model.classifier, views).argmax(axis=1)
        wanted = np.arange(len(views))
        if self.target is not None:
            wanted = wanted[predicted == classes.index(self.target)]
        keys = [derive_seed(seed, "bench", names[i]) for i in wanted]
        chosen = wanted[np.argsort(keys, kind="stable")][: self.n_films]
        if len(chosen) == 0:
            raise CovidDebugError(
                f"{self.source}: no film is predicted as {self.target!r}; choose another class"
            )
        images = to_canonical(views[chosen], model.classifier.device)
        targets = torch.from_numpy(predicted[chosen].astype(np.int64)).to(images.device)
        films = BenchFilms(
            images, targets, [names[i] for i in chosen], [patients[i] for i in chosen]
        )
        return films, views[chosen]


def describe_weights(classifier: Classifier) -> str:
    """Return a key that tells classifiers apart: how many parameters, and their absolute sum."""
    total = sum(float(p.detach().double().abs().sum()) for p in classifier.parameters())
    return f"{sum(p.numel() for p in classifier.parameters())}-{total:.6f}"


def _is_data_set(source: Path) -> bool:
    return (source / "films.csv").is_file()


def _collect(
    view: ViewSpec, source: Path, split: Split, out: Path, console: RunConsole
) -> tuple[list[str], list[str], Views]:
    if _is_data_set(source):
        filmset = load_filmset(source)
        chosen = filmset.select(split)
        views = load_views(filmset, chosen, view, out / "views")
        return [f.image_id for f in chosen], [f.patient_id for f in chosen], views
    names, rendered = [], []
    listed = [path for _, path in collect_films([source], None, console)]
    for path in (path for path in listed if isinstance(path, Path)):
        try:
            rendered.append(render_film(path, view))
            names.append(str(path.relative_to(source)))
        except CovidDebugError as error:
            console.say(f"not used: {error}")
    if not rendered:
        raise CovidDebugError(f"{source}: holds no readable image")
    return names, names, np.stack(rendered)
