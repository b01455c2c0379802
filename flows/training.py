"""Train on the training films of a data set, select on its validation films."""

from collections.abc import Callable, Mapping
from pathlib import Path

from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.training.loop import train_classifier
from covid_debug.training.params import EpochMetrics, TrainingParams


def train_on_filmset(
    filmset: FilmSet,
    params: TrainingParams,
    view: ViewSpec,
    *,
    seed: int,
    cache_dir: Path,
    out: Path,
    inputs: Mapping[str, str],
    device: str,
    on_epoch: Callable[[EpochMetrics], None],
) -> None:
    """Decode the views once and train.

    Args:
        filmset: Data set with films in ``train`` and ``val``.
        params: Recipe.
        view: What the model sees.
        seed: Seed of weights, order and augmentation.
        cache_dir: Folder of decoded views.
        out: Checkpoint to write.
        inputs: Names of the artifacts that go in.
        device: Torch device.
        on_epoch: Receives the metrics of every epoch.

    Raises:
        DataIntegrityError: If the data set has no training or no validation films.
    """
    views, labels = {}, {}
    for split in ("train", "val"):
        films = filmset.select(split)
        if not films:
            raise DataIntegrityError(
                f"{filmset.root}: has no films in {split!r}; training needs some in train and val"
            )
        labels[split] = [filmset.label_index(film) for film in films]
        views[split] = load_views(filmset, films, view, cache_dir)
    train_classifier(
        views["train"],
        labels["train"],
        views["val"],
        labels["val"],
        filmset.class_names,
        params,
        seed=seed,
        view=view,
        out=out,
        inputs=inputs,
        on_epoch=on_epoch,
        device=device,
    )
