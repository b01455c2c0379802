"""The pull of an attribute: found where a model reads it, none where it cannot."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from covid_debug.audit.attributes import ATTRIBUTES, Exchange, FilmReading
from covid_debug.audit.reliance import (
    ALIKE,
    Answers,
    answer_whole_films,
    ask_about_exchanges,
    draw_films_of_classes,
    estimate_pulls,
)
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from tests.films import make_film

SIDE = 32
SPEC = ViewSpec(image_size=SIDE, top_crop=0.0)
NAMES = ("a", "b", "c")
BORDER = {0: 60, 1: 120, 2: 180}  # what the label does to the border, and to nothing else


def make_reading(index: int, label: int, rng: np.random.Generator) -> FilmReading:
    view = rng.integers(90, 150, (SIDE, SIDE)).astype(np.uint8)
    level = BORDER[label] + rng.integers(-15, 16)
    for edge in (view[:2], view[-2:], view[:, :2], view[:, -2:]):
        edge[...] = level
    lungs = np.zeros((SIDE, SIDE), bool)
    lungs[10:22, 8:24] = True
    return FilmReading(make_film(index), view, view, view, (0, 0, 0, 0), lungs, SIDE, None, 256, {})


def make_films(n: int, seed: int = 0) -> tuple[list[FilmReading], np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    readings = [make_reading(i, int(label), rng) for i, label in enumerate(labels)]
    return readings, labels, [f"p{i // 2}" for i in range(n)]


def measure(names, models, n=60, seed=0):
    readings, labels, patients = make_films(n, seed)
    ids = [reading.film.image_id for reading in readings]
    donors = draw_films_of_classes(ids, patients, labels, 3, n_donors=1, run_seed=seed)
    chosen = {name: ATTRIBUTES[name] for name in names}
    answers = ask_about_exchanges(
        readings, donors, chosen, models, SPEC, lambda reading: reading.view, n_workers=1
    )
    return {
        name: estimate_pulls(item, donors, labels, patients, NAMES, seed=seed)
        for name, item in answers.items()
    }


def soft(logits: np.ndarray) -> np.ndarray:
    shown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shown / shown.sum(axis=1, keepdims=True)).astype(np.float32)


def read_top_edge(views: np.ndarray) -> np.ndarray:
    """Answer the label whose border is nearest, from the middle of the top edge alone."""
    seen = views[:, 0, 12:20].mean(axis=1)
    return soft(-(((seen[:, None] - np.array([60, 120, 180])) / 20) ** 2))


def test_donors_are_of_every_class_and_of_other_patients_and_belong_to_the_film():
    labels = np.arange(12) % 3
    patients = [f"p{i // 3}" for i in range(12)]  # every patient has all three labels
    ids = [f"f{i}" for i in range(12)]

    donors = draw_films_of_classes(ids, patients, labels, 4, n_donors=2, run_seed=1)

    assert donors.shape == (12, 4, 2)
    assert np.all(donors[:, 3] == -1)  # nobody has the fourth label
    for row in range(12):
        for label in range(3):
            assert set(labels[donors[row, label]]) == {label}
            assert patients[row] not in {patients[i] for i in donors[row, label]}
    assert np.array_equal(
        donors, draw_films_of_classes(ids, patients, labels, 4, n_donors=2, run_seed=1)
    )
    assert not np.array_equal(
        donors, draw_films_of_classes(ids, patients, labels, 4, n_donors=2, run_seed=2)
    )
    with pytest.raises(InputContractError, match="n_donors is 0"):
        draw_films_of_classes(ids, patients, labels, 3, n_donors=0, run_seed=1)


def test_a_planted_reader_of_the_border_is_found_and_nothing_else_is():
    pulls = measure(("border", "corners", "lungs", "outside_lungs"), [read_top_edge])

    for name in ("border", "outside_lungs"):
        overall, *towards = pulls[name]
        assert overall.share.value == 1.0  # a film given a border is called by it
        assert overall.share.low > 0.8
        assert overall.log_odds.low > 2
        assert [pull.towards for pull in towards] == list(NAMES)
        assert all(pull.share.value == 1.0 for pull in towards)
    for name in ("corners", "lungs"):
        assert pulls[name][0].log_odds.value == 0.0
        assert pulls[name][0].share.value == 0.0
        assert pulls[name][0].share.low < 0 < pulls[name][0].share.high


def test_a_reader_of_a_part_that_the_label_does_not_change_has_no_pull():
    def read_middle(views: np.ndarray) -> np.ndarray:
        seen = views[:, 14:18, 12:20].mean(axis=(1, 2)) - 120
        return soft(np.stack([seen, -seen, 0 * seen], axis=1))

    pull = measure(("lungs",), [read_middle])["lungs"][0]

    assert pull.log_odds.low < 0 < pull.log_odds.high


def test_an_attribute_that_is_the_same_on_all_films_has_no_number():
    pull = measure(("jpeg",), [read_top_edge])["jpeg"][0]

    assert math.isnan(pull.log_odds.value)
    assert pull.share.reason == ALIKE


def test_films_without_lungs_take_no_part():
    readings, labels, patients = make_films(30)
    readings = [replace(r, lungs=None) if i < 10 else r for i, r in enumerate(readings)]
    donors = draw_films_of_classes(
        [str(i) for i in range(30)], patients, labels, 3, n_donors=1, run_seed=0
    )

    answers = ask_about_exchanges(
        readings,
        donors,
        {"lungs": ATTRIBUTES["lungs"]},
        [read_top_edge],
        SPEC,
        lambda r: r.view,
    )["lungs"]

    assert np.all(answers.view_ids[:10] == -1)
    pull = estimate_pulls(answers, donors, labels, patients, NAMES, seed=0)[0]
    assert 0 < pull.log_odds.n <= 20


def test_every_answer_is_about_its_own_film_donor_and_model():
    readings, labels, patients = make_films(20)  # more than are held at once
    ids = [reading.film.image_id for reading in readings]
    donors = draw_films_of_classes(ids, patients, labels, 3, n_donors=2, run_seed=0)
    border = ATTRIBUTES["border"]

    def average(views):
        share = views.mean(axis=(1, 2)) / 255
        return np.stack([share, 1 - share, 0 * share], axis=1).astype(np.float32)

    asked = ask_about_exchanges(
        readings, donors, {"border": border}, [average, read_top_edge], SPEC, lambda r: r.view
    )["border"]

    for row, label, k in ((0, 1, 0), (5, 2, 1), (13, 0, 0), (19, 2, 1)):
        donor = readings[donors[row, label, k]]
        view = border.exchange(Exchange(readings[row].view, SPEC, readings[row], donor))
        for m, model in enumerate((average, read_top_edge)):
            np.testing.assert_allclose(
                asked.probabilities[m, row, label, k], model(view[None])[0], rtol=1e-6
            )


def test_the_whole_film_of_another_class_is_the_answer_about_the_donor():
    labels = np.array([0, 1, 0, 1])
    patients = list("wxyz")
    said = np.array([[[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]]], np.float32)
    donors = np.array([[[2], [1]], [[0], [3]], [[0], [3]], [[2], [1]]])

    pull = estimate_pulls(
        answer_whole_films(said, donors), donors, labels, patients, ("a", "b"), seed=0
    )[0]

    def logit(p: float) -> float:
        return math.log(p / (1 - p))

    expected = np.mean(
        [
            logit(0.7) - logit(0.4),
            logit(0.8) - logit(0.1),
            logit(0.9) - logit(0.2),
            logit(0.6) - logit(0.3),
        ]
    )
    assert pull.share.value == 1.0
    assert pull.log_odds.value == pytest.approx(expected, abs=1e-5)


def test_several_seeds_widen_the_interval_by_what_they_disagree():
    labels, patients = np.arange(90) % 3, [f"p{i}" for i in range(90)]
    donors = draw_films_of_classes(patients, patients, labels, 3, n_donors=1, run_seed=0)
    own = np.random.default_rng(0).dirichlet(np.ones(3), (1, 90)).astype(np.float32)

    def measure_seeds(*strengths: float):
        shown = [soft(np.log(own[0]) + strength * np.eye(3)[labels]) for strength in strengths]
        answers = answer_whole_films(np.stack(shown), donors)
        return estimate_pulls(answers, donors, labels, patients, NAMES, seed=0)[0]

    one, alike, apart = measure_seeds(2.0), measure_seeds(2.0, 2.0), measure_seeds(1.0, 3.0)

    ends = pytest.approx((one.log_odds.low, one.log_odds.high), rel=1e-5)
    assert (alike.log_odds.low, alike.log_odds.high) == ends
    assert min(apart.log_odds_by_seed) < one.log_odds.value < max(apart.log_odds_by_seed)
    assert apart.log_odds.high - apart.log_odds.low > 3 * (one.log_odds.high - one.log_odds.low)
    assert len(apart.log_odds_by_seed) == 2


def count_covered(estimates) -> tuple[int, int]:
    return sum(e.low <= 0 <= e.high for e in estimates), len(estimates)


def test_untrained_linear_models_have_a_pull_of_zero_at_the_stated_rate():
    """Their answers follow the border, but not the label: over seeds the pull is zero."""
    rng = np.random.default_rng(0)

    def make() -> object:
        weights = rng.normal(0, 1, (SIDE // 4 * (SIDE // 4), 3))

        def predict(views: np.ndarray) -> np.ndarray:
            small = views.reshape(-1, SIDE // 4, 4, SIDE // 4, 4).mean(axis=(2, 4))
            return soft((small.reshape(len(views), -1) / 255) @ weights)

        return predict

    readings, labels, patients = make_films(45)
    ids = [reading.film.image_id for reading in readings]
    donors = draw_films_of_classes(ids, patients, labels, 3, n_donors=1, run_seed=0)
    models = [make() for _ in range(3 * 40)]
    asked = ask_about_exchanges(
        readings, donors, {"border": ATTRIBUTES["border"]}, models, SPEC, lambda r: r.view
    )["border"]

    found = [
        estimate_pulls(
            Answers(asked.probabilities[3 * k : 3 * k + 3], asked.view_ids),
            donors,
            labels,
            patients,
            NAMES,
            seed=k,
        )[0].log_odds
        for k in range(40)
    ]

    covered, n = count_covered(found)
    assert covered >= 0.875 * n  # 95 % is stated: 35 of 40 or more has then a chance of 97 %


def test_untrained_networks_have_a_pull_of_zero():
    def make(seed: int) -> object:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = resnet18(num_classes=3).eval()

        def predict(views: np.ndarray) -> np.ndarray:
            images = torch.from_numpy(views).float()[:, None].repeat(1, 3, 1, 1) / 255 - 0.5
            with torch.inference_mode():
                return network(images).softmax(dim=1).numpy()

        return predict

    pulls = measure(("border", "lungs", "histogram"), [make(seed) for seed in range(4)], n=18)

    for overall, *_ in pulls.values():
        assert overall.log_odds.low <= 0 <= overall.log_odds.high
        assert abs(overall.log_odds.value) < 0.05


def test_a_model_that_learned_shuffled_labels_has_a_pull_of_zero():
    from sklearn.linear_model import LogisticRegression

    readings, labels, _ = make_films(60, seed=5)
    pixels = np.stack([r.view[::4, ::4].ravel() for r in readings]) / 255

    def make(seed: int) -> object:
        shuffled = np.random.default_rng(seed).permutation(labels)
        model = LogisticRegression(C=1.0, max_iter=500).fit(pixels, shuffled)
        return lambda views: model.predict_proba(
            views[:, ::4, ::4].reshape(len(views), -1) / 255
        ).astype(np.float32)

    learned = LogisticRegression(C=1.0, max_iter=500).fit(pixels, labels)

    def right(views: np.ndarray) -> np.ndarray:
        shown = views[:, ::4, ::4].reshape(len(views), -1) / 255
        return learned.predict_proba(shown).astype(np.float32)

    fooled = measure(("border",), [make(seed) for seed in range(5)])["border"][0]
    taught = measure(("border",), [right])["border"][0]

    assert fooled.log_odds.low <= 0 <= fooled.log_odds.high
    assert taught.log_odds.low > 0.5


@pytest.mark.parametrize("n_donors", [1, 3])
def test_few_donors_of_many_films_widen_the_interval_as_much_as_they_must(n_donors):
    labels = np.repeat([0, 1], [40, 8])
    names = [str(i) for i in range(48)]
    pulls = []
    for draw in range(30):
        rng = np.random.default_rng(draw)
        donors = draw_films_of_classes(names, names, labels, 2, n_donors=n_donors, run_seed=draw)
        said = 1 / (1 + np.exp(-rng.normal(size=(1, 48, 2))))
        answers = answer_whole_films(said.astype(np.float32), donors)
        pulls.append(estimate_pulls(answers, donors, labels, names, ("a", "b"), seed=draw)[2])

    sd = math.sqrt(1 / 8 + 1 / 40)  # of the mean of 8 donors less that of 40
    half = np.mean([pull.log_odds.high - pull.log_odds.low for pull in pulls]) / 2
    assert 0.85 * 1.96 * sd < half < 1.5 * 1.96 * sd
