"""Which films every model of a comparison is asked about."""

import csv
from pathlib import Path

import pytest

from covid_debug.errors import InputContractError
from covid_debug.evaluation.comparison import load_comparison
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.stages import Means
from tests.films import CLASS_NAMES, build_filmset, make_film

VIEW = ViewSpec(image_size=32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    classifier = Classifier(
        build_backbone("resnet18_half", 3, 1), class_names=CLASS_NAMES, image_size=(32, 32)
    )
    return save_checkpoint(
        tmp_path / "model", classifier.eval(), arch="resnet18_half", arch_params={}, view=VIEW
    )


def compare(request: ComparisonRequest, folder: Path) -> list[dict[str, str]]:
    request.make(folder / "out", Means(cache_dir=folder / "views"))
    with (folder / "out/predictions.csv").open() as stream:
        return list(csv.DictReader(stream))


def make_set(folder: Path, first: int, **changes: object) -> Path:
    films = [make_film(i, split="test", **changes) for i in range(first, first + 6)]
    return build_filmset(folder, films).root


def test_films_of_some_of_the_models_classes_are_tested_on(tmp_path: Path, model: Path) -> None:
    labels = ("COVID-19", "normal")
    films = [make_film(i, label=labels[i % 2], split="test") for i in range(6)]
    other = build_filmset(tmp_path / "other", films, class_names=labels).root

    rows = compare(ComparisonRequest({("original", 0): model}, {"other": other}), tmp_path)

    assert [row["label"] for row in rows] == [film.label for film in films]
    assert {f"p_{name}" for name in CLASS_NAMES} <= set(rows[0])


def test_films_of_a_class_that_the_model_does_not_know_are_refused(
    tmp_path: Path, model: Path
) -> None:
    films = [make_film(0, label="positive", split="test")]
    other = build_filmset(tmp_path / "other", films, class_names=("positive",)).root

    with pytest.raises(InputContractError, match=r"has classes \['positive'\], the model has"):
        compare(ComparisonRequest({("original", 0): model}, {"other": other}), tmp_path)


def test_arms_see_their_own_version_and_unseen_sources_are_one_test_set(
    tmp_path: Path, model: Path
) -> None:
    plain, seen = make_set(tmp_path / "plain", 0), make_set(tmp_path / "seen", 0)
    seeds = [90 + i for i in range(6)]
    films = [make_film(i, split="test") for i in range(6)]
    other_pixels = build_filmset(tmp_path / "other", films, seeds=seeds).root
    folds = [make_set(tmp_path / name, at, source=name) for name, at in (("b", 10), ("a", 20))]
    request = ComparisonRequest(
        {("original", 0): model, ("cleaned", 0): model, ("lung_crop", 0): model},
        {"original": plain},
        seen={("cleaned", "original"): other_pixels, ("lung_crop", "original"): seen},
        unseen={("original", 0, "b"): (model, folds[0]), ("original", 0, "a"): (model, folds[1])},
    )

    rows = compare(request, tmp_path)

    by_cell: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        by_cell.setdefault((row["train_data"], row["test_data"]), []).append(row)
    answers = {cell: [row["p_normal"] for row in found] for cell, found in by_cell.items()}
    assert answers["lung_crop", "original"] == answers["original", "original"]  # equal pixels
    assert answers["cleaned", "original"] != answers["original", "original"]
    unseen = by_cell["original", "unseen_source"]
    assert [row["source"] for row in unseen] == ["b"] * 6 + ["a"] * 6
    assert len(by_cell) == 4


def test_the_source_suggests_the_class_of_which_it_has_most_not_its_commonest(
    tmp_path: Path, model: Path
) -> None:
    labels = ["normal"] * 5 + ["COVID-19"] * 2  # of source a, which has all COVID-19
    films = [make_film(i, label=name, source="a", split="train") for i, name in enumerate(labels)]
    films += [make_film(10 + i, label="normal", source="b", split="train") for i in range(5)]
    films += [
        make_film(20 + i, label=name, source=source, split="test")
        for i, (name, source) in enumerate([("COVID-19", "a"), ("normal", "a"), ("normal", "b")])
    ]
    plain = build_filmset(tmp_path / "films", films, class_names=("normal", "COVID-19")).root
    request = ComparisonRequest({("original", 0): model}, {"original": plain})

    (footing,) = request.make(tmp_path / "out", Means(cache_dir=tmp_path / "views")).footing

    assert footing.from_source == pytest.approx((1 + 1 / 2) / 2)  # the commonest has 1 / 2


def test_what_a_source_says_is_learnt_from_the_original_training_films(
    tmp_path: Path, model: Path
) -> None:
    tests = [make_film(i, source="a", split="test") for i in range(6)]
    for name, label in (("first", "COVID-19"), ("plain", tests[0].label)):
        train = make_film(20, source="a" if name == "plain" else "b", label=label, split="train")
        build_filmset(tmp_path / name, [*tests, train])
    versions = {"first": tmp_path / "first", "original": tmp_path / "plain"}

    compare(ComparisonRequest({("original", 0): model}, versions), tmp_path)

    footing = load_comparison(tmp_path / "out").footing
    assert {one.test_data: one.from_source for one in footing} == {
        "first": pytest.approx(1 / 3),
        "original": pytest.approx(1 / 3),
    }
