"""The split files of every published COVIDx version, read and written byte for byte.

A line is ``patientid filename label [source]``. Only the text format lives here; finding the
images belongs to :mod:`covid_debug.data.ingest`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from covid_debug.artifacts import is_there, write_text_atomic
from covid_debug.errors import DataIntegrityError, InputContractError

# Ordered as COVID-Net's class indices.
_CLASS_SETS: tuple[tuple[str, ...], ...] = (
    ("normal", "pneumonia", "COVID-19"),
    ("negative", "positive"),
    ("level2", "level1"),
)
LABELS = frozenset(label for class_names in _CLASS_SETS for label in class_names)
# COVIDx9 spells the source of 199 images "rnsa".
_SOURCE_TYPOS = {"rnsa": "rsna"}
# In small letters: names of Cohen's collection are UUIDs in capitals, in every published list.
_RSNA_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\w+")


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One line of a split file.

    Attributes:
        patient_id: Patient as published; may contain spaces.
        filename: Name of the image below ``train/`` or ``test/``; never contains spaces.
        label: One of the published class names.
        published_source: Source as written, ``""`` where the line has none.
    """

    patient_id: str
    filename: str
    label: str
    published_source: str = ""

    @property
    def source(self) -> str:
        """Source with the published typo mended; RSNA where the line has none but its UUID name."""
        if not self.published_source:
            return "rsna" if _RSNA_NAME.fullmatch(self.filename) else ""
        return _SOURCE_TYPOS.get(self.published_source, self.published_source)


def parse_line(line: str) -> SplitRow:
    """Read one line from the right, because only the patient id may contain spaces.

    Args:
        line: Without its line end.

    Returns:
        The row; :func:`format_row` gives the line back.

    Raises:
        InputContractError: If no label stands where one belongs.
    """
    tokens = line.split(" ")
    has_source = tokens[-1] not in LABELS
    fields = tokens[:-1] if has_source else tokens
    if len(fields) < 3 or fields[-1] not in LABELS or not all(fields[-3:]):
        raise InputContractError(
            f"line {line[:80]!r} is not 'patientid filename label [source]';"
            f" expected a label of {', '.join(sorted(LABELS))}"
        )
    source = tokens[-1] if has_source else ""
    return SplitRow(" ".join(fields[:-2]), fields[-2], fields[-1], source)


def is_split_line(line: str) -> bool:
    """Tell whether a line is one of a split file."""
    try:
        parse_line(line)
    except InputContractError:
        return False
    return True


def format_row(row: SplitRow) -> str:
    """Return one row as a line without its end.

    Raises:
        InputContractError: If a field cannot be told apart from its neighbours again.
    """
    fields = [row.patient_id, row.filename, row.label]
    line = " ".join([*fields, row.published_source] if row.published_source else fields)
    if "\n" in line or "\r" in line or parse_line(line) != row:
        raise InputContractError(
            f"covidx.format_row: {row} cannot be written; file name, label and source must not"
            " contain white space or be empty"
        )
    return line


def is_writable(row: SplitRow) -> bool:
    """Tell whether the format can hold a row."""
    try:
        format_row(row)
    except InputContractError:
        return False
    return True


def parse_split_file(path: Path) -> list[SplitRow]:
    """Read a published or own split file.

    Args:
        path: The text file, UTF-8, one image a line, no header.

    Returns:
        All rows in order, repeated ones included.

    Raises:
        DataIntegrityError: If the file is missing, not text, empty or has a malformed line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors may put a mark before the first id
    except FileNotFoundError as error:
        raise DataIntegrityError(
            f"{path}: no such file; expected a COVIDx split list; check the path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read as UTF-8 text; expected a COVIDx split list"
        ) from error
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.rstrip(" \r\t")
        if not stripped:
            continue
        try:
            rows.append(parse_line(stripped))
        except InputContractError as error:
            raise DataIntegrityError(f"{path}:{number}: {error}") from error
    if not rows:
        raise DataIntegrityError(f"{path}: lists no image; expected one image a line")
    return rows


def check_file_names(path: Path, folder: Path) -> None:
    """Refuse a list whose file names contain spaces, which its format cannot hold.

    Args:
        path: A split file that :func:`parse_split_file` accepts.
        folder: Folder of its images.

    Raises:
        DataIntegrityError: If a listed image is absent, and there with the words before its name.
    """
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate(lines, start=1):
        stripped = line.rstrip(" \r\t")
        if not stripped or is_there(folder / (row := parse_line(stripped)).filename):
            continue
        words = [*row.patient_id.split(" "), row.filename]
        for first in range(1, len(words) - 1):
            name = " ".join(words[first:])
            if is_there(folder / name):
                raise DataIntegrityError(
                    f"{path}:{number}: names the file {name!r}; file names must not contain"
                    " spaces, since spaces part the columns; rename the file here and in its folder"
                )


def write_split_file(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write a split file, whole or not at all."""
    write_text_atomic(path, "".join(f"{format_row(row)}\n" for row in rows))


def select_class_names(labels: Iterable[str], *, where: str) -> tuple[str, ...]:
    """Find the published class set that holds all labels, in COVID-Net's index order.

    Args:
        labels: Labels of a data set.
        where: What they belong to, for the message.

    Returns:
        The ordered class names.

    Raises:
        DataIntegrityError: If the labels mix class sets.
    """
    found = set(labels)
    for class_names in _CLASS_SETS:
        if found <= set(class_names):
            return class_names
    raise DataIntegrityError(
        f"{where}: labels {', '.join(sorted(found))} belong to different class sets;"
        f" expected one of {'; '.join('/'.join(names) for names in _CLASS_SETS)}"
    )
