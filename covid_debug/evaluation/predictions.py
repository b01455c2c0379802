"""One model's answers on one version of the test films.

Owns running a model on test films and the table of all answers; scores nothing.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import InputContractError
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.inference import predict_probabilities

PREDICTIONS_NAME = "predictions.csv"


@dataclass(frozen=True, slots=True)
class FilmPredictions:
    """One model's answers on one version of the test films.

    Attributes:
        arm: Films that the model was trained on.
        seed: Seed of the training.
        test_data: Version of the test films.
        image_ids: ``(N,)`` film identities, shared between versions.
        patients: ``(N,)`` patients.
        sources: ``(N,)`` sources.
        labels: ``(N,)`` true class indices.
        probabilities: ``(N, K)`` class probabilities.
        n_total: Films that the version should hold; ``n_total - N`` failed earlier.
    """

    arm: str
    seed: int
    test_data: str
    image_ids: tuple[str, ...]
    patients: tuple[str, ...]
    sources: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    n_total: int

    def restricted(self, image_ids: Sequence[str]) -> "FilmPredictions":
        """Return the same answers for the given films only, in the given order."""
        place = {image_id: i for i, image_id in enumerate(self.image_ids)}
        index = np.array([place[image_id] for image_id in image_ids], dtype=np.int64)
        return FilmPredictions(
            self.arm,
            self.seed,
            self.test_data,
            tuple(image_ids),
            tuple(self.patients[i] for i in index),
            tuple(self.sources[i] for i in index),
            self.labels[index],
            self.probabilities[index],
            self.n_total,
        )


def predict_test_films(
    model: LoadedModel,
    filmset: FilmSet,
    *,
    arm: str,
    seed: int,
    test_data: str,
    cache_dir: Path,
    n_workers: int = 2,
) -> FilmPredictions:
    """Run a model on the test films of a set.

    Args:
        model: Loaded checkpoint.
        filmset: Version of the films; its classes must be the model's, or some of them.
        arm: Films that the model was trained on, for the record.
        seed: Training seed, for the record.
        test_data: Name of the version, for the record.
        cache_dir: Folder of decoded views.
        n_workers: Threads that decode them.

    Returns:
        The answers, in the order of the test split.

    Raises:
        InputContractError: If the model does not know a class or the set has no test films.
    """
    class_names = list(model.classifier.class_names)
    if not set(filmset.class_names) <= set(class_names):
        raise InputContractError(
            f"{filmset.root}: has classes {list(filmset.class_names)}, the model has"
            f" {class_names}; expected films of the model's classes, or of some of them"
        )
    films = filmset.select("test")
    if not films:
        raise InputContractError(f"{filmset.root}: has no test films to compare models on")
    views = load_views(filmset, films, model.view, cache_dir, n_workers=n_workers)
    return FilmPredictions(
        arm=arm,
        seed=seed,
        test_data=test_data,
        image_ids=tuple(film.image_id for film in films),
        patients=tuple(film.patient_id for film in films),
        sources=tuple(film.source for film in films),
        labels=np.array([class_names.index(film.label) for film in films], dtype=np.int64),
        probabilities=predict_probabilities(model.classifier, views),
        n_total=len(films),
    )


def join_predictions(parts: Sequence[FilmPredictions]) -> FilmPredictions:
    """Join answers on different films of one arm, seed and version; at least one."""
    first = parts[0]
    return FilmPredictions(
        first.arm,
        first.seed,
        first.test_data,
        tuple(name for part in parts for name in part.image_ids),
        tuple(name for part in parts for name in part.patients),
        tuple(name for part in parts for name in part.sources),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        sum(part.n_total for part in parts),
    )


def write_predictions(
    path: Path, predictions: Sequence[FilmPredictions], class_names: Sequence[str]
) -> None:
    """Write every answer: one row a film, version, arm and seed."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        head = ["train_data", "seed", "test_data", "image_id", "patient_id", "source", "label"]
        writer.writerow([*head, "predicted", *(f"p_{name}" for name in class_names)])
        for answer in predictions:
            for i, image_id in enumerate(answer.image_ids):
                values = answer.probabilities[i]
                writer.writerow(
                    [
                        answer.arm,
                        answer.seed,
                        answer.test_data,
                        image_id,
                        answer.patients[i],
                        answer.sources[i],
                        class_names[answer.labels[i]],
                        class_names[int(values.argmax())],
                        *(f"{value:.6f}" for value in values),
                    ]
                )
