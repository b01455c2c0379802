"""A training that two processes of the CPU share is that of one process."""

import json
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import ConfigError, DataIntegrityError, InputContractError, TrainingError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.stages import Means
from covid_debug.training import stage
from covid_debug.training.checks import check_devices
from covid_debug.training.loop import TrainingResult, train_classifier
from covid_debug.training.mitigation import MitigationParams
from covid_debug.training.params import EpochMetrics, TrainingParams
from covid_debug.training.ranks import run_ranks
from covid_debug.training.stage import TrainRequest

TINY = {"arch_params": {"stem_width": 4, "widths": (8, 8), "depths": (1, 1)}, "n_epochs": 3}
RECIPES = {
    "class_weights": {"class_weights": {"a": 0.3, "c": 9.0}},
    "group_dro": {"mitigation": MitigationParams(objective="group_dro", dro_step=0.5)},
    "matching": {"mitigation": MitigationParams(matching=10.0, sampling="source")},
    "right_reasons": {"mitigation": MitigationParams(right_reasons=100.0, random_text=0.5)},
}
ROUNDING = 1e-5
"""Largest relative difference of losses that is left to the order of float32 sums.

Ten times the largest of 20 trainings of each recipe in one process that had the films of every
batch in another order (1.0e-6 in train, 2e-8 in val losses; float32 rounds by 6e-8). Weights may
differ by more: there are directions in which no loss changes, and Adam divides a gradient by its
size, so that one that is all rounding moves a weight, too.
"""


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    views = rng.integers(60, 140, (n, 16, 16)).astype(np.uint8)
    views[np.arange(n), 2:8, 5 * labels] += 60
    return views, labels


def learn(folder: Path, tell: object) -> TrainingResult:
    """Train every recipe: 25 films in batches of 8, 15 to validate, so that no share is even."""
    torch.set_num_threads(1)
    films, checked = draw(25, 0), draw(15, 1)
    text_free = films[0].copy()
    text_free[:, 10:14, 2:12] = 100
    for name, changes in RECIPES.items():
        params = TrainingParams(**TINY, batch_size=8, **changes)
        result = train_classifier(
            *films,
            *checked,
            ("a", "b", "c"),
            params,
            seed=0,
            view=ViewSpec(16),
            out=folder / name,
            train_sources=["x", "y", "y", "x", "x"] * 5,
            val_sources=["x", "y", "y"] * 5,
            train_text_free=text_free if params.mitigation.needs_text_free else None,
        )
    return result


def read_losses(folder: Path) -> np.ndarray:
    lines = json.loads((folder / "history.json").read_text())
    return np.array([[line["train_loss"], line["val_loss"]] for line in lines])


EPOCH = EpochMetrics(1, 1, *[0.5] * 5, films_per_s=1.0, seconds_left=0.0)


def ignore(_: object) -> None:
    """Take the metrics of an epoch."""


def test_two_processes_minimise_what_one_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    learn(one, None)
    run_ranks(partial(learn, two), 2, "cpu", ignore)

    for name in RECIPES:
        np.testing.assert_allclose(read_losses(two / name), read_losses(one / name), rtol=ROUNDING)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "films"
    generate_phantom(folder, n_train=24, n_test=6, seed=0)
    return folder


def make_means(folder: Path, n_devices: int) -> Means:
    return Means(cache_dir=folder / "views", n_workers=1, n_devices=n_devices)


def test_phantoms_have_the_same_curve_on_two_devices(films: Path, tmp_path: Path) -> None:
    epochs, places = [], set()

    def look(metrics: object) -> None:
        epochs.append(metrics.epoch)
        for rank in multiprocessing.active_children():
            for found in psutil.Process(rank.pid).net_connections("inet"):
                places.add((found.laddr.ip.removeprefix("::ffff:"), found.status))

    request = TrainRequest(films, TrainingParams(**TINY, batch_size=8), ViewSpec(32), 0, look)
    request.make(tmp_path / "one", make_means(tmp_path, 1))
    places.clear()
    request.make(tmp_path / "two", make_means(tmp_path, 2))

    one, two = (read_losses(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=ROUNDING)
    assert epochs == [1, 2, 3] * 2
    assert {ip for ip, _ in places} == {"127.0.0.1"}
    assert ("127.0.0.1", "LISTEN") in places
    manifest = load_checkpoint(tmp_path / "two").manifest
    assert manifest["inputs"] == {"filmset": "films"}
    assert manifest["facts"]["n_devices"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "views"}
    assert multiprocessing.active_children() == []


# --------------------------------------------------------------------------- faults


def die(_: object) -> None:
    """Die as the system kills for want of memory; the other process waits for this one."""
    if torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.barrier()


def refuse(_: object) -> None:
    if torch.distributed.get_rank() == 1:
        raise DataIntegrityError("a.png: changed") from OSError(5, "away")
    torch.distributed.barrier()


def stumble(_: object) -> None:
    raise ZeroDivisionError("a fault of the program")


def tell_and_wait(tell: object) -> None:
    if tell is not None:
        tell(EPOCH)
    torch.distributed.barrier()
    torch.distributed.recv(torch.zeros(1))  # of nobody


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_a_process_that_dies_ends_the_others_with_one_line() -> None:
    with pytest.raises(TrainingError, match=r"training 2 of 2: .* ended by SIGKILL, probably for"):
        run_ranks(die, 2, "cpu", ignore)

    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_an_error_of_a_process_is_raised_here_with_what_is_behind_it() -> None:
    with pytest.raises(DataIntegrityError, match=r"^a.png: changed$") as caught:
        run_ranks(refuse, 2, "cpu", ignore)

    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 5


@pytest.mark.slow
def test_a_fault_of_the_program_comes_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in stumble.*ZeroDivisionError: a fault of the"):
        run_ranks(stumble, 2, "cpu", ignore)


@pytest.mark.slow
def test_an_interruption_ends_every_process() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_ranks(tell_and_wait, 2, "cpu", interrupt)

    assert multiprocessing.active_children() == []


def test_no_draft_of_the_checkpoint_is_left(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tmp_path / "other.partial-01234567"
    others.mkdir()

    def be_killed(*_: object) -> None:
        (tmp_path / "two.partial-01234567").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "run_ranks", be_killed)
    request = TrainRequest(films, TrainingParams(**TINY), ViewSpec(32), 0)
    with pytest.raises(KeyboardInterrupt):
        request.make(tmp_path / "two", make_means(tmp_path, 2))

    assert {path.name for path in tmp_path.iterdir()} == {"views", others.name}


@pytest.mark.parametrize(
    ("device", "n_devices", "batch_size", "error", "message"),
    [
        ("cpu", 3, 5, InputContractError, "batch_size is 5 and devices is 3; expected at least 2"),
        ("cuda", 2, 32, ConfigError, "device is 'cuda' and torch sees 0 CUDA devices"),
    ],
)
def test_devices_that_cannot_share_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    n_devices: int,
    batch_size: int,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    with pytest.raises(error, match=message):
        check_devices(device, n_devices, batch_size)


@pytest.mark.parametrize(("device", "n_devices"), [("cuda", 3), ("cuda:1", 2)])
def test_more_gpus_than_there_are_are_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, n_devices: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(ConfigError, match=rf"devices is {n_devices} .* at most 2"):
        check_devices(device, n_devices, 32)


def test_torchrun_and_devices_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigError, match="torchrun has started processes already"):
        check_devices("cpu", 2, 32)
