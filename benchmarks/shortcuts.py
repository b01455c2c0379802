"""`covid-debug bench shortcuts`: does the map find reliance in models that cannot rely on anything?

Three kinds of models that know nothing of disease or source: untrained ResNet18, untrained linear
models on thumbnails, and linear models trained on labels that were shuffled over patients.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torchvision.models import resnet18

from benchmarks.tables import to_markdown
from covid_debug.audit.attributes import ATTRIBUTES
from covid_debug.audit.reliance import (
    Answers,
    ask_about_exchanges,
    draw_films_of_classes,
    estimate_pulls,
)
from covid_debug.audit.shortcuts import choose_films, read_films
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.views import load_views
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole

Views = NDArray[np.uint8]
Predict = Callable[[Views], NDArray[np.float32]]

IMAGE_SIZE = 96
N_SEEDS = 3  # models that count as one, trained with other seeds
_THUMBNAIL = 8


def bench_shortcuts(
    data: Path, regions: Path, *, n_films: int, n_groups: int, seed: int, console: RunConsole
) -> str:
    """Measure how often the interval of a pull covers zero where zero is the truth.

    Args:
        data: Film set.
        regions: Text of its films.
        n_films: Test films on which attributes are exchanged.
        n_groups: Groups of three models of each kind.
        seed: Seed of films, donors and models.
        console: Terminal.

    Returns:
        A table in Markdown.
    """
    filmset, found = load_filmset(data), read_regions(regions)
    spec, means = ViewSpec(IMAGE_SIZE), Means(console, data.parent / "views")
    films = choose_films(filmset, found, n_films, seed)
    readings = read_films(filmset, films, found, spec, means)
    labels = np.array([filmset.label_index(film) for film in films], dtype=np.int64)
    patients = [film.patient_id for film in films]
    ids = [film.image_id for film in films]
    n_classes = len(filmset.class_names)
    donors = draw_films_of_classes(ids, patients, labels, n_classes, n_donors=1, run_seed=seed)
    n_models = n_groups * N_SEEDS
    kinds = {
        "untrained ResNet18": [
            _untrained_network(derive_seed(seed, "network", k), n_classes) for k in range(n_models)
        ],
        "untrained linear": [
            _untrained_linear(derive_seed(seed, "linear", k), n_classes) for k in range(n_models)
        ],
        "linear, shuffled labels": _taught_shuffled(filmset, spec, means, seed, n_models),
    }
    models = [model for members in kinds.values() for model in members]
    exchanged = {name: item for name, item in ATTRIBUTES.items() if item.exchange is not None}
    with console.progress("films with attributes exchanged") as progress:
        answers = ask_about_exchanges(
            readings,
            donors,
            exchanged,
            models,
            spec,
            lambda reading: read_film(filmset.file_of(reading.film)).to_uint8(),
            progress=progress,
        )

    def count(name: str, start: int, stop: int, size: int) -> tuple[int, int, list[float]]:
        covered, values = 0, []
        item = answers[name]
        for first in range(start, stop, size):
            part = Answers(item.probabilities[first : first + size], item.view_ids)
            pull = estimate_pulls(part, donors, labels, patients, filmset.class_names, seed=first)
            estimate = pull[0].log_odds
            if estimate.is_defined:
                covered += estimate.low <= 0 <= estimate.high
                values.append(abs(estimate.value))
        return covered, len(values), values

    rows: list[Mapping[str, object]] = []
    for number, kind in enumerate(kinds):
        start, stop = number * n_models, (number + 1) * n_models
        for size in (N_SEEDS, 1):
            counts = [count(name, start, stop, size) for name in exchanged]
            covered, n = sum(c for c, _, _ in counts), sum(m for _, m, _ in counts)
            least = min(c / m for c, m, _ in counts if m)
            values = [value for _, _, each in counts for value in each]
            rows.append(
                {
                    "models": kind,
                    "seeds": size,
                    "intervals": n,
                    "cover zero, %": f"{100 * covered / n:.1f}",
                    "least of an attribute, %": f"{100 * least:.1f}",
                    "median pull, log-odds": f"{np.median(values):.3f}",
                }
            )
    return to_markdown(rows)


def _untrained_network(seed: int, n_classes: int) -> Predict:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**31)
        network = resnet18(num_classes=n_classes).eval()

    def predict(views: Views) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(views), 64):
                images = torch.from_numpy(views[start : start + 64]).float()[:, None] / 255 - 0.5
                parts.append(network(images.repeat(1, 3, 1, 1)).softmax(dim=1))
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    return predict


def _untrained_linear(seed: int, n_classes: int) -> Predict:
    weights = np.random.default_rng(seed).normal(0, 1, (_THUMBNAIL**2, n_classes))

    def predict(views: Views) -> NDArray[np.float32]:
        logits = torch.from_numpy((_shrink(views) - 0.5) @ weights)
        return np.asarray(logits.softmax(dim=1).numpy(), np.float32)

    return predict


def _taught_shuffled(
    filmset: FilmSet, spec: ViewSpec, means: Means, seed: int, n_models: int
) -> list[Predict]:
    films = filmset.select("train")
    seen = _shrink(np.asarray(load_views(filmset, films, spec, means.cache_dir)))
    names, index = np.unique([film.patient_id for film in films], return_inverse=True)
    label_of = np.zeros(len(names), np.int64)
    label_of[index] = [filmset.label_index(film) for film in films]

    def teach(number: int) -> Predict:
        generator = np.random.default_rng(derive_seed(seed, "shuffled", number))
        model = LogisticRegression(max_iter=500).fit(seen, generator.permutation(label_of)[index])
        return lambda views: np.asarray(model.predict_proba(_shrink(views)), np.float32)

    return [teach(number) for number in range(n_models)]


def _shrink(views: Views) -> NDArray[np.float64]:
    size = (_THUMBNAIL, _THUMBNAIL)
    small = [cv2.resize(view, size, interpolation=cv2.INTER_AREA).ravel() for view in views]
    return np.stack(small) / 255.0
