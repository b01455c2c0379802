"""The training loop on films whose class is the place of a bright square."""

import json

import numpy as np
import pytest
import torch

from covid_debug.artifacts import read_manifest
from covid_debug.errors import (
    ArtifactError,
    ConfigError,
    DataIntegrityError,
    InputContractError,
    TrainingError,
)
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.inference import predict_probabilities
from covid_debug.training import loop
from covid_debug.training.augmentation import AugmentationParams
from covid_debug.training.last_layer import catch_features
from covid_debug.training.loop import TrainingParams, train_classifier
from covid_debug.training.matching import compute_source_dependence
from covid_debug.training.mitigation import MitigationParams

SIZE = 16
NAMES = ("normal", "pneumonia", "COVID-19")
PARAMS = {
    "arch_params": {"stem_width": 4, "widths": (8, 8), "depths": (1, 1)},
    "n_epochs": 2,
    "batch_size": 8,
}


def draw_films(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    views = rng.integers(90, 110, (n, SIZE, SIZE)).astype(np.uint8)
    for view, label in zip(views, labels, strict=True):
        view[2:8, 5 * label : 5 * label + 5] += 100
    return views, labels


TRAIN = draw_films(48, 0)
VAL = draw_films(15, 1)


def train(
    out,
    *,
    train_films=TRAIN,
    val_films=VAL,
    seed=0,
    device="cpu",
    on_epoch=None,
    sources=None,
    text_free=None,
    **params,
):
    return train_classifier(
        *train_films,
        *val_films,
        NAMES,
        TrainingParams(**PARAMS | params),
        seed=seed,
        view=ViewSpec(SIZE),
        out=out,
        inputs={"filmset": "films-1"},
        on_epoch=on_epoch,
        device=device,
        train_sources=sources and (sources * len(train_films[1]))[: len(train_films[1])],
        val_sources=sources and (sources * len(val_films[1]))[: len(val_films[1])],
        train_text_free=text_free,
    )


def test_training_learns_and_writes_the_best_epoch(tmp_path):
    result = train(
        tmp_path / "model", n_epochs=8, learning_rate=1e-2, augmentation=None, patience=8
    )

    loaded = load_checkpoint(tmp_path / "model")
    probabilities = predict_probabilities(loaded.classifier, VAL[0])
    assert (probabilities.argmax(axis=1) == VAL[1]).mean() > 0.9
    losses = [line["val_loss"] for line in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert loaded.manifest["facts"]["best_epoch"] == result.best_epoch
    assert loaded.manifest["facts"]["val_loss"] == pytest.approx(min(losses))
    assert loaded.manifest["inputs"] == {"filmset": "films-1"}
    assert loaded.view == ViewSpec(SIZE)


def test_same_seed_gives_the_same_files_bit_by_bit(tmp_path):
    for name in ("a", "b"):
        train(tmp_path / name, seed=3)
    train(tmp_path / "c", seed=4)

    manifests = [read_manifest(tmp_path / name, kind="checkpoint") for name in "abc"]
    assert manifests[0] == manifests[1]
    assert manifests[0]["files"]["model.safetensors"] != manifests[2]["files"]["model.safetensors"]


def test_shuffled_labels_leave_nothing_to_learn(tmp_path):
    seen = {}
    for name, shuffled in (("true", False), ("control", True)):
        epochs = []
        train(
            tmp_path / name,
            on_epoch=epochs.append,
            shuffle_labels=shuffled,
            n_epochs=8,
            learning_rate=1e-2,
            augmentation=None,
            patience=8,
        )
        seen[name] = min(metrics.val_loss for metrics in epochs)

    assert seen["true"] < 0.5 * seen["control"]


def test_global_generator_is_put_back(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()

    train(tmp_path / "model", n_epochs=1)

    assert torch.equal(torch.get_rng_state(), before)


def test_memory_map_trains_like_an_array(tmp_path):
    np.save(tmp_path / "views.npy", TRAIN[0])
    mapped = np.load(tmp_path / "views.npy", mmap_mode="r")

    results = [
        train(tmp_path / name, train_films=(views, TRAIN[1]), n_epochs=1)
        for name, views in (("a", mapped), ("b", TRAIN[0]))
    ]

    assert results[0].history[0]["train_loss"] == results[1].history[0]["train_loss"]


def test_epochs_are_reported_with_time_left(tmp_path):
    seen = []

    result = train(tmp_path / "model", on_epoch=seen.append)

    assert [metrics.epoch for metrics in seen] == [1, 2]
    assert seen[0].seconds_left > 0
    assert seen[1].seconds_left == 0
    assert seen[0].films_per_s > 0
    assert result.history[1]["val_loss"] == seen[1].val_loss
    stored = json.loads((tmp_path / "model" / "history.json").read_text())
    assert "films_per_s" not in stored[0]
    assert stored[1]["val_macro_f1"] == seen[1].val_macro_f1


def test_patience_stops_early(tmp_path, monkeypatch):
    losses = iter([1.0, 0.5, 0.6, 0.7, 0.1])
    monkeypatch.setattr(
        loop,
        "compute_validation_metrics",
        lambda *_: loop.ValidationMetrics(next(losses), 0.5, 0.5),
    )

    result = train(tmp_path / "model", n_epochs=5, patience=2)

    assert len(result.history) == 4
    assert result.best_epoch == 2


def test_macro_f1_can_select_and_loss_decides_between_equals(tmp_path, monkeypatch):
    scores = iter([(0.1, 0.5), (0.9, 0.8), (0.5, 0.8)])
    monkeypatch.setattr(
        loop,
        "compute_validation_metrics",
        lambda *_: loop.ValidationMetrics((pair := next(scores))[0], 0.5, pair[1]),
    )

    result = train(tmp_path / "model", n_epochs=3, select_by="macro_f1")

    assert result.best_epoch == 3


def test_plateau_lowers_the_learning_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(
        loop, "compute_validation_metrics", lambda *_: loop.ValidationMetrics(1.0, 0.5, 0.5)
    )

    result = train(tmp_path / "model", n_epochs=8, schedule="plateau", learning_rate=1e-4)

    assert result.history[-1]["learning_rate"] == pytest.approx(0.7e-4)


def test_cosine_ends_at_zero(tmp_path):
    result = train(tmp_path / "model", n_epochs=2)

    rates = [line["learning_rate"] for line in result.history]
    assert rates == pytest.approx([1e-3, 0.0])


def test_class_weights_scale_the_loss(tmp_path):
    weights = {"normal": 1e-6, "pneumonia": 1e-6, "COVID-19": 1.0}

    plain, weighted = (
        train(tmp_path / name, n_epochs=1, augmentation=None, class_weights=given)
        for name, given in (("plain", {}), ("weighted", weights))
    )

    assert plain.history[0]["train_loss"] != weighted.history[0]["train_loss"]


def test_diverged_training_leaves_nothing(tmp_path):
    with pytest.raises(TrainingError, match=r"epoch 1.*lower learning_rate \(1e\+30\)"):
        train(tmp_path / "model", learning_rate=1e30, n_epochs=1)

    assert list(tmp_path.iterdir()) == []


def test_interrupted_training_leaves_nothing(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "model", on_epoch=stop)

    assert list(tmp_path.iterdir()) == []


def test_checkpoint_is_never_overwritten(tmp_path):
    (tmp_path / "model").mkdir()

    with pytest.raises(ArtifactError, match="already exists"):
        train(tmp_path / "model", n_epochs=1)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"train_films": (TRAIN[0], np.minimum(TRAIN[1], 1))},
            DataIntegrityError,
            "no training film of class 'COVID-19' among 48",
        ),
        (
            {"val_films": (VAL[0], np.maximum(VAL[1], 1))},
            DataIntegrityError,
            "no validation film of class 'normal'",
        ),
        (
            {"val_films": (VAL[0][:0], VAL[1][:0])},
            DataIntegrityError,
            "'normal', 'pneumonia', 'COVID-19' among 0",
        ),
        ({"train_films": (TRAIN[0], TRAIN[1] + 1)}, InputContractError, r"labels span \[1, 3\]"),
        ({"train_films": (TRAIN[0], TRAIN[1] - 1)}, InputContractError, r"labels span \[-1, 1\]"),
        ({"train_films": (TRAIN[0][:9], TRAIN[1])}, InputContractError, "one per label"),
        ({"target_class": "COVID19"}, InputContractError, "did you mean 'COVID-19'"),
        ({"class_weights": {"norml": 2.0}}, InputContractError, "did you mean 'normal'"),
        ({"device": "cuda:99"}, ConfigError, "device"),
        ({"device": "gpu"}, ConfigError, "'gpu'; expected cpu"),
    ],
)
def test_bad_input_is_explained(tmp_path, kwargs, error, message):
    with pytest.raises(error, match=message):
        train(tmp_path / "model", **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_epochs": 0}, "n_epochs is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"target_share": 1.5}, "target_share is 1.5"),
        ({"class_weights": {"normal": 0.0}}, "class_weights are"),
    ],
)
def test_bad_recipe_is_refused(kwargs, message):
    with pytest.raises(InputContractError, match=message):
        TrainingParams(**kwargs)


