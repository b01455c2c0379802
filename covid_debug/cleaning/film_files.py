"""Files of films that are being made, beside the artifact that they become part of.

Owns the trust in files on disk: a film whose file does not have the recorded hash is made again.
What is in a film is decided by the callers.
"""

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from covid_debug.artifacts import hash_file
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.imaging.reading import Pixels
from covid_debug.imaging.writing import write_png
from covid_debug.records import UnusableFilm
from covid_debug.shards import NAME, Record

PATH: Final = "path"
DIGEST: Final = "output_sha256"
REASON: Final = "reason"
_FOLDERS: Final = ("train", "test")


def refuse(name: str, reason: str) -> Record:
    """Return the record of a film that cannot be made."""
    return {NAME: name, REASON: reason}


def write_film(path: Path, pixels: Pixels) -> str:
    """Write a film whole or not at all, whoever else writes it at the same time.

    Args:
        path: Its file; the folder is made.
        pixels: ``(H, W)`` uint8 or uint16.

    Returns:
        The SHA-256 of the file.

    Raises:
        ArtifactError: If the file cannot be written, for example on a full disk.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.part")  # never too long a name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(partial, pixels, quick=True)
        digest = hash_file(partial)
        partial.replace(path)
    except (DataIntegrityError, OSError) as error:
        partial.unlink(missing_ok=True)
        what = (
            f"{path}: cannot be written ({error.strerror})" if isinstance(error, OSError) else error
        )
        raise ArtifactError(f"{what}; finished films are kept, start again to go on") from error
    return digest


def is_intact(record: Record, folder: Path) -> bool:
    """Tell whether the file of a finished film is the one that its record names."""
    if REASON in record:
        return True
    path = folder / str(record.get(PATH))
    return path.is_file() and hash_file(path) == record.get(DIGEST)


def publish(records: Iterable[Record], folder: Path, draft: Path) -> None:
    """Bring finished films into a draft; hard links, so that a kill here loses nothing.

    Args:
        records: Of the finished films.
        folder: Where their files lie.
        draft: The artifact that is being written.

    Raises:
        OSError: If the draft cannot be written; :func:`write_artifact` words it.
    """
    for name in _FOLDERS:
        (draft / name).mkdir()
    for record in records:
        source, target = (place / str(record[PATH]) for place in (folder, draft))
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copy2(source, target)


def list_refused(filmset: FilmSet, refusals: Mapping[str, str]) -> list[UnusableFilm]:
    """Return the films of a set that could not be made, in its order."""
    return [
        UnusableFilm(film.path, film.source, refusals[film.image_id])
        for film in filmset.films
        if film.image_id in refusals
    ]
