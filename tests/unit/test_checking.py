"""`model check`: a model that knows its films, and the same one with a usual mistake."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from covid_debug.checking import ModelCheck, check_model, is_at_chance, list_better
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.data.views import load_views
from covid_debug.errors import InputContractError
from covid_debug.evaluation.auc import estimate_macro_auc
from covid_debug.evaluation.statistics import wilson_interval
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.classifier import Classifier
from covid_debug.progress import Silent
from covid_debug.stages import Means

VIEW = ViewSpec(image_size=16, top_crop=0.0)


class Remembers(nn.Module):
    """Says of a film the class of the nearest film that it knows."""

    def __init__(self, known: Tensor, labels: Tensor, *, is_inverted: bool = False) -> None:
        super().__init__()
        self.register_buffer("known", known.flatten(1))
        self.register_buffer(
            "is_of", nn.functional.one_hot(labels, max(3, int(labels.max()) + 1)).float()
        )
        self.is_inverted = is_inverted

    def forward(self, planes: Tensor) -> Tensor:
        seen = (1 - planes if self.is_inverted else planes).flatten(1)
        distances = (seen[:, None] - self.known).square().sum(2)
        far = distances[:, :, None] + 1e6 * (1 - self.is_of)
        return -100 * far.amin(1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> FilmSet:
    folder = tmp_path_factory.mktemp("check") / "films"
    generate_phantom(folder, n_train=6, n_test=18, seed=0)
    return load_filmset(folder)


def check(films: FilmSet, cache: Path, *, order: tuple[int, ...] = (0, 1, 2), **how) -> ModelCheck:
    test = films.select("test")
    views = np.asarray(load_views(films, test, VIEW, cache, n_workers=1))
    known = torch.from_numpy(views.copy()).float()[:, None] / 255
    labels = torch.tensor([order[films.label_index(film)] for film in test])
    scale = {key: how.pop(key) for key in ("mean", "std") if key in how}
    network = Remembers(known, labels, **how)
    classifier = Classifier(network, class_names=films.class_names, image_size=(16, 16), **scale)
    model = LoadedModel(classifier.eval(), VIEW, {})
    return check_model(model, films, Means(cache_dir=cache, n_workers=1))


def test_right_model_has_no_problems_and_no_hints(films, tmp_path) -> None:
    found = check(films, tmp_path)

    assert found.accuracy.value == found.auc.value == 1.0
    assert (found.problems, found.hints) == ((), ())
    assert found.has_gradient
    assert len(found.answers) == 8
    assert {answer.label for answer in found.answers} == set(films.class_names)
    assert all(answer.predicted == answer.label for answer in found.answers)
    assert "accuracy 1.000" in "\n".join(found.describe())


def test_other_order_of_classes_is_found(films, tmp_path) -> None:
    found = check(films, tmp_path, order=(1, 2, 0))

    a, b, c = films.class_names
    assert found.accuracy.value == 0.0
    assert "at chance" in found.problems[0]
    assert found.hints[0].startswith(f"with --classes {c},{a},{b} accuracy would be 1.000")


def test_two_classes_that_change_places_are_found_though_the_others_are_right(tmp_path) -> None:
    generate_phantom(tmp_path / "films", n_train=6, n_test=36, seed=0)
    three = load_filmset(tmp_path / "films")
    a, b, c = three.class_names
    four = [
        replace(film, label="other") if i % 4 == 0 and film.split == "test" else film
        for i, film in enumerate(three.films)
    ]
    films = replace(three, class_names=(a, b, c, "other"), films=tuple(four))

    found = check(films, tmp_path / "views", order=(1, 0, 2, 3))

    assert 0.3 < found.accuracy.value < 0.7
    assert found.problems == ("another order of --classes fits the labels better",)
    assert found.hints[0].startswith(f"with --classes {b},{a},{c},other accuracy would be 1.000")


def test_inverted_gray_is_found(films, tmp_path) -> None:
    found = check(films, tmp_path, is_inverted=True)

    assert any(
        line.startswith("with inverted gray accuracy would be 1.000") for line in found.hints
    )


def test_films_of_other_classes_are_one_line(films, tmp_path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    classifier = Classifier(network, class_names=("a", "b"), image_size=(16, 16))

    with pytest.raises(
        InputContractError, match="the model has a, b; give the films the model's words"
    ):
        check_model(LoadedModel(classifier, VIEW, {}), films, Means(cache_dir=tmp_path))


def test_films_of_one_class_are_checked_and_one_line_says_what_cannot_be_said(
    films, tmp_path
) -> None:
    name = films.class_names[0]
    one = replace(films, films=tuple(film for film in films.films if film.label == name))

    found = check(one, tmp_path)

    (line,) = found.remarks
    assert line.endswith(
        f"films are {name!r}: accuracy alone is measured, and whether the model tells classes"
        " apart cannot be said"
    )
    assert (found.accuracy.value, found.auc.is_defined) == (1.0, False)
    assert "commonest" not in "\n".join(found.describe())


def test_a_check_is_told_in_one_way_and_films_by_their_names(films, tmp_path) -> None:
    found = check(films, tmp_path, order=(1, 2, 0))
    told: list[str] = []
    listener = Silent()
    listener.say = told.append
    listener.warn = lambda line: told.append(f"warning: {line}")

    found.tell(listener)

    assert told == [*found.describe(), *(f"warning: {line}" for line in found.remarks)]
    assert found.remarks == (*found.problems, *found.hints)
    assert [line.split()[0] for line in told[1:9]] == [
        Path(answer.film).name for answer in found.answers
    ]


def test_findings_taken_for_classes_are_suspected(films, tmp_path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 18))
    names = tuple(f"finding {k}" for k in range(18))
    classifier = Classifier(network, class_names=names, image_size=(16, 16))

    with pytest.raises(InputContractError, match=r"several of the 18, .* with --multi-label"):
        check_model(LoadedModel(classifier, VIEW, {}), films, Means(cache_dir=tmp_path))


class Levels(nn.Module):
    """Says the class whose gray level, scaled as in training, is nearest to the mean of a film."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        scaled = (torch.tensor(LEVELS)[:, None] / 255 - torch.tensor(mean)) / torch.tensor(std)
        self.register_buffer("levels", scaled.mean(1))

    def forward(self, planes: Tensor) -> Tensor:
        return -(planes.mean((1, 2, 3))[:, None] - self.levels).abs()