def test_recipe_can_be_compared_and_repeated():
    assert TrainingParams(augmentation=AugmentationParams()) == TrainingParams()


SOURCES = ["x", "y", "y", "y"]


def hash_weights(path):
    return read_manifest(path, kind="checkpoint")["files"]["model.safetensors"]


def test_sources_change_nothing_where_every_mitigation_is_off(tmp_path):
    train(tmp_path / "plain")
    train(tmp_path / "told", sources=SOURCES)

    assert hash_weights(tmp_path / "plain") == hash_weights(tmp_path / "told")


def test_every_mitigation_changes_the_weights_and_repeats_itself(tmp_path):
    text_free = TRAIN[0].copy()
    text_free[:, 2:8, 12:] = 100
    plain = train(tmp_path / "plain")
    weights = {hash_weights(plain.checkpoint)}
    for number, change in enumerate(
        [
            {"sampling": "source"},
            {"objective": "group_dro", "dro_step": 0.1},
            {"matching": 1.0},
            {"right_reasons": 1.0},
            {"random_text": 0.5},
            {"random_text": 0.5, "right_reasons": 1.0},
            {"last_layer": True},
        ]
    ):
        mitigation = MitigationParams(**change)
        precision = "bf16-mixed" if number == 5 else "32-true"
        for again in "ab":
            train(
                tmp_path / f"{number}{again}",
                sources=SOURCES,
                text_free=text_free if mitigation.needs_text_free else None,
                mitigation=mitigation,
                precision=precision,
            )
        assert hash_weights(tmp_path / f"{number}a") == hash_weights(tmp_path / f"{number}b")
        weights.add(hash_weights(tmp_path / f"{number}a"))

    assert len(weights) == 8


