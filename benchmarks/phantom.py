"""Phantom films and a classifier trained on them, for benchmarks without any data at hand.

Owns their size; made once per folder and found again.
"""

from collections.abc import Callable
from pathlib import Path

from covid_debug.artifacts import is_complete
from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.training.params import EpochMetrics, TrainingParams
from flows.training import train_on_filmset

N_TRAIN, N_TEST, IMAGE_SIZE, N_EPOCHS = 300, 90, 112, 8


def make_phantom_model(folder: Path, say: Callable[[str], None]) -> tuple[Path, Path]:
    """Generate phantom films and train a small classifier, unless both are there.

    Args:
        folder: Holds ``phantom/`` and ``checkpoint/``.
        say: Receives progress lines.

    Returns:
        Checkpoint and data set folders.
    """
    data, checkpoint = folder / "phantom", folder / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    if not is_complete(data):
        say(f"generating {N_TRAIN + N_TEST} phantom films")
        generate_phantom(data, n_train=N_TRAIN, n_test=N_TEST, seed=7)
    if not is_complete(checkpoint):

        def tell(metrics: EpochMetrics) -> None:
            say(f"training, epoch {metrics.epoch} of {N_EPOCHS}")

        train_on_filmset(
            load_filmset(data),
            TrainingParams(arch="covidnet", n_epochs=N_EPOCHS),
            ViewSpec(IMAGE_SIZE),
            seed=0,
            cache_dir=folder / "views",
            out=checkpoint,
            inputs={"filmset": data.name},
            device="cpu",
            on_epoch=tell,
        )
    return checkpoint, data
