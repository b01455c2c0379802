"""Fixtures shared by the whole suite."""

import os
import signal
from pathlib import Path

os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import cv2
import numpy as np
import pytest
from jaxtyping import install_import_hook

# A gate that a shell started in the background inherits an ignored Ctrl-C; tests send one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Shape annotations are checked at run time in tests only. Importing under the hook is enough.
_HOOK = install_import_hook(
    [
        "covid_debug.models",
        "covid_debug.perturbation",
        "covid_debug.saliency",
        "covid_debug.evaluation",
    ],
    "beartype.beartype",
)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Leave both cores to the test processes instead of to one process' threads."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real radiographs and official split lists, or skip with the reason."""
    folder = Path(os.environ.get("COVID_DEBUG_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no radiographs at {folder}; set COVID_DEBUG_SHARED_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def word_film():
    """A dark gradient film ``(300, 400)`` with the word PORTABLE at about (120-290, 40-70)."""
    film = np.tile(np.linspace(20, 90, 400).astype(np.uint8), (300, 1))
    return cv2.putText(film, "PORTABLE", (120, 66), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 3)
