"""A DICOM archive and a table of labels, joined by what names a film or an examination."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from covid_debug.artifacts import list_files
from covid_debug.data.layouts.base import (
    NO_LABEL,
    Asked,
    Listing,
    iter_numbered,
    parse_split,
    refuse_columns,
)
from covid_debug.data.layouts.reading import Table, find_columns, need_columns, open_table
from covid_debug.data.layouts.table import SYNONYMS, choose_finding_column
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.dicom_files import FilmHeader, is_dicom, read_header
from covid_debug.records import Split
from covid_debug.shown import to_printable

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "uid": ("sopinstanceuid", "sopuid", "instanceuid", "uid", "imageuid"),
    "accession": ("accessionnumber", "accession", "accessionno"),
    **{what: words for what, words in SYNONYMS.items() if what != "path"},
}


@dataclass(frozen=True, slots=True)
class _Said:
    """What the table says of a film or an examination."""

    label: str
    reason: str
    patient: str
    source: str
    view: str
    split: Split | None


def list_dicom(asked: Asked) -> Listing:
    """List the DICOM films of an archive that a table labels.

    The table names films by SOP Instance UID, or examinations by Accession Number. Patient and view
    are those of the header, and the table's where it has none; a film without either patient is
    one of its own. Films without a row are left out. Cells of a finding are read as those of the
    layout ``table``: uncertain and empty ones are left out.

    Args:
        asked: ``images`` is the archive.

    Returns:
        The films, in the order of their paths.

    Raises:
        DataIntegrityError: If there is no archive, no film that the table names, or a row is wrong.
    """
    refuse_columns(asked, "dicom", _COLUMNS)
    if asked.images is None or not asked.images.is_dir():
        place = "no folder is given" if asked.images is None else f"{asked.images}: no such folder"
        raise DataIntegrityError(
            f"{asked.table}: {place}; expected the archive of the films with --images DIR (in a"
            " configuration data.images)"
        )
    table = open_table(asked.table)
    columns = find_columns(table, asked.columns, _COLUMNS)
    listing = Listing(asked.images.absolute().name or "archive")
    said, key = _read_labels(table, columns, asked, listing)
    archive = asked.images.absolute()
    files = [path for path in list_files(archive) if is_dicom(path) and path.name != "DICOMDIR"]
    used = set()
    n_own = 0
    for path in files:
        header = read_header(path)
        name = header.uid if key == "uid" else header.accession
        row = said.get(name)
        source = (row.source if row else "") or listing.name
        if row is None or row.reason:
            listing.leave_out(
                path, source, row.reason if row else f"{NO_LABEL}: the table has no row for it"
            )
            used |= {name} if row else set()
            continue
        used.add(name)
        patient = header.patient or row.patient
        if not patient:
            patient, n_own = str(path.relative_to(archive)), n_own + 1
        listing.films.append(_to_film(path, archive, patient, source, row, header))
    _check_join(listing, table, columns[key], len(files), len(said) - len(used))
    if n_own:
        listing.notes.append(f"{archive}: {n_own} films name no patient, so each is one of its own")
    return listing


def _to_film(
    path: Path, archive: Path, patient: str, source: str, row: _Said, header: FilmHeader
) -> ListedFilm:
    view = header.view or row.view
    return ListedFilm(archive, path, f"{source}:{patient}", row.label, source, view, row.split)


def _read_labels(
    table: Table, columns: dict[str, str], asked: Asked, listing: Listing
) -> tuple[dict[str, _Said], str]:
    """Return what is said of every key, and which column is the key."""
    labels = None
    if asked.finding is not None:
        columns["label"], labels = choose_finding_column(table, asked.finding)
        listing.class_names = labels.class_names
    key = "uid" if "uid" in columns or "accession" not in columns else "accession"
    need_columns(table, columns, (key, "label"))
    wanted = list(dict.fromkeys(columns.values()))
    at = {what: wanted.index(name) for what, name in columns.items()}
    said: dict[str, _Said] = {}
    for number, row in iter_numbered(table.rows(wanted)):
        where = f"{table.path}, row {number}"
        name, cell = row[at[key]], row[at["label"]]
        label, reason = labels.read(cell, where) if labels else (cell, "")
        if not name or not (label or reason):
            empty = columns["label"] if name else columns[key]
            raise DataIntegrityError(
                f"{where}: column '{to_printable(empty)}' is empty; expected what names the film"
                " and its label; fill it in or delete the row"
            )
        one = _Said(
            label,
            reason,
            row[at["patient"]] if "patient" in at else "",
            row[at["source"]] if "source" in at else "",
            row[at["view"]] if "view" in at else "",
            parse_split(row[at["split"]], where) if "split" in at else None,
        )
        before = said.setdefault(name, one)
        if (before.label, before.reason, before.split) != (label, reason, one.split):
            raise DataIntegrityError(
                f"{where}: '{to_printable(name)}' has label '{to_printable(label)}', and"
                f" '{to_printable(before.label)}' or another split in a row before; expected one"
                " label for each; correct the table"
            )
    return said, key


def _check_join(listing: Listing, table: Table, column: str, n_files: int, n_unused: int) -> None:
    if not n_files:
        raise DataIntegrityError(
            f"{listing.name}: holds no DICOM film; expected an archive; check --images"
        )
    if not listing.films and len(listing.left_out) == n_files and n_unused:
        raise DataIntegrityError(
            f"{table.path}: column '{to_printable(column)}' names none of the {n_files} DICOM films"
            f" of {listing.name}; expected SOP Instance UIDs (--column uid=NAME) or Accession"
            " Numbers (--column accession=NAME)"
        )
    if n_unused:
        listing.notes.append(f"{table.path}: {n_unused} rows name no film of {listing.name}")
