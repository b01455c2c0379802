"""Folders of results: can files be written there, and is another run at work there?"""

import datetime
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covid_debug.artifacts import remove_partials, try_to_lock
from covid_debug.errors import ArtifactError

_LOCK_NAME = ".run.lock"


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or what exists of the way to it."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place


def find_obstacle(folder: Path) -> str | None:
    """Say why no file could be written in a folder, or None; leaves nothing behind."""
    try:
        with tempfile.TemporaryDirectory(dir=nearest_folder(folder), prefix=".covid-debug-"):
            return None
    except OSError as error:
        return error.strerror or str(error)


def prepare_folders(*folders: Path) -> None:
    """Create folders of artifacts and clear what killed runs left half-written there."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partials(folder)


@contextmanager
def hold_store(store: Path) -> Iterator[None]:
    """Keep other runs out of a folder of artifacts; the system lets go when this process dies.

    Args:
        store: Folder of artifacts; made if it is not there.

    Yields:
        Nothing; the run goes on inside.

    Raises:
        ArtifactError: If another run is at work there, or it can be no folder.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(store / _LOCK_NAME, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise ArtifactError(
            f"{store}: cannot be a folder of results ({error.strerror}); name another"
        ) from error
    try:
        if not try_to_lock(descriptor):
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise ArtifactError(
                f"{store}: another run is at work here ({holder}); wait until it ends, or choose"
                " another folder with --set data_dir=DIR (demo, debug: --out DIR)"
            )
        os.ftruncate(descriptor, 0)
        since = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        os.pwrite(descriptor, f"pid {os.getpid()}, since {since}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
