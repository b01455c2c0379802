"""How far a model relies on an attribute: what changes when a film gets it from another class.

A film with label y is given the attribute once by a film of another class d and once by another
film of its own class. Both views have the same seams and lack the film's own attribute; only the
donor's class differs. The *pull* is what the model says for d after the first less after the
second. It is zero where the model does not look at the attribute, and where the attribute does not
differ between the classes.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from covid_debug.audit.attributes import Attribute, Exchange, FilmReading, View
from covid_debug.audit.shortcut_map import ALL, Pull
from covid_debug.errors import InputContractError
from covid_debug.evaluation.crossed import add_seeds, spread_of
from covid_debug.evaluation.statistics import (
    CONFIDENCE,
    Estimate,
    paired_bootstrap_difference,
)
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.progress import Progress
from covid_debug.seeding import derive_seed

Views = NDArray[np.uint8]
Predict = Callable[[Views], NDArray[np.float32]]
Probabilities = NDArray[np.float32]
Rows = NDArray[np.int64]

NOBODY = -1
ALIKE = "the same on all these films"
_GROUP = 8  # films whose views are in memory at once
_SMALLEST = 1e-7  # probability below which single precision says nothing


@dataclass(frozen=True, slots=True)
class Answers:
    """What the models say about films with one attribute exchanged.

    Attributes:
        probabilities: ``(models, N, K, n, K)``: film, class of the donor, donor, class asked for;
            NaN where there was no donor.
        view_ids: ``(N, K, n)``; equal numbers of one film are equal views, -1 is no donor.
    """

    probabilities: Probabilities
    view_ids: Rows


def draw_films_of_classes(
    image_ids: Sequence[str],
    patients: Sequence[str],
    labels: Rows,
    n_classes: int,
    *,
    n_donors: int,
    run_seed: int,
) -> Rows:
    """Draw donors of every class for every film, from other patients.

    Args:
        image_ids: ``(N,)``; a film's donors depend on its id and the films that there are.
        patients: ``(N,)``.
        labels: ``(N,)`` class of each film.
        n_classes: Classes ``K``.
        n_donors: Donors ``n`` of each class; where a class has fewer, some are drawn again.
        run_seed: Seed of the run.

    Returns:
        ``(N, K, n)`` rows of the donors; -1 where a class has no film of another patient.

    Raises:
        InputContractError: If no donor is asked for.
    """
    if n_donors < 1:
        raise InputContractError(
            f"draw_films_of_classes: n_donors is {n_donors}; expected 1 or more"
        )
    people = np.asarray(patients)
    donors = np.full((len(image_ids), n_classes, n_donors), NOBODY, np.int64)
    for row, name in enumerate(image_ids):
        generator = np.random.default_rng(derive_seed(run_seed, name, "donors"))
        for label in range(n_classes):
            pool = np.flatnonzero((labels == label) & (people != people[row]))
            if len(pool):
                order = generator.permutation(pool)
                donors[row, label] = np.resize(order, n_donors)
    return donors


def ask_about_exchanges(
    readings: Sequence[FilmReading],
    donors: Rows,
    attributes: Mapping[str, Attribute],
    models: Sequence[Predict],
    spec: ViewSpec,
    load_pixels: Callable[[FilmReading], View],
    *,
    n_workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, Answers]:
    """Exchange every attribute on every film, and ask every model about the same views.

    Args:
        readings: ``(N,)`` films.
        donors: From :func:`draw_films_of_classes`.
        attributes: Name -> attribute that can be exchanged.
        models: Each maps ``(M, S, S)`` views to ``(M, K)`` probabilities.
        spec: How views are made.
        load_pixels: Returns a film's pixels ``(H, W)``.
        n_workers: Threads that make views.
        progress: Called with (films done, films in total).

    Returns:
        Attribute -> answers.
    """
    n_films, n_classes, n_donors = donors.shape
    shape = (len(models), n_films, n_classes, n_donors, n_classes)
    answers = {
        name: Answers(np.full(shape, np.nan, np.float32), np.full(donors.shape, NOBODY, np.int64))
        for name in attributes
    }

    def make(row: int) -> tuple[list[View], list[tuple[str, int, int, int]]]:
        own = readings[row]
        pixels = load_pixels(own)
        views: list[View] = []
        known: dict[bytes, int] = {}
        places = []
        for name, attribute in attributes.items():
            for label, k in np.ndindex(n_classes, n_donors):
                donor = donors[row, label, k]
                if donor == NOBODY or attribute.exchange is None:
                    continue
                if not (attribute.is_known(own) and attribute.is_known(readings[donor])):
                    continue
                view = attribute.exchange(Exchange(pixels, spec, own, readings[donor]))
                digest = hashlib.blake2b(view.tobytes(), digest_size=16).digest()
                at = known.setdefault(digest, len(views))
                if at == len(views):
                    views.append(view)
                places.append((name, label, k, at))
        return views, places

    with ThreadPoolExecutor(n_workers) as pool:
        for start in range(0, n_films, _GROUP):
            rows = range(start, min(start + _GROUP, n_films))
            made = list(pool.map(make, rows))
            batch = [view for views, _ in made for view in views]
            said = [model(np.stack(batch)) for model in models] if batch else []
            offset = 0
            for row, (views, places) in zip(rows, made, strict=True):
                for name, label, k, at in places:
                    answers[name].view_ids[row, label, k] = at
                    for m, probabilities in enumerate(said):
                        cell = answers[name].probabilities[m, row, label, k]
                        cell[...] = probabilities[offset + at]
                offset += len(views)
            if progress is not None:
                progress(rows.stop, n_films)
    return answers


def answer_whole_films(said: Probabilities, donors: Rows) -> Answers:
    """Return the answers when the whole film is exchanged, which are those about the donors.

    Args:
        said: ``(models, N, K)`` about the films as they are.
        donors: From :func:`draw_films_of_classes`.

    Returns:
        The answers: the most that any exchange could do.
    """
    probabilities = np.where((donors == NOBODY)[None, ..., None], np.nan, said[:, donors])
    return Answers(probabilities.astype(np.float32), donors)


def estimate_pulls(
    answers: Answers,
    donors: Rows,
    labels: Rows,
    patients: Sequence[str],
    class_names: Sequence[str],
    *,
    seed: int,
) -> tuple[Pull, ...]:
    """Estimate the pull of one attribute, over all classes and towards each.

    Args:
        answers: Of the models.
        donors: From :func:`draw_films_of_classes`.
        labels: ``(N,)`` class of each film.
        patients: ``(N,)``.
        class_names: ``(K,)``.
        seed: Seed of the bootstrap.

    Returns:
        First over all classes, then one a class; undefined where the attribute is the same on all
        films or nothing could be exchanged.
    """
    terms = _pair_terms(answers, donors, labels)
    people = np.asarray(patients)
    pulls = [_estimate(terms, people, ALL, seed)]
    for label, name in enumerate(class_names):
        pulls.append(_estimate(terms.select(terms.towards == label), people, name, seed))
    return tuple(pulls)


@dataclass(frozen=True, slots=True)
class _Terms:
    """One row a film, other class and pair of donors."""

    film: Rows
    towards: Rows
    donor: Rows
    own_donor: Rows
    is_changed: NDArray[np.bool_]
    log_odds: NDArray[np.float64]  # (2, models, T): given by the class, given by the own class
    predicted: NDArray[np.float64]

    def select(self, chosen: NDArray[np.bool_]) -> "_Terms":
        return _Terms(
            self.film[chosen],
            self.towards[chosen],
            self.donor[chosen],
            self.own_donor[chosen],
            self.is_changed[chosen],
            self.log_odds[..., chosen],
            self.predicted[..., chosen],
        )


def _pair_terms(answers: Answers, donors: Rows, labels: Rows) -> _Terms:
    n_films, n_classes, n_donors = donors.shape
    film, towards, k = (grid.ravel() for grid in np.indices((n_films, n_classes, n_donors)))
    own = labels[film]
    ids = answers.view_ids
    is_pair = (towards != own) & (ids[film, towards, k] >= 0) & (ids[film, own, k] >= 0)
    film, towards, k, own = film[is_pair], towards[is_pair], k[is_pair], own[is_pair]
    both = np.stack([answers.probabilities[:, film, label, k] for label in (towards, own)]).astype(
        np.float64
    )  # (2, models, T, K)
    asked = np.take_along_axis(both, towards[None, None, :, None], axis=3)[..., 0]
    inside = asked.clip(_SMALLEST, 1 - _SMALLEST)
    return _Terms(
        film,
        towards,
        donors[film, towards, k],
        donors[film, own, k],
        ids[film, towards, k] != ids[film, own, k],
        np.log(inside) - np.log1p(-inside),
        (both.argmax(axis=3) == towards).astype(np.float64),
    )


def _estimate(terms: _Terms, people: NDArray[np.str_], towards: str, seed: int) -> Pull:
    n_models = terms.log_odds.shape[1]
    n_films = len(np.unique(terms.film))
    nothing = (math.nan,) * n_models
    if not terms.is_changed.any():
        reason = ALIKE if n_films else "no film has a donor"
        undefined = Estimate.undefined(n_films, reason)
        return Pull(towards, undefined, undefined, nothing, nothing)
    found = []
    for values, bounds in ((terms.log_odds, (-math.inf, math.inf)), (terms.predicted, (-1.0, 1.0))):
        means = (values[0] - values[1]).mean(axis=1)
        over_patients, n_patients = _over_patients(terms, values.mean(axis=1), people, seed)
        residual = 0.0
        if n_models > 1:
            apart = values - values.mean(axis=1, keepdims=True)
            each = [_over_patients(terms, apart[:, k], people, seed)[0] for k in range(n_models)]
            residual = sum(spread_of(one) ** 2 for one in each) / n_models / (n_models - 1)
        pull = add_seeds(
            means, over_patients, residual=residual, n_clusters=n_patients, bounds=bounds
        )
        found.append((pull, means))
    (log_odds, by_seed), (share, share_by_seed) = found
    return Pull(
        towards,
        log_odds,
        share,
        tuple(float(value) for value in by_seed),
        tuple(float(value) for value in share_by_seed),
    )


def _over_patients(
    terms: _Terms, values: NDArray[np.float64], people: NDArray[np.str_], seed: int
) -> tuple[Estimate, int]:
    """Return a mean pull, with an interval over patients of films and of donors, and the patients.

    Films and donors are crossed, and the variances of both are added. A patient counts as a donor
    with all terms in which it gives, for the class or for the own class. Noise of single terms is
    in each of these sums and counted once (Cameron, Gelbach and Miller 2011, *Robust inference with
    multiway clustering*, Journal of Business & Economic Statistics 29, 238-249).
    """
    given, own = values
    by_film = paired_bootstrap_difference(own, given, people[terms.film], seed=seed)
    n = len(given)
    apart = (given - own - by_film.value) / n
    index = np.unique(people[np.concatenate([terms.donor, terms.own_donor])], return_inverse=True)
    sums = np.bincount(index[1].ravel(), weights=np.concatenate([apart, apart]))
    n_donors = len(sums)
    variance = float((sums**2).sum() - 2 * (apart**2).sum())
    half = 0.0
    if n_donors > 1:
        quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n_donors - 1))
        half = quantile * math.sqrt(max(0.0, variance))
    low = by_film.value - math.hypot(by_film.value - by_film.low, half)
    high = by_film.value + math.hypot(by_film.high - by_film.value, half)
    n_patients = len(np.unique(people[terms.film]))
    n_films = len(np.unique(terms.film))
    return Estimate(by_film.value, low, high, n_films, by_film.reason), n_patients
