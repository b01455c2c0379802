"""Which films a command is about: a data set, a folder of images, or single files."""

from collections.abc import Collection, Sequence
from pathlib import Path

from covid_debug.artifacts import is_complete, list_files
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import InputContractError
from covid_debug.imaging.dicom_files import is_dicom
from covid_debug.imaging.reading import FILM_SUFFIXES, FilmFile
from covid_debug.progress import Listener
from covid_debug.shown import to_printable

_DICOM_INDEX = "DICOMDIR"


def collect_films(
    images: Sequence[Path],
    data: Path | None,
    listener: Listener,
    *,
    own_names: Collection[str] = (),
) -> list[tuple[str, Path | FilmFile]]:
    """List the films of a command.

    In a folder, names with the suffix of an image are films, and so is every DICOM file.

    Args:
        images: Image files or folders of images.
        data: Data set made by covid-debug, or a plain folder of images.
        listener: Told how many files of a folder are no images.
        own_names: Files of that name directly in a folder are ours and not counted.

    Returns:
        ``(name, file)``: the ``image_id`` for films of a data set, otherwise the path as given,
        in printable characters.

    Raises:
        InputContractError: If not exactly one of both is given, or a folder holds no image.
    """
    if (data is None) == (not images):
        raise InputContractError("give either --data DIR or image files")
    if data is not None and is_complete(data):
        filmset = load_filmset(data)
        return [(film.image_id, filmset.file_of(film)) for film in filmset.films]
    found: list[Path] = []
    for place in [data] if data is not None else images:
        if not place.is_dir():
            found.append(place)
            continue
        name = to_printable(place)
        ours = {place / own for own in own_names}
        files = [path for path in list_files(place) if path not in ours]
        inside = [path for path in files if is_image(path)]
        if not inside:
            raise InputContractError(f"{name}: holds no image; expected a data set or images")
        if len(inside) < len(files):
            listener.say(f"{name}: {len(files) - len(inside)} files are no images")
        found += inside
    return [(to_printable(path), path) for path in found]


def is_image(path: Path) -> bool:
    """Tell whether a file is a film by its suffix or, for DICOM, by its first bytes."""
    if path.suffix.lower() in FILM_SUFFIXES:
        return True
    return path.is_file() and path.name != _DICOM_INDEX and is_dicom(path)
