"""Tables of strangers: CSV as any program writes it, gzipped or not, and Parquet.

Owns the form of a table and how its columns are found. What the cells mean is the matter of the
layouts.
"""

import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from covid_debug.data.covidx import is_split_line
from covid_debug.errors import DataIntegrityError, suggest
from covid_debug.optional import require
from covid_debug.shown import to_printable

_SEPARATORS: Final = (",", ";", "\t")
_PARQUET, _GZIP, _ZIP = b"PAR1", b"\x1f\x8b", b"PK\x03\x04"
_N_SHOWN: Final = 20
_N_ROWS: Final = 1 << 16  # of Parquet at once


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first line was read.

    Attributes:
        path: Its file.
        header: Names of its columns, without white space around them.
        separator: Between the cells of a CSV file; ``""`` for Parquet.
    """

    path: Path
    header: tuple[str, ...]
    separator: str

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Read the table row by row.

        Args:
            columns: Names out of ``header``.

        Yields:
            Their cells, without white space around them; empty lines are passed over.

        Raises:
            DataIntegrityError: If a row is broken, or a name stands twice in the header.
        """
        for name in columns:
            if self.header.count(name) > 1:
                raise DataIntegrityError(
                    f"{self.path}: has {self.header.count(name)} columns named"
                    f" '{to_printable(name)}'; expected one; rename the others"
                )
        places = [self.header.index(name) for name in columns]
        reader = self._parquet_rows(places) if not self.separator else self._csv_rows(places)
        yield from reader

    def _csv_rows(self, places: Sequence[int]) -> Iterator[tuple[str, ...]]:
        n_cells = len(self.header)
        with _open_text(self.path) as stream:
            reader = csv.reader(stream, delimiter=self.separator, strict=True)
            next(reader, None)
            for row in reader:
                if len(row) != n_cells:
                    if not any(cell.strip() for cell in row):
                        continue
                    if len(row) < n_cells or any(cell.strip() for cell in row[n_cells:]):
                        raise DataIntegrityError(
                            f"{self.path}:{reader.line_num}: {len(row)} cells and the header has"
                            f" {n_cells}; expected as many; a cell that holds {self.separator!r}"
                            " has to stand in double quotes"
                        )
                yield tuple([row[place].strip() for place in places])

    def _parquet_rows(self, places: Sequence[int]) -> Iterator[tuple[str, ...]]:
        columns = [self.header[place] for place in places]
        with _open_parquet(self.path) as file:
            names = [name for name in file.schema_arrow.names if name.strip() in columns]
            for batch in file.iter_batches(batch_size=_N_ROWS, columns=names):
                cells = {
                    name.strip(): [_to_cell(value) for value in batch.column(name).to_pylist()]
                    for name in names
                }
                yield from zip(*(cells[name] for name in columns), strict=True)


def open_table(path: Path) -> Table:
    """Read the header of a table.

    Args:
        path: CSV with commas, semicolons or tabs, in UTF-8, also gzipped; or Parquet.

    Returns:
        The table.

    Raises:
        DataIntegrityError: If it is missing, no such table, or has no header.
        MissingPackageError: If it is Parquet and pyarrow is not installed.
    """
    if path.is_dir():
        raise DataIntegrityError(
            f"{path}: is a folder; expected a CSV or Parquet table; a folder of images in folders"
            " named after their classes is --layout folders"
        )
    start = _read_start(path)
    if start[:4] == _ZIP:
        raise DataIntegrityError(
            f"{path}: is a workbook or an archive; expected a table; save it as CSV in UTF-8"
        )
    if start[:4] == _PARQUET:
        with _open_parquet(path) as file:
            names, separator = list(file.schema_arrow.names), ""
    else:
        names, separator = _read_header(path)
    header = tuple(name.strip() for name in names)
    if not any(header):
        raise DataIntegrityError(f"{path}: is empty; expected a table with a line of column names")
    return Table(path, header, separator)


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4)
    except FileNotFoundError as error:
        raise DataIntegrityError(
            f"{path}: no such file; expected a table of films; check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise DataIntegrityError(f"{path}: cannot be read ({error}); expected a table") from error


def _read_header(path: Path) -> tuple[list[str], str]:
    with _open_text(path) as stream:
        first = stream.readline()
    bare = re.sub(r'"[^"]*"', "", first)
    separator = max(_SEPARATORS, key=bare.count)
    with _open_text(path) as stream:
        names = next(csv.reader(stream, delimiter=separator, strict=True), [])
    return names, separator


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    is_zipped = _read_start(path)[:2] == _GZIP
    opener: Any = gzip.open if is_zipped else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            yield stream
    except UnicodeDecodeError as error:
        raise DataIntegrityError(
            f"{path}: is no text in UTF-8 (byte {error.object[error.start]:#04x}); expected a CSV"
            " or Parquet table; save it as CSV in UTF-8"
        ) from error
    except (OSError, EOFError, csv.Error) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read as CSV ({to_printable(error)}); expected rows with as many"
            " cells as the header; mend the row or save the table again"
        ) from error


@contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    require("pyarrow", purpose=f"{path}: a Parquet table")
    import pyarrow as pa  # noqa: PLC0415  a second to import, and CSV needs it not
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, DataIntegrityError):
            raise
        reason = to_printable(str(error).split("\n", maxsplit=1)[0])
        raise DataIntegrityError(
            f"{path}: cannot be read as Parquet ({reason}); expected a whole file; write it again,"
            " or save the table as CSV"
        ) from error


def _to_cell(value: object) -> str:
    """Return a value of Parquet as it would stand in a CSV file; nothing for null."""
    if value is None or value != value:  # noqa: PLR0124  NaN
        return ""
    if isinstance(value, float) and value.is_integer():  # a column of integers with gaps
        return str(int(value))
    return str(value).strip()


def find_columns(
    table: Table, asked: Mapping[str, str], synonyms: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Find the columns of a table by what they hold.

    Args:
        table: The table.
        asked: What -> column, as the user says; an empty column is "none".
        synonyms: What -> common names in small letters without signs, the likeliest first.

    Returns:
        What -> column, for what was found.

    Raises:
        DataIntegrityError: If an asked column is not there.
    """
    found = {}
    for what, words in synonyms.items():
        if what in asked:
            if asked[what]:
                found[what] = _find_column(table, asked[what], what)
            continue
        taken = find_named(table.header, words)
        if taken:
            found[what] = taken[0]
    return found


def find_named(header: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the columns that have one of some names, in the order of the names.

    Args:
        header: Names of all columns.
        words: Names in small letters without signs.
    """
    by_word: dict[str, str] = {}
    for name in header:
        by_word.setdefault(to_word(name), name)
    return [by_word[word] for word in words if word in by_word]


def _find_column(table: Table, name: str, what: str) -> str:
    if name.strip() in table.header:
        return name.strip()
    alike = [one for one in table.header if to_word(one) == to_word(name)]
    if len(alike) == 1:
        return alike[0]
    raise DataIntegrityError(
        f"{table.path}: has no column '{to_printable(name)}' for the {what}"
        f"{suggest(name, table.header)} (there are: {show_names(table.header)})"
    )


def need_columns(table: Table, found: Mapping[str, str], needed: Sequence[str]) -> None:
    """Refuse a table that lacks columns.

    Raises:
        DataIntegrityError: Naming all of them, what is there, and how to say which it is.
    """
    missing = [what for what in needed if what not in found]
    if missing and len(table.header) == 1 and is_split_line(table.header[0]):
        raise DataIntegrityError(
            f"{table.path}: is a split file of COVIDx; name its layout with --layout covidx (in a"
            " configuration data.layout)"
        )
    if missing:
        findings = "; of columns of findings name one with --finding" if "label" in missing else ""
        options = " ".join(f"--column {what}=NAME" for what in missing)
        keys = ", ".join(f"data.columns.{what}" for what in missing)
        raise DataIntegrityError(
            f"{table.path}: no column is known to hold the {' or the '.join(missing)} (there are:"
            f" {show_names(table.header)}); name it with {options} (in a configuration {keys})"
            f"{findings}"
        )


def need_published(table: Table, columns: Sequence[str]) -> None:
    """Refuse a table that is not the one its data set publishes.

    Raises:
        DataIntegrityError: Naming the columns that are missing.
    """
    missing = [name for name in columns if name not in table.header]
    if missing:
        raise DataIntegrityError(
            f"{table.path}: lacks the columns {', '.join(missing)} (there are:"
            f" {show_names(table.header)}); expected the table as published; for another one"
            " leave --layout out"
        )


def to_word(name: str) -> str:
    """Return a name in small letters, without signs and spaces: ``Patient ID`` -> ``patientid``."""
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def show_names(names: Sequence[str]) -> str:
    """Return the first names, harmless, and how many more there are."""
    shown = ", ".join(to_printable(name)[:60] for name in names[:_N_SHOWN])
    rest = f" and {len(names) - _N_SHOWN} more" if len(names) > _N_SHOWN else ""
    return shown + rest
