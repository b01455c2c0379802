"""Is a model what its owner takes it for? Its answers on labelled films, and the usual mistakes.

Finds what a wrong normalisation, order of classes or polarity would look like; changes nothing.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import CovidDebugError, InputContractError
from covid_debug.evaluation.auc import estimate_macro_auc
from covid_debug.evaluation.statistics import CONFIDENCE, Estimate, wilson_interval
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.classifier import WITHOUT_GRADIENT, Classifier
from covid_debug.models.heads import suspect_labels
from covid_debug.models.inference import predict_probabilities
from covid_debug.progress import Listener
from covid_debug.records import Film
from covid_debug.saliency.feature_maps import find_target_layer
from covid_debug.stages import Means

MAX_FILMS = 100
_SHOWN = 8
_MAX_PERMUTED = 4
_SCALES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "--mean 0 --std 1": ((0.0,), (1.0,)),
    "--mean 0.5 --std 0.5 (input in [-1, 1])": ((0.5,), (0.5,)),
    "--mean 0 --std 0.00392157 (input in [0, 255])": ((0.0,), (1 / 255,)),
    "--mean 0.5 --std 0.000488281 (input in [-1024, 1024])": ((0.5,), (0.5 / 1024,)),
    "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 (ImageNet)": (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),
    "--mean 0.449 --std 0.226 (ImageNet, gray)": ((0.449,), (0.226,)),
}


@dataclass(frozen=True)
class CheckedFilm:
    """What the model says of one film.

    Attributes:
        film: Its path as recorded.
        label: Expected class.
        predicted: Class of the largest probability.
        probability: Of the expected class.
    """

    film: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ModelCheck:
    """What a check found.

    Attributes:
        answers: Of the first films of each class.
        accuracy: Share of films whose expected class has the largest probability.
        auc: Mean over the classes of the area against the others; undefined for one class.
        constant: Accuracy of always saying the commonest class.
        seconds_a_film: Of one evaluation, on this machine, in batches.
        has_gradient: Whether the model can be differentiated.
        target_layer: Grad-CAM's layer, or why there is none.
        problems: What should be looked at before the model is trusted, one line each.
        hints: What each usual mistake, undone, would give; empty where nothing was wrong.
    """

    answers: tuple[CheckedFilm, ...]
    accuracy: Estimate
    auc: Estimate
    constant: float
    seconds_a_film: float
    has_gradient: bool
    target_layer: str
    problems: tuple[str, ...]
    hints: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know: the problems, then the hints."""
        return (*self.problems, *self.hints)

    def tell(self, listener: Listener) -> None:
        """Say the check, and warn of what it found."""
        for line in self.describe():
            listener.say(line)
        for line in self.remarks:
            listener.warn(line)

    def describe(self) -> list[str]:
        """Return the check in lines, without its problems and hints."""
        films = _shorten([answer.film for answer in self.answers])
        width = max(len(film) for film in films)
        names = max(
            len(name) for one in self.answers for name in (one.label, one.predicted, "said")
        )
        rows = [
            f"{film:<{width}}  {one.label:<{names}}  {one.predicted:<{names}}"
            f"  {one.probability:.3f}"
            for film, one in zip(films, self.answers, strict=True)
        ]
        return [
            f"{'film':<{width}}  {'label':<{names}}  {'said':<{names}}  p(label)",
            *rows,
            f"accuracy {_show(self.accuracy)} on {self.accuracy.n} films"
            + (f"; always the commonest class: {self.constant:.3f}" if self.constant < 1 else ""),
            f"AUC {_show(self.auc)}",
            f"gradient: {'available' if self.has_gradient else f'none; {WITHOUT_GRADIENT}'}",
            f"Grad-CAM: {self.target_layer}",
            f"{self.seconds_a_film:.3g} s an evaluation of a film",
        ]


