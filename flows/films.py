"""Which films a command is about: a data set, a folder of images, or single files."""

from collections.abc import Sequence
from pathlib import Path

from covid_debug.artifacts import is_complete
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import InputContractError
from flows.console import RunConsole

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".bmp", ".tif", ".tiff"})


def collect_films(
    images: Sequence[Path], data: Path | None, console: RunConsole
) -> list[tuple[str, Path]]:
    """List the films of a command.

    Args:
        images: Image files or folders of images.
        data: Data set made by covid-debug, or a plain folder of images.
        console: Told how many files of a folder are no images by their name.

    Returns:
        ``(name, file)``: the ``image_id`` for films of a data set, otherwise the path as given.

    Raises:
        InputContractError: If not exactly one of both is given, or a folder holds no image.
    """
    if (data is None) == (not images):
        raise InputContractError("give either --data DIR or image files")
    if data is not None and is_complete(data):
        filmset = load_filmset(data)
        return [(film.image_id, filmset.path_of(film)) for film in filmset.films]
    found: list[Path] = []
    for place in [data] if data is not None else images:
        if not place.is_dir():
            found.append(place)
            continue
        files = sorted(path for path in place.rglob("*") if path.is_file())
        inside = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        if not inside:
            raise InputContractError(f"{place}: holds no image; expected a data set or images")
        if len(inside) < len(files):
            console.say(f"{place}: {len(files) - len(inside)} files are no images by their name")
        found += inside
    return [(str(path), path) for path in found]
