"""A data set of films on disk: which films, whose, labelled how, in which split.

Owns the files ``films.csv``, ``unusable.csv`` and the split lists of an artifact of kind
``filmset``. Pixels are read by :mod:`covid_debug.imaging` and :mod:`covid_debug.data.views`.
"""

import csv
import dataclasses
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_debug.artifacts import canonical_json, read_manifest, write_text_atomic
from covid_debug.data.covidx import SplitRow, write_split_file
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import FilmFile
from covid_debug.records import SPLITS, Film, Split, UnusableFilm
from covid_debug.shown import from_cell, to_cell

_FILMS_NAME = "films.csv"
_UNUSABLE_NAME = "unusable.csv"
_FILM_COLUMNS = [field.name for field in dataclasses.fields(Film)]
_RECORDED_SINCE_2 = {"sha256", "window_low", "window_high"}
_SHA256 = re.compile("[0-9a-f]{64}")
_UNUSABLE_COLUMNS = [field.name for field in dataclasses.fields(UnusableFilm)]


@dataclass(frozen=True)
class FilmSet:
    """A loaded data set.

    Attributes:
        root: Folder of the artifact; relative film paths start here.
        name: Name of the data set for tables and reports.
        class_names: Ordered class names; a label's index is its place here.
        films: All usable films, in the order of ``films.csv``.
        n_total: Films that were asked for, usable or not.
    """

    root: Path
    name: str
    class_names: tuple[str, ...]
    films: tuple[Film, ...]
    n_total: int

    def select(self, split: Split) -> tuple[Film, ...]:
        """Return the films of one split, in order."""
        return tuple(film for film in self.films if film.split == split)

    def path_of(self, film: Film) -> Path:
        """Return the place of a film's file; absolute when ``root`` is."""
        return self.root / film.path

    def file_of(self, film: Film) -> FilmFile:
        """Return a film's file with its recorded hash and window: the way to read it."""
        return FilmFile(self.path_of(film), film.sha256, (film.window_low, film.window_high))

    def label_index(self, film: Film) -> int:
        """Return the class index of a film's label."""
        return self.class_names.index(film.label)

    @property
    def content_key(self) -> str:
        """Hash of what the data set says (ids, labels, splits), independent of where it lies."""
        rows = [dataclasses.replace(film, path="") for film in self.films]
        blob = canonical_json([self.class_names, [dataclasses.astuple(row) for row in rows]])
        return hashlib.sha256(blob.encode()).hexdigest()[:16]


def load_filmset(folder: str | Path) -> FilmSet:
    """Load a data set made by ingest, phantom or clean.

    Args:
        folder: The artifact.

    Returns:
        The films with checked labels, splits and unique ids; no pixel is read.

    Raises:
        DataIntegrityError: If ``films.csv`` is missing or inconsistent.
    """
    folder = Path(folder)
    facts = read_manifest(folder, kind="filmset")["facts"]
    class_names = tuple(str(name) for name in facts["class_names"])
    rows = _read_rows(folder / _FILMS_NAME)
    if rows and set(_FILM_COLUMNS) - rows[0].keys() == _RECORDED_SINCE_2:
        raise DataIntegrityError(
            f"{folder}: was made by an older version ({_FILMS_NAME} has no"
            f" {', '.join(sorted(_RECORDED_SINCE_2))}); ingest again, and clean again what was made"
            " from it"
        )
    films = tuple(_parse_film(row, folder) for row in rows)
    _check_films(films, class_names, folder / _FILMS_NAME)
    return FilmSet(folder, str(facts["name"]), class_names, films, int(facts["n_total"]))


def load_unusable(folder: Path) -> tuple[UnusableFilm, ...]:
    """Return the films of a data set that could not be used, each with its reason."""
    path = folder / _UNUSABLE_NAME
    if not path.exists():
        return ()
    return tuple(
        UnusableFilm(row["path"], row["source"], row["reason"]) for row in _read_rows(path)
    )


def write_films(folder: Path, films: Iterable[Film]) -> None:
    """Write ``films.csv``."""
    _write_rows(folder / _FILMS_NAME, _FILM_COLUMNS, films)


def write_unusable(
    folder: Path, unusable: Iterable[UnusableFilm], *, name: str = _UNUSABLE_NAME
) -> Path:
    """Write the films that could not be used, with their reasons; return the file."""
    _write_rows(folder / name, _UNUSABLE_COLUMNS, unusable)
    return folder / name


def write_split_lists(folder: Path, films: Sequence[Film]) -> None:
    """Write ``train.txt``, ``val.txt`` and ``test.txt`` in COVIDx's format.

    The source's prefix of the patient id is dropped, since the line names the source; a file name
    with white space, which the format cannot hold, becomes ``<image_id><extension>``.
    """
    for split in SPLITS:
        rows = [_to_split_row(film) for film in films if film.split == split]
        write_split_file(folder / f"{split}.txt", rows)


def _to_split_row(film: Film) -> SplitRow:
    path = Path(film.path)
    suffix = "".join(path.suffix.split())
    name = f"{film.image_id}{suffix}" if re.search(r"\s", path.name) else path.name
    patient_id = film.patient_id.removeprefix(f"{film.source}:")
    return SplitRow(patient_id, name, film.label, film.source)


def _write_rows(path: Path, columns: Sequence[str], records: Iterable[Any]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [to_cell(x) if isinstance(x := getattr(record, column), str) else x for column in columns]
        for record in records
    )
    write_text_atomic(path, text.getvalue())


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [
                {key: from_cell(x) if isinstance(x, str) else x for key, x in row.items()}
                for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read ({error}); expected a table made by covid-debug"
        ) from error


def _parse_film(row: dict[str, str], folder: Path) -> Film:
    try:
        fields: dict[str, Any] = {column: row[column] for column in _FILM_COLUMNS}
        for column in ("width", "height", "window_low", "window_high"):
            fields[column] = int(row[column])
    except (KeyError, TypeError, ValueError) as error:
        raise DataIntegrityError(
            f"{folder / _FILMS_NAME}: row of {row.get('path')!r} is malformed ({error});"
            f" expected columns {', '.join(_FILM_COLUMNS)}"
        ) from error
    if not _SHA256.fullmatch(fields["sha256"]):
        raise DataIntegrityError(
            f"{folder / _FILMS_NAME}: row of {row['path']!r} has sha256 {row['sha256']!r}; expected"
            " 64 hex digits; ingest again"
        )
    return Film(**fields)


def _check_films(films: Sequence[Film], class_names: Sequence[str], where: Path) -> None:
    if not films:
        raise DataIntegrityError(f"{where}: lists no film; expected at least one")
    for film in films:
        if film.label not in class_names:
            raise DataIntegrityError(
                f"{where}: film {film.path!r} has label {film.label!r};"
                f" expected one of {', '.join(class_names)}"
            )
        if film.split not in SPLITS:
            raise DataIntegrityError(
                f"{where}: film {film.path!r} is in split {film.split!r};"
                f" expected one of {', '.join(SPLITS)}"
            )
    repeated = [key for key, count in Counter(film.image_id for film in films).items() if count > 1]
    if repeated:
        raise DataIntegrityError(
            f"{where}: {len(repeated)} image ids appear more than once"
            f" (first: {', '.join(repeated[:5])}); expected one row a film"
        )
