"""Known truth: what a model says about a film and about its twins without each plant.

Owns the twins, in memory, and the truth about every prediction; judges no method.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.plants.dealing import PlantedFilm
from benchmarks.plants.glyphs import Plant, burn
from covid_debug.data.filmset import FilmSet
from covid_debug.imaging.geometry import ViewSpec, render_view
from covid_debug.imaging.reading import read_film
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities
from covid_debug.records import Film

Views = NDArray[np.uint8]
KINDS = ("planted", "without_learned", "without_harmless", "without_both")


@dataclass(frozen=True, slots=True)
class Truth:
    """One prediction of one model, and what becomes of it without each plant.

    Attributes:
        film: The planted film.
        has_learned: Whether it bears the learned plant.
        has_harmless: Whether it bears a harmless plant.
        planted: Predicted class of the film as it is.
        without_learned: Predicted class when the generator leaves out the learned plant.
        without_harmless: The same for the harmless plant.
        without_both: The same for both.
    """

    film: Film
    has_learned: bool
    has_harmless: bool
    planted: str
    without_learned: str
    without_harmless: str
    without_both: str

    @property
    def is_driven(self) -> bool:
        """Tell whether the learned plant drives the prediction: without it the class is another."""
        return self.planted != self.without_learned

    @property
    def is_undriven(self) -> bool:
        """Tell whether no plant, nor both together, drives the prediction."""
        return self.planted == self.without_learned == self.without_harmless == self.without_both


@dataclass(frozen=True, slots=True)
class Twins:
    """Planted films and their twins as a model sees them.

    Attributes:
        films: The planted films.
        plants: What each bears, in the same order.
        views: Kind of :data:`KINDS` -> ``(N, S, S)`` uint8.
    """

    films: tuple[Film, ...]
    plants: tuple[PlantedFilm, ...]
    views: dict[str, Views]


def render_twins(
    original: FilmSet,
    films: tuple[Film, ...],
    plants: dict[str, PlantedFilm],
    spec: ViewSpec,
    *,
    n_workers: int = 2,
) -> Twins:
    """Make the views of planted films and of their twins, from the films as they were.

    Args:
        original: The films before anything was planted.
        films: Planted films.
        plants: What each of them bears.
        spec: How views are made.
        n_workers: Threads.

    Returns:
        The views.
    """
    before = {film.image_id: film for film in original.films}

    def render(film: Film) -> list[Views]:
        pixels = read_film(original.file_of(before[film.image_id])).to_uint8()
        own = plants[film.image_id].plants
        kept: tuple[Sequence[Plant], ...] = (
            own,
            [plant for plant in own if plant.role != "learned"],
            [plant for plant in own if plant.role != "harmless"],
            [],
        )
        return [render_view(burn(pixels, some), spec) for some in kept]

    with ThreadPoolExecutor(n_workers) as pool:
        rows = list(pool.map(render, films))
    views = {kind: np.stack([row[k] for row in rows]) for k, kind in enumerate(KINDS)}
    return Twins(films, tuple(plants[film.image_id] for film in films), views)


def find_truth(classifier: Classifier, twins: Twins) -> tuple[Truth, ...]:
    """Ask a model about planted films and their twins.

    Args:
        classifier: The model.
        twins: Films and twins.

    Returns:
        The truth about each film, in order.
    """
    names = classifier.class_names
    answers = {
        kind: [names[k] for k in predict_probabilities(classifier, views).argmax(axis=1)]
        for kind, views in twins.views.items()
    }
    return tuple(
        Truth(
            film,
            planted.bears("learned"),
            planted.bears("harmless"),
            **{kind: answers[kind][i] for kind in KINDS},
        )
        for i, (film, planted) in enumerate(zip(twins.films, twins.plants, strict=True))
    )