def check_model(
    model: LoadedModel, filmset: FilmSet, means: Means, *, max_films: int = MAX_FILMS
) -> ModelCheck:
    """Ask a model about labelled films and, where it is at chance, try the usual mistakes.

    A model is at chance where neither its accuracy is above that of the commonest class nor its
    area above one half, by their 95 % intervals. Then, and where all films get one answer, other
    orders of up to four classes, other normalisations and inverted gray are tried one at a time on
    the same films. What is told has an interval above chance that is corrected for the number of
    tries; nothing is applied.

    Args:
        model: Of classes, or of one finding.
        filmset: Its test films are used; all, where it has none.
        means: Folder of decoded views, workers, who is told.
        max_films: At most so many films, evenly spaced.

    Returns:
        The check.

    Raises:
        InputContractError: If the films' classes are not those of the model, or it has labels.
    """
    classifier = model.classifier
    classifier.require_classes("model check")
    names = classifier.class_names
    require_shared_classes(filmset, classifier)
    films = _choose(filmset.select("test") or filmset.films, max_films)
    views = load_views(filmset, films, model.view, means.cache_dir, n_workers=means.n_workers)
    views = np.asarray(views)
    labels = np.array([names.index(film.label) for film in films])
    predict_probabilities(classifier, views[:1])  # the first call is slower than the others
    start = time.perf_counter()
    shares = predict_probabilities(classifier, views)
    seconds = (time.perf_counter() - start) / len(films)
    accuracy = _score(shares, labels)
    auc = _area(shares, labels, [film.patient_id for film in films])
    constant = float(np.bincount(labels).max() / len(labels))
    problems = []
    if len(set(labels.tolist())) < 2:
        problems.append(
            f"all {len(films)} films are {films[0].label!r}: accuracy alone is measured, and"
            " whether the model tells classes apart cannot be said"
        )
    is_comparable = not problems
    if is_comparable and is_at_chance(accuracy, auc, constant):
        problems.append(
            f"accuracy {accuracy.value:.3f} is not above always saying"
            f" {names[int(np.bincount(labels).argmax())]!r} ({constant:.3f}) and AUC"
            f" {_show(auc)} not above 0.5: at chance; the order of --classes, --mean or --std may"
            " be wrong"
        )
    said = np.bincount(shares.argmax(axis=1), minlength=len(names))
    if said.max() == len(films) and len(set(labels.tolist())) > 1:
        problems.append(f"every film is predicted {names[int(said.argmax())]!r}")
    # One answer to all can still rank the films: a wrong scale often leaves the area high.
    hints = []
    if is_comparable and problems:
        hints = _try_mistakes(model, views, labels, shares, constant)
    elif is_comparable:
        hints = list_better(list(_try_orders(classifier, shares)), labels, accuracy.high)
        if hints:
            problems.append("another order of --classes fits the labels better")
    return ModelCheck(
        tuple(_list_answers(films, labels, shares, names)),
        accuracy,
        auc,
        constant,
        seconds,
        classifier.has_gradient,
        _describe_layer(classifier),
        tuple(problems),
        tuple(hints),
    )


def require_shared_classes(filmset: FilmSet, classifier: Classifier) -> None:
    """Refuse films of classes that the model does not have.

    Raises:
        InputContractError: Naming both, and what to do.
    """
    if not set(filmset.class_names) <= set(classifier.class_names):
        raise InputContractError(
            f"{filmset.root}: has classes {', '.join(filmset.class_names)}; the model has"
            f" {', '.join(classifier.class_names)}{advise_on_classes(classifier)}"
        )


def advise_on_classes(classifier: Classifier) -> str:
    """Return the end of a message about a label that is no class of a model."""
    return (
        "; give the films the model's words for their classes, or import the model with the films'"
        f" (--classes, in the order of its outputs){suspect_labels(classifier)}"
    )


def is_at_chance(
    accuracy: Estimate,
    auc: Estimate,
    constant: float,
) -> bool:
    """Say whether neither accuracy nor area is above chance by its interval.

    Args:
        accuracy: Share of right answers.
        auc: Area, or undefined.
        constant: Share of the commonest class.

    Returns:
        Whether both intervals reach chance: the share of the commonest class, and one half.
    """
    return accuracy.low <= constant and not (auc.is_defined and auc.low > 0.5)


def _choose(films: tuple[Film, ...], most: int) -> list[Film]:
    rows = np.linspace(0, len(films) - 1, min(most, len(films))).round().astype(int)
    return [films[row] for row in rows]


