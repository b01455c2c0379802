"""Models that never see a lung: how well do they do?

Each baseline guesses the label of a test film from something that has nothing to do with disease:
its source, its size, its burned-in text, its border. A test set on which such a baseline is good
cannot show that a classifier reads lungs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import read_manifest
from covid_debug.audit.features import describe_border, describe_layout
from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import DataIntegrityError
from covid_debug.evaluation.classification import compute_classification
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.records import Film, FilmRegions
from covid_debug.records_json import Number, read_record, write_record

CONFOUNDS_KIND = "confounds"
CONFOUNDS_NAME = "confounds.json"
Features = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Confound:
    """One baseline on the test films.

    Attributes:
        name: Short name.
        description: What the baseline knows.
        value: Accuracy on the test films; NaN where undefined, as the other numbers.
        low: Lower end of its interval over patients.
        high: Upper end.
        n: Test films that have the information.
        n_total: Test films.
        macro_f1: On the same films.
        chance: Accuracy of always answering the commonest label of the test films.
        warning: What it means where the baseline beats chance, otherwise None.
    """

    name: str
    description: str
    value: Number
    low: Number
    high: Number
    n: int
    n_total: int
    macro_f1: Estimate
    chance: Number
    warning: str | None


def compute_confounds(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    *,
    seed: int,
    view: ViewSpec | None = None,
    cache_dir: Path | None = None,
    n_workers: int = 2,
) -> tuple[Confound, ...]:
    """Fit every baseline on the training films and test it on the test films.

    Args:
        filmset: Films with labels and splits.
        regions: Text by ``image_id``; films without a scan take no part in the text baselines.
        seed: Seed of the bootstrap.
        view: What the compared models see of a film; None leaves out the baseline that needs it.
        cache_dir: Folder of decoded views; None leaves out the same baseline.
        n_workers: Threads that decode views.

    Returns:
        One record a baseline.
    """
    scanned = {
        film.image_id
        for film in filmset.films
        if (found := regions.get(film.image_id)) is not None and found.error is None
    }

    def text_layout(films: Sequence[Film]) -> Features:
        return np.stack(
            [
                describe_layout(found.texts, found.width, found.height)
                for found in (regions[film.image_id] for film in films)
            ]
        )

    def text_presence(films: Sequence[Film]) -> Features:
        return text_layout(films)[:, :1]

    def everything(_film: Film) -> bool:
        return True

    def has_scan(film: Film) -> bool:
        return film.image_id in scanned

    baselines: list[
        tuple[str, str, Callable[[Sequence[Film]], Features], Callable[[Film], bool]]
    ] = [
        ("source", "knows only which source a film comes from", _sources, everything),
        ("film size", "knows only width and height of a film", _sizes, everything),
        ("text presence", "knows only whether a film has text", text_presence, has_scan),
        ("text layout", "knows only where and how much text there is", text_layout, has_scan),
    ]
    if view is not None and cache_dir is not None:
        spec, folder = view, cache_dir

        def border(films: Sequence[Film]) -> Features:
            return describe_border(load_views(filmset, films, spec, folder, n_workers=n_workers))

        baselines.append(
            ("border", "sees only the outermost sixteenth of the view", border, everything)
        )
    return tuple(
        _test_baseline(filmset, name, description, features, is_usable, seed)
        for name, description, features, is_usable in baselines
    )


def predict_from_source(filmset: FilmSet) -> NDArray[np.int64]:
    """Guess the label of every test film from its source alone, as learnt on the training films.

    Args:
        filmset: Films with labels and splits.

    Returns:
        Class index of each test film, in order; the commonest training label where the training
        films have one source or one label only.

    Raises:
        DataIntegrityError: If there are no training or test films.
    """
    train, test = filmset.select("train"), filmset.select("test")
    if not train or not test:
        raise DataIntegrityError(f"{filmset.root}: needs training and test films")
    labels = np.array([filmset.label_index(film) for film in train], dtype=np.int64)
    if len(np.unique(labels)) < 2:
        return np.full(len(test), labels[0])
    return _fit_and_predict(_sources(train), labels, _sources(test))


def write_confounds(folder: Path, confounds: Sequence[Confound]) -> None:
    """Write ``confounds.json`` into a folder."""
    write_record(folder / CONFOUNDS_NAME, tuple(confounds), indent=1)


def load_confounds(folder: Path) -> tuple[Confound, ...]:
    """Load an artifact of kind ``"confounds"``.

    Returns:
        One record a baseline.

    Raises:
        ArtifactError: If the artifact is missing, broken or of another kind.
    """
    read_manifest(folder, kind=CONFOUNDS_KIND)
    path = folder / CONFOUNDS_NAME
    return read_record(path, tuple[Confound, ...], broken="is not readable", remedy="make it again")


def _test_baseline(
    filmset: FilmSet,
    name: str,
    description: str,
    features: Callable[[Sequence[Film]], Features],
    is_usable: Callable[[Film], bool],
    seed: int,
) -> Confound:
    all_test = filmset.select("test")
    train = [film for film in filmset.select("train") if is_usable(film)]
    test = [film for film in all_test if is_usable(film)]
    train_labels = np.array([filmset.label_index(film) for film in train], dtype=np.int64)
    test_labels = np.array([filmset.label_index(film) for film in test], dtype=np.int64)
    if not test or len(set(train_labels.tolist())) < 2:
        nothing = Estimate.undefined(len(test), "needs test films and two labels in training")
        return _record(name, description, nothing, nothing, np.nan, len(all_test), None)
    predicted = _fit_and_predict(features(train), train_labels, features(test))
    result = compute_classification(
        test_labels,
        np.eye(len(filmset.class_names))[predicted],
        filmset.class_names,
        [film.patient_id for film in test],
        seed=seed,
    )
    chance = float(np.bincount(test_labels).max() / len(test))
    warning = None
    if result.accuracy.low > chance:
        warning = (
            f"{name} alone gives {result.accuracy.value:.0%} of the test labels, always answering"
            f" the commonest label gives {chance:.0%}: accuracy on these films does not show that"
            " a model reads lungs"
        )
    return _record(
        name, description, result.accuracy, result.macro_f1, chance, len(all_test), warning
    )


def _record(
    name: str,
    description: str,
    accuracy: Estimate,
    macro_f1: Estimate,
    chance: float,
    n_total: int,
    warning: str | None,
) -> Confound:
    interval = (accuracy.value, accuracy.low, accuracy.high, accuracy.n)
    return Confound(name, description, *interval, n_total, macro_f1, chance, warning)


def _fit_and_predict(
    train: Features, labels: NDArray[np.int64], test: Features
) -> NDArray[np.int64]:
    # Slow to import, and nobody who only reads confounds needs them.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: PLC0415

    is_name = train.dtype.kind == "U"
    encoder = OneHotEncoder(handle_unknown="ignore") if is_name else StandardScaler()
    model = make_pipeline(encoder, LogisticRegression(max_iter=2000, C=10.0))
    return np.asarray(model.fit(train, labels).predict(test), dtype=np.int64)


def _sources(films: Sequence[Film]) -> Features:
    return np.array([[film.source] for film in films], dtype=np.str_)


def _sizes(films: Sequence[Film]) -> Features:
    table = [
        (np.log(film.width), np.log(film.height), film.width == film.height, film.width % 2)
        for film in films
    ]
    return np.array(table, dtype=np.float64)