LEVELS = (50.0, 110.0, 170.0)
UNIT, SIGNED, BYTES, XRV = (
    ((0.0,), (1.0,)),
    ((0.5,), (0.5,)),
    ((0.0,), (1 / 255,)),
    (
        (0.5,),
        (0.5 / 1024,),
    ),
)
GRAY = ((0.449,), (0.226,))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def check_levels(films, cache, monkeypatch, trained, given, channels=1) -> ModelCheck:
    gray = [int(LEVELS[films.label_index(film)]) for film in films.select("test")]
    views = np.broadcast_to(np.array(gray, np.uint8)[:, None, None], (len(gray), 16, 16))
    monkeypatch.setattr("covid_debug.checking.load_views", lambda *_, **__: views)
    classifier = Classifier(
        Levels(*trained),
        class_names=films.class_names,
        image_size=(16, 16),
        mean=given[0],
        std=given[1],
        channels=channels,
    )
    model = LoadedModel(classifier.eval(), VIEW, {})
    return check_model(model, films, Means(cache_dir=cache, n_workers=1))


@pytest.mark.parametrize(
    ("trained", "given", "option"),
    [
        (UNIT, BYTES, "--mean 0 --std 1"),
        (SIGNED, UNIT, "--mean 0.5 --std 0.5 "),
        (BYTES, UNIT, "--mean 0 --std 0.00392157 "),
        (XRV, UNIT, "--mean 0.5 --std 0.000488281 "),
        (GRAY, BYTES, "--mean 0.449 --std 0.226 "),
        (IMAGENET, BYTES, "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 "),
    ],
)
def test_wrong_normalisation_is_found(films, tmp_path, monkeypatch, trained, given, option) -> None:
    channels = len(trained[0])

    wrong = check_levels(films, tmp_path, monkeypatch, trained, given, channels)
    right = check_levels(films, tmp_path, monkeypatch, trained, trained, channels)

    assert wrong.problems[-1].startswith("every film is predicted ")
    assert any(
        line.startswith(f"with {option}") and " accuracy would be 1.000" in line
        for line in wrong.hints
    ), wrong.hints
    assert right.accuracy.value == 1.0
    assert (right.problems, right.hints) == ((), ())


def test_model_above_chance_gets_no_hint_though_another_scale_were_better(
    films, tmp_path, monkeypatch
) -> None:
    found = check_levels(films, tmp_path, monkeypatch, GRAY, UNIT)

    assert 0.6 < found.accuracy.value < 0.7
    assert found.hints == ()


def test_random_model_on_40_films_is_seldom_above_chance_and_seldom_hinted_at() -> None:
    rng = np.random.default_rng(0)
    n_trials, n_above, n_hinted = 300, 0, 0
    for _ in range(n_trials):
        labels = rng.permutation(np.arange(40) % 2)
        shares = rng.dirichlet((1, 1), size=(9, 40)).astype(np.float32)
        accuracy = wilson_interval(int((shares[0].argmax(axis=1) == labels).sum()), 40)
        auc = estimate_macro_auc(shares[0].astype(float), labels, list(map(str, range(40))), seed=0)
        n_above += not is_at_chance(accuracy, auc, constant=0.5)
        tries = [(f"try {row}", each) for row, each in enumerate(shares[1:])]
        n_hinted += bool(list_better(tries, labels, constant=0.5))

    assert n_above <= 0.05 * n_trials, n_above
    assert n_hinted <= 0.05 * n_trials, n_hinted