def test_right_reasons_flatten_the_output_inside_the_text(tmp_path):
    """The class is told by the square's place; in half of the places it counts as text."""
    text_free = TRAIN[0].copy()
    text_free[:, 2:8] = 100
    slopes = {}
    for weight in (0.0, 10.0):
        result = train(
            tmp_path / f"{weight}",
            text_free=text_free if weight else None,
            mitigation=MitigationParams(right_reasons=weight),
            n_epochs=6,
            learning_rate=1e-2,
            augmentation=None,
        )
        classifier = load_checkpoint(result.checkpoint).classifier
        images = torch.from_numpy(VAL[0]).float()[:, None].div(255).requires_grad_()
        torch.autograd.backward(classifier(images).log_softmax(dim=1).sum())
        slopes[weight] = float(images.grad[:, :, 2:8].square().sum())

    assert slopes[10.0] < 0.2 * slopes[0.0]


def test_matching_takes_the_source_out_of_the_features(tmp_path):
    """Odd films are of one source, which is told by a gray corner."""
    views, labels = TRAIN
    sources = ["x", "y"]
    marked, val_marked = views.copy(), VAL[0].copy()
    marked[1::2, 12:, :4], val_marked[1::2, 12:, :4] = 200, 200
    told = {}
    for weight in (0.0, 3.0):
        result = train(
            tmp_path / f"{weight}",
            train_films=(marked, labels),
            val_films=(val_marked, VAL[1]),
            sources=sources,
            mitigation=MitigationParams(matching=weight, sampling="source"),
            n_epochs=8,
            batch_size=24,
            learning_rate=1e-2,
            augmentation=None,
        )
        classifier = load_checkpoint(result.checkpoint).classifier
        with catch_features(classifier.module) as caught:
            predict_probabilities(classifier, val_marked)
        told[weight] = float(
            compute_source_dependence(
                caught[0], torch.from_numpy(VAL[1]), torch.arange(len(val_marked)) % 2
            )
        )

    assert told[3.0] < told[0.0] - 0.1


def test_class_weights_and_group_dro_are_refused_together():
    with pytest.raises(InputContractError, match="group_dro weighs the groups itself; leave one"):
        TrainingParams(class_weights={"a": 2.0}, mitigation=MitigationParams(objective="group_dro"))
