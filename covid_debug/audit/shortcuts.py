"""The stage that maps the shortcuts of a model.

Puts together what :mod:`covid_debug.audit.reliance` and :mod:`covid_debug.audit.utility` measure;
the record is in :mod:`covid_debug.audit.shortcut_map`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import write_artifact
from covid_debug.audit.attributes import ATTRIBUTES, FilmReading, View, read_attributes
from covid_debug.audit.confounds import predict_from_source
from covid_debug.audit.features import describe_image
from covid_debug.audit.inputs import check_models, check_seeds, read_text_of
from covid_debug.audit.reliance import (
    answer_whole_films,
    ask_about_exchanges,
    draw_films_of_classes,
    estimate_pulls,
)
from covid_debug.audit.shortcut_map import (
    SHORTCUTS_KIND,
    AnswerRate,
    MappedAttribute,
    Pull,
    ShortcutMap,
    rank_attributes,
    write_shortcuts,
)
from covid_debug.audit.utility import measure_auc, sort_into_kinds
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.views import load_views
from covid_debug.errors import DataIntegrityError
from covid_debug.evaluation.crossed import crossed_estimate
from covid_debug.evaluation.statistics import Estimate, cluster_bootstrap
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.lungs import find_lungs
from covid_debug.imaging.reading import read_film
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint
from covid_debug.models.devices import describe_device
from covid_debug.models.factories import describe_factory, load_factory
from covid_debug.models.inference import predict_probabilities
from covid_debug.ranges import check_range
from covid_debug.records import Film, FilmRegions
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means, Request

_SOURCE = "source"


@dataclass(frozen=True, slots=True)
class ShortcutParams:
    """How a map is made.

    Attributes:
        max_films: Most test films on which attributes are exchanged, drawn by seed, the classes
            alike; the costs grow with them.
        n_donors: Films of each class from which a film is given each attribute.
    """

    max_films: int = 300
    n_donors: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range(self, "[1, inf)", "max_films", "n_donors")


@dataclass(frozen=True)
class ShortcutsRequest(Request):
    """Map what drives the models of one arm: exchange attributes between the test films.

    Attributes:
        checkpoints: Models of one arm, each trained with another seed.
        filmset: The films.
        regions: Artifact of their text, or a file of JSON lines.
        cleaned: The cleaned films, or None.
        params: How many films and donors.
        run_seed: Seed of donors, folds and bootstrap.
        factory: ``"package.module:function"`` that builds the user's own network.
    """

    checkpoints: tuple[Path, ...]
    filmset: Path
    regions: Path
    cleaned: Path | None = None
    params: ShortcutParams = field(default_factory=ShortcutParams)
    run_seed: int = 0
    factory: str | None = None

    stage: ClassVar[str] = SHORTCUTS_KIND
    makes: ClassVar[str] = SHORTCUTS_KIND
    code_version: ClassVar[int] = 5
    uses_device: ClassVar[bool] = True

    def parameters(self) -> object:
        """Return how many films and donors, the seed and, where used, the factory."""
        factory = describe_factory(self.factory)
        return {"params": self.params, "seed": self.run_seed, **factory}

    def inputs(self) -> dict[str, str]:
        """Return the models in their order, and the films."""
        models = {f"checkpoint/{k}": place.name for k, place in enumerate(self.checkpoints)}
        return {**super().inputs(), **models}

    def make(self, out: Path, means: Means) -> ShortcutMap:
        """Make the map and write ``shortcuts.json``."""
        check_seeds("shortcuts", self.checkpoints)
        filmset = load_filmset(self.filmset)
        regions = read_text_of(filmset.select("test"), self.regions)
        factory = load_factory(self.factory) if self.factory else None
        models = [
            load_checkpoint(place, device=means.device, factory=factory)
            for place in self.checkpoints
        ]
        found = map_shortcuts(
            models,
            filmset,
            regions,
            None if self.cleaned is None else load_filmset(self.cleaned),
            self.params,
            run_seed=self.run_seed,
            means=means,
        )
        with write_artifact(
            out,
            kind=self.makes,
            parameters=self.parameters(),
            inputs=self.inputs(),
            device=describe_device(means.device),
        ) as draft:
            write_shortcuts(draft.path, found)
            draft.facts.update(n_total=found.n_total, n_ok=found.n_films)
        return found


def map_shortcuts(
    models: Sequence[LoadedModel],
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    cleaned: FilmSet | None,
    params: ShortcutParams,
    *,
    run_seed: int,
    means: Means,
) -> ShortcutMap:
    """Measure utility, detectability and reliance of every attribute on the test films.

    Args:
        models: Of one arm; all see the same views.
        filmset: The films.
        regions: Their text by ``image_id``; films without a scan take no part.
        cleaned: The cleaned films, or None.
        params: How many films and donors.
        run_seed: Seed of donors, folds and bootstrap.
        means: How it is carried out.

    Returns:
        The map.

    Raises:
        InputContractError: If there is no model, or models see other views or classes.
        DataIntegrityError: If no test film has a scan, or a film cannot be read.
    """
    check_models("shortcuts", models, filmset)
    spec = models[0].view
    films = choose_films(filmset, regions, params.max_films, run_seed)
    readings = read_films(filmset, films, regions, spec, means)
    labels = np.array([filmset.label_index(film) for film in films], dtype=np.int64)
    patients = [film.patient_id for film in films]
    donors = draw_films_of_classes(
        [film.image_id for film in films],
        patients,
        labels,
        len(filmset.class_names),
        n_donors=params.n_donors,
        run_seed=run_seed,
    )
    asked = [_ask(model) for model in models]
    exchanged = {name: item for name, item in ATTRIBUTES.items() if item.exchange is not None}
    with means.listener.progress("films with attributes exchanged") as progress:
        answers = ask_about_exchanges(
            readings,
            donors,
            exchanged,
            asked,
            spec,
            lambda reading: read_film(filmset.file_of(reading.film)).to_uint8(),
            n_workers=means.n_workers,
            progress=progress,
        )
    views = np.stack([reading.view for reading in readings])
    answers["whole"] = answer_whole_films(np.stack([ask(views) for ask in asked]), donors)
    seed = derive_seed(run_seed, "shortcuts")
    pulls = {
        name: estimate_pulls(item, donors, labels, patients, filmset.class_names, seed=seed)
        for name, item in answers.items()
    }
    banks = [np.stack([describe_image(view) for view in views])]
    if cleaned is not None:
        same = {film.image_id: film for film in cleaned.films}
        pairs = [same[film.image_id] for film in films if film.image_id in same]
        if len(pairs) == len(films):
            seen = load_views(cleaned, pairs, spec, means.cache_dir, n_workers=means.n_workers)
            banks.append(np.stack([describe_image(np.asarray(view)) for view in seen]))
    attributes = []
    with means.listener.progress("attributes") as progress:
        for name in ATTRIBUTES:
            attributes.append(_describe(name, readings, labels, banks, pulls.get(name, ()), seed))
            progress(len(attributes), len(ATTRIBUTES))
    return ShortcutMap(
        filmset.class_names,
        len(models),
        len(films),
        len(filmset.select("test")),
        params.n_donors,
        rank_attributes(attributes),
        pulls["whole"],
        _rate_answers(models, filmset, spec, means, seed),
    )


def choose_films(
    filmset: FilmSet, regions: Mapping[str, FilmRegions], max_films: int, run_seed: int
) -> list[Film]:
    """Choose test films with a scan for text, the classes alike.

    Args:
        filmset: The films.
        regions: Their text by ``image_id``.
        max_films: Most films; a class with fewer than its share gives all it has.
        run_seed: Seed of the draw.

    Returns:
        The films, in their order.

    Raises:
        DataIntegrityError: If there are none.
    """
    films = [
        film
        for film in filmset.select("test")
        if (found := regions.get(film.image_id)) is not None and found.error is None
    ]
    if not films:
        raise DataIntegrityError(
            f"{filmset.root}: has no test film with a scan for text; run detect-text on it"
        )
    if len(films) <= max_films:
        return films
    generator = np.random.default_rng(derive_seed(run_seed, "shortcut films"))
    order = generator.permutation(len(films))
    share = max(1, max_films // len(filmset.class_names))
    chosen: set[str] = set()
    for name in filmset.class_names:
        chosen |= set([films[i].image_id for i in order if films[i].label == name][:share])
    return [film for film in films if film.image_id in chosen]


def read_films(
    filmset: FilmSet,
    films: Sequence[Film],
    regions: Mapping[str, FilmRegions],
    spec: ViewSpec,
    means: Means,
) -> list[FilmReading]:
    """Read what films may give to others.

    Args:
        filmset: The data set.
        films: Some of its films, all with a scan for text.
        regions: Their text by ``image_id``.
        spec: How views are made.
        means: How it is carried out.

    Returns:
        The readings, in order.

    Raises:
        DataIntegrityError: If a film cannot be read.
    """

    def read(film: Film) -> FilmReading:
        found = regions[film.image_id]
        return read_attributes(filmset.file_of(film), film, found, spec, find_lungs)

    readings: list[FilmReading] = []
    with (
        means.listener.progress("films read") as progress,
        ThreadPoolExecutor(means.n_workers) as pool,
    ):
        for reading in pool.map(read, films):
            readings.append(reading)
            progress(len(readings), len(films))
    return readings


def _ask(model: LoadedModel) -> Callable[[View], NDArray[np.float32]]:
    return lambda views: predict_probabilities(model.classifier, views)


def _describe(
    name: str,
    readings: Sequence[FilmReading],
    labels: NDArray[np.int64],
    banks: Sequence[NDArray[np.float64]],
    pulls: tuple[Pull, ...],
    seed: int,
) -> MappedAttribute:
    attribute = ATTRIBUTES[name]
    patients = np.array([reading.film.patient_id for reading in readings])
    if name == _SOURCE:
        sources = np.array([reading.film.source for reading in readings])
        names, kinds = np.unique(sources, return_inverse=True)
        rows = np.arange(len(readings))
        features = np.eye(len(names))[kinds.ravel()]
        kinds = kinds.ravel().astype(np.int64)
    else:
        rows = np.array([i for i, reading in enumerate(readings) if name in reading.features], int)
        if not len(rows):
            nothing = Estimate.undefined(0, "known on no film")
            cleaned = nothing if len(banks) > 1 else None
            return MappedAttribute(
                name, attribute.title, not attribute.is_whole, 0, nothing, nothing, cleaned, pulls
            )
        features = np.stack([readings[int(i)].features[name] for i in rows])
        kinds = sort_into_kinds(features, seed=seed)
    who = list(patients[rows])
    read = [measure_auc(bank[rows], kinds, who, seed=seed) for bank in banks]
    return MappedAttribute(
        name,
        attribute.title,
        not attribute.is_whole,
        len(rows),
        measure_auc(features, labels[rows], who, seed=seed),
        read[0],
        read[1] if len(read) > 1 else None,
        pulls,
    )


def _rate_answers(
    models: Sequence[LoadedModel], filmset: FilmSet, spec: ViewSpec, means: Means, seed: int
) -> tuple[AnswerRate, ...]:
    films = filmset.select("test")
    views = load_views(filmset, films, spec, means.cache_dir, n_workers=means.n_workers)
    labels = np.array([filmset.label_index(film) for film in films], dtype=np.int64)
    patients = [film.patient_id for film in films]
    by_model = [predict_probabilities(model.classifier, views).argmax(axis=1) for model in models]
    by_source = predict_from_source(filmset)
    last = len(filmset.class_names) - 1
    questions = {"class": np.arange(last + 1)}
    if last > 1:
        questions[f"{filmset.class_names[last]} or not"] = (np.arange(last + 1) == last) * 1
    rates = []
    for question, answer in questions.items():
        truth = answer[labels]
        right = [answer[said] == truth for said in by_model]
        source = answer[by_source] == truth
        rates.append(
            AnswerRate(
                question,
                _share(np.stack(right, axis=1), patients, seed),
                _share(source[:, None], patients, seed),
                float(np.bincount(truth).max() / len(truth)),
            )
        )
    return tuple(rates)


def _share(right: NDArray[np.bool_], patients: Sequence[str], seed: int) -> Estimate:
    """Return the share of right answers of models on the same films, ``(N, models)``."""
    n, n_models = right.shape
    replicates = cluster_bootstrap(
        np.concatenate([right, np.ones((n, 1))], axis=1),
        patients,
        lambda sums: sums[:, :n_models] / sums[:, n_models:],
        seed=seed,
    )
    n_patients = len(set(patients))
    return crossed_estimate(
        right.mean(axis=0), replicates, n=n, n_clusters=n_patients, bounds=(0.0, 1.0)
    ).estimate
