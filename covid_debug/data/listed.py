"""A film that a list asks for, before its file is opened: what the list itself may get wrong."""

import os
from dataclasses import dataclass
from pathlib import Path

from covid_debug.records import Split, UnusableFilm
from covid_debug.shown import to_printable


@dataclass(frozen=True, slots=True)
class ListedFilm:
    """A film that the recipe asks for.

    Attributes:
        folder: Absolute folder that its file has to lie in.
        path: Its file.
        patient_id: Patient, ``"<source>:<patient within it>"``.
        label: Class name.
        source: Source name.
        view: Projection, ``""`` where unknown.
        split: Split where a published list names it.
        row: Row of an own table, where the header is the first; None of other lists.
    """

    folder: Path
    path: Path
    patient_id: str
    label: str
    source: str
    view: str
    split: Split | None = None
    row: int | None = None


def find_problem(candidate: ListedFilm) -> str | None:
    """Return what is wrong with what a list says of a film, whatever its file holds."""
    for what in ("patient_id", "source", "view"):
        said: str = getattr(candidate, what)
        if said != to_printable(said):
            return f"its {what} is '{to_printable(said)}', with control characters"
    if str(candidate.path) != to_printable(candidate.path):
        return "its name holds control characters or is not UTF-8"
    if candidate.patient_id == f"{candidate.source}:":
        return "it has no patient"
    path, folder = (os.path.normpath(place) for place in (candidate.path, candidate.folder))
    if not Path(path).is_relative_to(folder):
        return f"it leads out of {folder}"
    return None


def describe_unusable(path: Path, source: str, reason: str) -> UnusableFilm:
    """Return the record of a film that cannot be used, in printable characters."""
    return UnusableFilm(to_printable(path), to_printable(source), to_printable(reason))