def _score(
    shares: NDArray[np.float32], labels: NDArray[np.int64], confidence: float = CONFIDENCE
) -> Estimate:
    n_right = int((shares.argmax(axis=1) == labels).sum())
    return wilson_interval(n_right, len(labels), confidence)


def _area(shares: NDArray[np.float32], labels: NDArray[np.int64], patients: list[str]) -> Estimate:
    if len(set(labels.tolist())) < 2:
        return Estimate.undefined(len(labels), "films of one class")
    return estimate_macro_auc(shares.astype(np.float64), labels, patients, seed=0)


def _try_mistakes(
    model: LoadedModel,
    views: NDArray[np.uint8],
    labels: NDArray[np.int64],
    shares: NDArray[np.float32],
    constant: float,
) -> list[str]:
    tries = [*_try_orders(model.classifier, shares), *_try_images(model.classifier, views)]
    return list_better(tries, labels, constant)


def list_better(
    tries: Sequence[tuple[str, NDArray[np.float32]]], labels: NDArray[np.int64], constant: float
) -> list[str]:
    """Return what at most three tries would give, the best first.

    Args:
        tries: What was changed, and the probabilities ``(N, K)`` that it gave.
        labels: ``(N,)``.
        constant: Accuracy that the interval must exceed, for example that of chance; its confidence
            is Bonferroni's for this number of tries.
    """
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(tries))
    scored = [(_score(found, labels, confidence), what) for what, found in tries]
    better = sorted((-one.value, what) for one, what in scored if one.low > constant)
    return [
        f"with {what} accuracy would be {-value:.3f} on the same {len(labels)} films"
        for value, what in better[:3]
    ]


def _try_orders(
    classifier: Classifier, shares: NDArray[np.float32]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    names = classifier.class_names
    if len(names) > _MAX_PERMUTED:
        return
    for order in itertools.permutations(range(len(names))):
        if order != tuple(range(len(names))):
            # Output k belongs to class order[k].
            moved = shares[:, np.argsort(order)]
            yield f"--classes {','.join(names[k] for k in order)}", moved


def _try_images(
    classifier: Classifier, views: NDArray[np.uint8]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield "inverted gray", predict_probabilities(classifier, 255 - views)
    for what, (mean, std) in _SCALES.items():
        n_planes = classifier.channels
        same = (mean * n_planes)[:n_planes] == classifier.mean
        if len(mean) in {1, n_planes} and not (
            same and (std * n_planes)[:n_planes] == classifier.std
        ):
            try:
                other = Classifier(
                    classifier.module,
                    class_names=classifier.class_names,
                    image_size=classifier.image_size,
                    mean=mean,
                    std=std,
                    channels=n_planes,
                )
                yield what, predict_probabilities(other, views)
            except InputContractError:  # overflows, or looks like probabilities: no candidate
                continue


def _list_answers(
    films: list[Film],
    labels: NDArray[np.int64],
    shares: NDArray[np.float32],
    names: tuple[str, ...],
) -> Iterator[CheckedFilm]:
    """Yield the first films of every class in turn, in the order of the films."""
    rank = [sum(labels[:row] == labels[row]) for row in range(len(films))]
    chosen = sorted(np.lexsort((np.arange(len(films)), rank))[:_SHOWN])
    for row in chosen:
        said = names[int(shares[row].argmax())]
        yield CheckedFilm(films[row].path, films[row].label, said, float(shares[row, labels[row]]))


def _shorten(paths: Sequence[str]) -> list[str]:
    """Return the names of files, with their folders where two are alike."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def _describe_layer(classifier: Classifier) -> str:
    if not classifier.has_gradient:
        return "not for a model without gradients"
    if any(isinstance(module, torch.jit.ScriptModule) for module in classifier.modules()):
        return "not for TorchScript, whose layers cannot be listened to"
    try:
        return f"layer {find_target_layer(classifier)!r}"
    except CovidDebugError as error:
        return str(error)


def _show(estimate: Estimate) -> str:
    if not estimate.is_defined:
        return f"undefined ({estimate.reason})"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
