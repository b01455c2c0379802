"""A tracking store of its own for each test; its tables are made once, which takes seconds."""

import shutil
from pathlib import Path

import pytest

from covid_debug.tracking.mlflow_tracker import MlflowTracker
from covid_debug.tracking.ready_view import READY_VIEW


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database."""
    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    MlflowTracker(f"sqlite:///{path}", "unused", "file:///nowhere")
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))


@pytest.fixture
def tracker(store: Path, tmp_path: Path) -> MlflowTracker:
    return MlflowTracker(
        f"sqlite:///{store}", "demo", (tmp_path / "files").as_uri(), ready_view=READY_VIEW
    )
