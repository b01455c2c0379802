"""Can files be written in a folder that may not be there yet? One answer for every command."""

import tempfile
from pathlib import Path


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
