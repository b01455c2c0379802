"""Films in folders named after their classes, as torchvision's ``ImageFolder`` reads them."""

from pathlib import Path
from typing import Final

from covid_debug.artifacts import list_files
from covid_debug.data.layouts.base import Asked, Listing, find_split, refuse_columns
from covid_debug.data.listed import ListedFilm
from covid_debug.data.listing import is_image
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Split

_NOT_OURS: Final = ("__MACOSX",)


def list_folders(asked: Asked) -> Listing:
    """List the films of a folder tree: ``CLASS/...`` or ``train/CLASS/...`` with val and test.

    Every film is its own patient, because folders name none. Hidden folders are passed over.

    Args:
        asked: ``table`` is the folder.

    Returns:
        The films; classes are the folders' names, sorted.

    Raises:
        DataIntegrityError: If it is no folder, or holds none with films.
    """
    refuse_columns(asked, "folders")
    root = asked.images or asked.table
    if not asked.table.is_dir() or not root.is_dir():
        place = root if asked.table.is_dir() else asked.table
        raise DataIntegrityError(
            f"{place}: no such folder; expected one with a folder of films a class; check the path,"
            " or leave --layout out for a table"
        )
    if asked.finding is not None:
        raise DataIntegrityError(
            f"{root}: --finding goes with tables of several labels, and folders are classes;"
            " leave it out"
        )
    listing = Listing(root.absolute().name or "films")
    parts = _list_folders(root)
    splits: list[tuple[Split | None, Path]] = [(None, root)]
    if parts and all(find_split(part.name) for part in parts):
        splits = [(find_split(part.name), part) for part in parts]
    classes = set()
    n_other = 0
    for split, place in splits:
        for folder in _list_folders(place):
            classes.add(folder.name)
            for path in list_files(folder):
                if not is_image(path):
                    n_other += 1
                    continue
                name = path.relative_to(root)
                patient = f"{listing.name}:{name}"
                listing.films.append(
                    ListedFilm(
                        root.absolute(),
                        path.absolute(),
                        patient,
                        folder.name,
                        listing.name,
                        "",
                        split,
                    )
                )
    if not classes:
        raise DataIntegrityError(
            f"{root}: holds no folder; expected a folder of films a class, or these below train,"
            " val and test"
        )
    listing.class_names = tuple(sorted(classes))
    listing.notes.append(f"{root}: folders name no patients, so every film is one of its own")
    if n_other:
        listing.notes.append(f"{root}: {n_other} files are no images")
    return listing


def _list_folders(place: Path) -> list[Path]:
    return sorted(
        path
        for path in place.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in _NOT_OURS
    )
