"""From films of people's own, as a table or in a known layout, to a data set that can be trusted.

Owns what every layout has to fulfil: labels that can be classes, files that are there, one label a
file, splits. How a layout is read is in :mod:`covid_debug.data.layouts`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from covid_debug.artifacts import check_absent, is_there
from covid_debug.data.admission import (
    admit,
    check_classes,
    check_presence,
    find_absent,
    refuse_failures,
    split_by_patient,
    split_off_validation,
    write_filmset,
)
from covid_debug.data.filmset import FilmSet
from covid_debug.data.layouts.base import BLANK, Asked, FileIndex, Listing
from covid_debug.data.layouts.catalog import LAYOUTS
from covid_debug.data.layouts.reading import show_names
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError, suggest
from covid_debug.records import Film
from covid_debug.shown import to_printable
from covid_debug.stages import Means

SplitRule = Literal["patients", "test", "marked"]

_MAX_CLASSES: Final = 100
_MAX_NAME: Final = 100
_RESERVED: Final = "all"  # what tables of metrics call all classes together


class StrangeLabelError(DataIntegrityError):
    """A film has a label that is none of the classes asked for."""


def list_table(
    asked: Asked,
    *,
    layout: str = "table",
    class_names: Sequence[str] | None = None,
    split: SplitRule = "patients",
) -> Listing:
    """List the films of a table or layout and check what can be checked without opening one.

    Args:
        asked: Table, folder, columns and finding.
        layout: Name in :data:`covid_debug.data.layouts.catalog.LAYOUTS`.
        class_names: Classes in index order, the positive one last; None sorts them.
        split: ``"test"`` makes every film a test film; ``"marked"`` those that the table marks so,
            or every film where it marks none; ``"patients"`` takes the splits of the table, where
            it has them.

    Returns:
        The films with their classes. Where the table has splits every film has one, and where it
        lacks the one for testing its validation films take that part.

    Raises:
        CatalogError: If the layout is unknown.
        StrangeLabelError: If a label is none of ``class_names``.
        DataIntegrityError: If the table, a column, a label or a class is missing or wrong.
    """
    read = LAYOUTS[layout]
    if asked.images is not None and not asked.images.is_dir():
        raise DataIntegrityError(
            f"{asked.images}: no such folder; expected the folder of the films; check --images (in"
            " a configuration data.images)"
        )
    listing = read(asked)
    listing.name = to_printable(listing.name)
    if not listing.films:
        n_left = f" but {len(listing.left_out)} that are left out" if listing.left_out else ""
        reason = f" (first: {listing.left_out[0].reason})" if listing.left_out else ""
        raise DataIntegrityError(
            f"{asked.table}: lists no film{n_left}{reason}; expected some with a label; check the"
            " table"
        )
    listing.class_names = _choose_classes(asked, listing, class_names, split)
    _check_repeats(asked.table, listing)
    _choose_splits(asked.table, listing, split)
    return listing


def ingest_table(
    asked: Asked,
    out: Path,
    *,
    layout: str = "table",
    class_names: Sequence[str] | None = None,
    split: SplitRule = "patients",
    seed: int = 0,
    val_share: float = 0.1,
    test_share: float = 0.2,
    means: Means | None = None,
) -> FilmSet:
    """Make a data set of films of people's own, where they lie, and audit it.

    Args:
        asked: Table, folder, columns and finding.
        out: Folder of the new data set; must not exist.
        layout: See :func:`list_table`.
        class_names: See :func:`list_table`.
        split: See :func:`list_table`.
        seed: Run seed of the splits that the table does not have.
        val_share: Share of films for validation, per class, where the table has no such split.
        test_share: Share of films for test, per class, where the table has no splits.
        means: How it is carried out; None reads in this process.

    Returns:
        The loaded data set.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        CatalogError: If the layout is unknown.
        DataIntegrityError: As :func:`list_table`; or if too many films are absent or cannot be
            used, or a class is empty or has too few patients.
    """
    check_absent(out)
    means = means or Means(n_workers=1)
    listing = list_table(asked, layout=layout, class_names=class_names, split=split)
    names = listing.class_names or ()
    absent = locate_films(asked, listing)
    listing.notes += _tell_repeats(asked.table, listing.films)
    for note in listing.notes:
        means.listener.say(note)
    if absent:
        remedy = "complete the folder, or name the folder of the films with --images (data.images)"
        share = means.max_failed_share
        check_presence(listing.films, absent, asked.table, share, out, remedy=remedy)
    _check_patients(asked.table, listing)
    parameters = {
        "table": str(asked.table),
        "layout": layout,
        "images": None if asked.images is None else str(asked.images),
        "columns": dict(asked.columns),
        "finding": asked.finding,
        "class_names": names,
        "split": split,
        "seed": seed,
        "val_share": val_share,
        "test_share": test_share,
    }
    admission = admit(listing.films, listing.left_out, out, means)
    where = f"{asked.table}"
    refuse_failures(admission, where, means.max_failed_share, out)
    films: Sequence[Film] = admission.films
    splits = {film.split for film in listing.films}
    if "train" in splits or None in splits:
        check_classes(admission, names, where)
    if None in splits:
        drawn = split_by_patient(admission, seed=seed, val_share=val_share, test_share=test_share)
        films = [replace(film, split=one) for film, one in zip(films, drawn, strict=True)]
    elif "train" in splits and "val" not in splits:
        films = split_off_validation(admission, seed=seed, val_share=val_share)
    return write_filmset(out, films, admission, names, name=listing.name, parameters=parameters)


def locate_films(asked: Asked, listing: Listing) -> list[Path]:
    """Look for the listed files; for absent ones where else they are meant.

    A path of Windows is turned, and a name without a folder is looked for at any depth of
    ``asked.images``.

    Args:
        asked: What was asked for.
        listing: What was listed; films that are found elsewhere get that place, and a note names
            those of which there are several.

    Returns:
        The files that are absent, sorted.

    Raises:
        DataIntegrityError: If a film turns out to be listed with two labels.
    """
    absent = find_absent(listing.films)
    if not absent:
        return absent
    folder = None if asked.images is None else asked.images.absolute()
    index = None if folder is None else FileIndex(folder)
    found, ambiguous = {}, []
    for path in absent:
        turned = Path(str(path).replace("\\", "/"))
        if turned != path and is_there(turned):
            found[path] = turned
        elif index is not None and path.parent == folder:
            if place := index.find(path.name):
                found[path] = place
            elif index.is_ambiguous(path.name):
                ambiguous.append(path.name)
    if ambiguous:
        listing.notes.append(
            f"{asked.table}: {len(ambiguous)} names stand in several folders of {folder} (first:"
            f" {to_printable(ambiguous[0])}); write their paths from {folder} into the table"
        )
    if found:
        listing.films = [
            replace(film, path=found[film.path]) if film.path in found else film
            for film in listing.films
        ]
        _check_repeats(asked.table, listing)
    return [path for path in absent if path not in found]


def _choose_classes(
    asked: Asked, listing: Listing, wanted: Sequence[str] | None, split: SplitRule
) -> tuple[str, ...]:
    where = asked.table
    counts = Counter(film.label for film in listing.films)
    found = listing.class_names or tuple(sorted(counts))
    _check_names(where, found if wanted is None else wanted)
    _check_names(where, found)
    if wanted is None and asked.finding is None:
        _refuse_missing(where, counts)
    if wanted is not None:
        strange = [name for name in counts if name not in wanted]
        if strange:
            n = counts[strange[0]]
            raise StrangeLabelError(
                f"{where}: {n} film{' has' if n == 1 else 's have'} label '{strange[0]}', which is"
                f" none of the classes {_quote(wanted)}{suggest(strange[0], wanted)} (labels:"
                f" {_quote(sorted(counts))})"
            )
        found = tuple(wanted)
    empty = [name for name in found if not counts[name]]
    if empty and (wanted is None or split == "patients"):
        have = ", ".join(f"{name} {counts[name]}" for name in found)
        raise DataIntegrityError(
            f"{where}: class {', '.join(map(repr, empty))} has no film ({have}); expected films of"
            " every class; add some, or leave the class out"
        )
    if len(found) < 2:
        raise DataIntegrityError(
            f"{where}: all films have label '{found[0]}'; expected two classes or more; check the"
            " column of the labels (--column label=NAME), or name all classes with --class-names"
        )
    if wanted is None and asked.finding is None:
        listing.notes.append(
            f"{where}: classes {_quote(found)}; the last one counts as positive;"
            " --class-names orders them otherwise"
        )
    return found


def _refuse_missing(where: Path, counts: Mapping[str, int]) -> None:
    """Refuse labels that are likely no classes: missing values, and one number in two spellings."""
    for name, n in counts.items():
        if name.casefold() in BLANK:
            raise DataIntegrityError(
                f"{where}: {_count_films(n)} labelled '{name}', which is likely a missing value;"
                " fill in the labels or delete the rows, or, if it is a class, name all classes"
                " (--class-names)"
            )
    numbers: dict[float, str] = {}
    for name in counts:
        with suppress(ValueError):
            if (other := numbers.setdefault(float(name), name)) != name:
                said = f"labels '{other}' and '{name}' are the same number; write them alike"
                raise DataIntegrityError(f"{where}: {said}")
    if set(numbers) == {-1, 0, 1} and len(counts) == 3:
        raise DataIntegrityError(
            f"{where}: labels are {_quote([numbers[-1], numbers[0], numbers[1]])}, as of a finding"
            f" that is uncertain on {counts[numbers[-1]]} films; name its column with --finding,"
            " which leaves these out, or, if they are classes, name all of them with --class-names"
        )


def _check_patients(where: Path, listing: Listing) -> None:
    """Refuse before any film is read what could not be split by patient."""
    splits = {film.split for film in listing.films}
    if None not in splits and ("train" not in splits or "val" in splits):
        return
    drawn = "training, validation and test" if None in splits else "training and validation"
    n_needed = 3 if None in splits else 2
    patients: dict[str, set[str]] = {name: set() for name in listing.class_names or ()}
    for film in listing.films:
        if film.split in {None, "train"}:
            patients[film.label].add(film.patient_id)
    for name, found in patients.items():
        if len(found) < n_needed:
            raise DataIntegrityError(
                f"{where}: class '{name}' has films of {len(found)} patients to draw {drawn} from;"
                f" expected at least {n_needed}; add films of this class, delete its rows, give a"
                " column of splits, or make all films test films with --all-test"
            )


def _quote(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _check_names(where: Path, names: Sequence[str]) -> None:
    if len(names) > _MAX_CLASSES:
        raise DataIntegrityError(
            f"{where}: has {len(names)} different labels (first: {show_names(names[:5])}); expected"
            f" at most {_MAX_CLASSES} classes; check which column holds them (--column label=NAME);"
            " of films with several labels name one with --finding"
        )
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataIntegrityError(f"{where}: class '{to_printable(twice)}' is given twice")
    alike: dict[str, str] = {}
    for name in names:
        shown = to_printable(name)
        if shown != name or not name.strip() or len(name) > _MAX_NAME or name == _RESERVED:
            raise DataIntegrityError(
                f"{where}: label '{shown[:_MAX_NAME]}' cannot be a class; expected at most"
                f" {_MAX_NAME} printable characters, and not '{_RESERVED}', which tables call all"
                " classes together; rename it"
            )
        other = alike.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            raise DataIntegrityError(
                f"{where}: labels '{other}' and '{name}' differ in capitals or spaces only;"
                " expected one spelling a class; write them alike"
            )


def _list_repeats(films: Sequence[ListedFilm]) -> list[tuple[ListedFilm, ListedFilm]]:
    """Return the first listing of a file, and each that repeats it."""
    first: dict[Path, ListedFilm] = {}
    return [
        (before, film)
        for film in films
        if (before := first.setdefault(Path(os.path.normpath(film.path)), film)) is not film
    ]


def _check_repeats(where: Path, listing: Listing) -> None:
    """Refuse a file that is listed with two labels."""
    twice = [pair for pair in _list_repeats(listing.films) if pair[0].label != pair[1].label]
    if twice:
        before, again = twice[0]
        raise DataIntegrityError(
            f"{where}: {_count_films(len(twice))} listed again with another label (first:"
            f" {to_printable(before.path)} as '{before.label}' and '{again.label}'"
            f"{_name_rows(before, again)}); expected one label a film; correct the table, or name"
            " one finding with --finding"
        )


def _tell_repeats(where: Path, films: Sequence[ListedFilm]) -> list[str]:
    """Say which files are listed again with the same label; each counts once."""
    twice = _list_repeats(films)
    if not twice:
        return []
    before, again = twice[0]
    return [
        f"{where}: {_count_films(len(twice))} listed again with the same label (first:"
        f" {to_printable(before.path)}{_name_rows(before, again)}); each counts once, as it is"
        " listed first"
    ]


def _count_films(n: int) -> str:
    return "1 film is" if n == 1 else f"{n} films are"


def _name_rows(before: ListedFilm, again: ListedFilm) -> str:
    return "" if again.row is None else f", rows {before.row} and {again.row}"


def _choose_splits(where: Path, listing: Listing, split: SplitRule) -> None:
    if split != "patients":
        others = Counter(film.split for film in listing.films if film.split != "test")
        if split == "marked" and others.total() < len(listing.films):
            listing.films = [film for film in listing.films if film.split == "test"]
            said = "left out, as others are marked test"
        else:
            said = "test films here; a model's own training films say little about it"
        named = [(name, n) for name, n in others.items() if name]
        listing.notes += [f"{where}: {n} films marked {name} are {said}" for name, n in named]
        listing.films = [replace(film, split="test") for film in listing.films]
        return
    there = Counter(film.split for film in listing.films)
    if there["train"] == len(listing.films):
        listing.films = [replace(film, split=None) for film in listing.films]
        listing.notes.append(f"{where}: all films are of split train; splits are drawn by patient")
    elif there["val"] and not there["test"]:
        listing.films = [
            replace(film, split="test") if film.split == "val" else film for film in listing.films
        ]
        validation = (
            "; films for validation are drawn from the training patients" if there["train"] else ""
        )
        listing.notes.append(
            f"{where}: has no test film, so its validation films are the test films{validation}"
        )
