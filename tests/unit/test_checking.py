"""`model check`: a model that knows its films, and the same one with a usual mistake."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from covid_debug.checking import ModelCheck, check_model
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.data.views import load_views
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.classifier import Classifier
from covid_debug.stages import Means

VIEW = ViewSpec(image_size=16, top_crop=0.0)


class Remembers(nn.Module):
    """Says of a film the class of the nearest film that it knows."""

    def __init__(self, known: Tensor, labels: Tensor, *, is_inverted: bool = False) -> None:
        super().__init__()
        self.register_buffer("known", known.flatten(1))
        self.register_buffer("is_of", nn.functional.one_hot(labels).float())
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


def test_inverted_gray_is_found(films, tmp_path) -> None:
    found = check(films, tmp_path, is_inverted=True)

    assert any(
        line.startswith("with inverted gray accuracy would be 1.000") for line in found.hints
    )


def test_films_of_other_classes_are_one_line(films, tmp_path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    classifier = Classifier(network, class_names=("a", "b"), image_size=(16, 16))

    with pytest.raises(InputContractError, match="the model has a, b; name the model's classes"):
        check_model(LoadedModel(classifier, VIEW, {}), films, Means(cache_dir=tmp_path))


def test_findings_taken_for_classes_are_suspected(films, tmp_path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 18))
    names = tuple(f"finding {k}" for k in range(18))
    classifier = Classifier(network, class_names=names, image_size=(16, 16))

    with pytest.raises(InputContractError, match=r"several of the 18, .* with --multi-label"):
        check_model(LoadedModel(classifier, VIEW, {}), films, Means(cache_dir=tmp_path))
