"""What a layout is asked and what it answers; the words for splits and findings."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from covid_debug.artifacts import list_files
from covid_debug.data.layouts.reading import show_names, to_word
from covid_debug.data.listed import ListedFilm, describe_unusable
from covid_debug.errors import DataIntegrityError, suggest
from covid_debug.imaging.reading import FILM_SUFFIXES
from covid_debug.records import Split, UnusableFilm, name_absence
from covid_debug.shown import to_printable

UNCERTAIN: Final = "uncertain label"
NO_LABEL: Final = "no label"
_SPLITS: Final[Mapping[str, Split]] = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}
_PRESENT: Final = frozenset({"1", "true", "yes", "y", "t", "positive", "pos", "present"})
_ABSENT: Final = frozenset({"0", "false", "no", "n", "f", "negative", "neg", "absent"})
_UNSURE: Final = frozenset({"-1", "u", "uncertain"})
BLANK: Final = frozenset({"", "nan", "na", "n/a", "none", "null"})
"""Words, in small letters, for a cell that says nothing."""
_ROOT: Final = Path("/")


@dataclass(frozen=True)
class Asked:
    """Which films are asked for.

    Attributes:
        table: The table, or the folder of the layouts that need none.
        images: Folder of the films; None is the layout's usual place beside the table.
        columns: What a column holds -> its name, where the names do not tell.
        finding: The finding that is asked about where films have several; None for one label.
    """

    table: Path
    images: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    finding: str | None = None


@dataclass
class Listing:
    """What a layout lists; no film is opened.

    Attributes:
        name: Name of the data set.
        films: The films, in the table's order.
        left_out: Rows that ask for no film, each with its reason.
        notes: What the user should know, a line each.
        class_names: Classes that the layout itself names, in order; None: what the labels are.
    """

    name: str
    films: list[ListedFilm] = field(default_factory=list)
    left_out: list[UnusableFilm] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None

    def leave_out(self, path: Path, source: str, reason: str) -> None:
        """Note a film that is not used, and why."""
        self.left_out.append(describe_unusable(path, source, reason))


class FindingLabels:
    """The two classes of one finding, and what the cell of a film says of it."""

    def __init__(self, finding: str, *, blank_is_absent: bool) -> None:
        """Keep the finding.

        Args:
            finding: Its name.
            blank_is_absent: Whether an empty cell says that the finding is not there.
        """
        self.class_names = (name_absence(finding), finding)
        self._finding = finding
        self._blank_is_absent = blank_is_absent

    def read(self, cell: str, where: object) -> tuple[str, str]:
        """Return the class that a cell says, and ``""``; or ``""`` and why there is none.

        Raises:
            DataIntegrityError: If the cell says neither yes nor no.
        """
        word = cell.casefold()
        if re.fullmatch(r"-?[01]\.0*", word):
            word = word.partition(".")[0]
        if word in _PRESENT:
            return self.class_names[1], ""
        if word in _ABSENT or (word in BLANK and self._blank_is_absent):
            return self.class_names[0], ""
        if word in _UNSURE:
            return "", f"{UNCERTAIN}: {self._finding} is uncertain"
        if word in BLANK:
            return "", f"{NO_LABEL}: {self._finding} is left empty"
        raise DataIntegrityError(
            f"{where}: column '{to_printable(self._finding)}' holds '{to_printable(cell)[:60]}';"
            " expected 1, 0, -1 for uncertain, or nothing; for a column of class names leave"
            " --finding out and use --column label=NAME"
        )


def need_finding(asked: Asked, layout: str, known: Collection[str]) -> str:
    """Return the finding, of those that a data set with several labels a film knows.

    Args:
        asked: What is asked for.
        layout: Name of the layout.
        known: The data set's findings.

    Returns:
        The finding as the data set spells it.

    Raises:
        DataIntegrityError: If none is named, or an unknown one.
    """
    names = sorted(known)
    if not asked.finding:
        raise DataIntegrityError(
            f"{asked.table}: films of layout {layout} have several labels, and one label a film is"
            f" supported; name a finding with --finding (in a configuration data.finding), of"
            f" {show_names(names)}"
        )
    return choose_finding(asked.finding, asked.table, names)


def choose_finding(finding: str, table: Path, known: Collection[str]) -> str:
    """Return a finding as the table spells it.

    Raises:
        DataIntegrityError: If it is none of the known ones.
    """
    alike = [name for name in known if to_word(name) == to_word(finding)]
    if finding in known or len(alike) == 1:
        return finding if finding in known else alike[0]
    raise DataIntegrityError(
        f"{table}: has no finding '{to_printable(finding)}'{suggest(finding, known)} (there are:"
        f" {show_names(sorted(known))}); choose one with --finding"
    )


def refuse_columns(asked: Asked, layout: str, known: Collection[str] = ()) -> None:
    """Refuse names of columns that a layout has no use for.

    Raises:
        DataIntegrityError: Naming the first one.
    """
    for what in asked.columns:
        if what not in known:
            expected = f"one of {', '.join(known)}" if known else "none: its columns are published"
            raise DataIntegrityError(
                f"{asked.table}: --column {to_printable(what)}= is unknown to layout {layout}"
                f"{suggest(what, known)}; expected {expected}"
            )


def parse_split(word: str, where: object) -> Split:
    """Return the split that a word names.

    Raises:
        DataIntegrityError: If it names none.
    """
    split = find_split(word)
    if split is None:
        said = f"'{to_printable(word)[:60]}' is unknown" if word.strip() else "is empty"
        raise DataIntegrityError(
            f"{where}: split {said}; expected train, val or test,"
            " also as training, valid, validation, dev; rename it, or leave the column out with"
            " --column split="
        )
    return split


def find_split(word: str) -> Split | None:
    """Return the split that a word names, or None."""
    return _SPLITS.get(to_word(word))


class FileIndex:
    """The files of a folder at any depth, by name; the folder is listed once, at the first need."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        self.folder = folder
        self._places: dict[str, Path | None] = {}
        self._is_listed = False

    def find(self, name: str) -> Path | None:
        """Return the only file of that name, or of that name without its suffix; else None."""
        if not self._is_listed:
            for path in list_files(self.folder):
                self._enter(path.name, path)
                if path.stem != path.name and path.suffix.lower() in FILM_SUFFIXES:
                    self._enter(path.stem, path)
            self._is_listed = True
        return self._places.get(name)

    def is_ambiguous(self, name: str) -> bool:
        """Tell whether several files that were listed have that name."""
        return name in self._places and self._places[name] is None

    def _enter(self, name: str, path: Path) -> None:
        self._places[name] = None if name in self._places else path


def place_film(folder: Path | None, beside: Path, name: str) -> tuple[Path, Path]:
    """Return the folder that a film has to lie in, and its file.

    Args:
        folder: Folder of the images, absolute; then no film may lie elsewhere.
        beside: Folder of the table, absolute, which relative names start from without ``folder``.
        name: As the table says.
    """
    if folder is not None:
        return folder, folder / name
    return _ROOT, beside / name


def iter_numbered(rows: Iterator[tuple[str, ...]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Number the rows of a table as a spreadsheet does, where the header is the first."""
    return enumerate(rows, start=2)
