"""A table of films under any column names: the layout of people's own data."""

from collections.abc import Mapping
from typing import Final

from covid_debug.data.layouts.base import (
    Asked,
    FindingLabels,
    Listing,
    iter_numbered,
    parse_split,
    place_film,
    refuse_columns,
)
from covid_debug.data.layouts.reading import (
    Table,
    find_columns,
    find_named,
    need_columns,
    open_table,
    show_names,
    to_word,
)
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError, suggest
from covid_debug.shown import to_printable

SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "path": (
        *("path", "filepath", "imagepath", "imgpath", "filename", "imagefilename", "file"),
        *("imagefile", "imagename", "image", "img", "imageindex", "imageid", "imgid"),
        *("dicompath", "dicomfile", "film", "filmpath"),
    ),
    "label": (
        *("label", "class", "classname", "finding", "diagnosis", "target", "category"),
        *("labels", "classes", "findings", "findinglabels", "groundtruth", "dx", "y"),
    ),
    "patient": (
        *("patient", "patientid", "subjectid", "subject", "patientnumber", "patientno", "pid"),
        *("patientname", "patientkey", "caseid", "case", "person", "personid"),
    ),
    "source": (
        *("source", "dataset", "site", "hospital", "institution", "institutionname", "center"),
        *("centre", "origin", "database"),
    ),
    "view": ("view", "viewposition", "projection", "viewpos", "position"),
    "split": ("split", "set", "subset", "partition", "phase"),
}


def list_own_films(asked: Asked) -> Listing:
    """List the films of a table with a row a film.

    Columns are found by their names, in any case. Without a column of patients each film is its
    own patient. A finding is a column of its own: 1 is present, 0 absent; films of which the cell
    is uncertain (-1) or empty are left out, because nothing says what an empty one means.

    Args:
        asked: The table and what to make of it.

    Returns:
        The films.

    Raises:
        DataIntegrityError: If a column is missing or a cell says nothing that can be understood.
    """
    refuse_columns(asked, "table", SYNONYMS)
    table = open_table(asked.table)
    columns = find_columns(table, asked.columns, SYNONYMS)
    labels = None
    if asked.finding is not None:
        columns["label"], labels = choose_finding_column(table, asked.finding)
    need_columns(table, columns, ("path", "label"))
    listing = Listing(table.path.name.partition(".")[0])
    listing.class_names = labels.class_names if labels else None
    for what in ("path", "label") if labels is None else ("path",):
        rivals = [
            name for name in find_named(table.header, SYNONYMS[what]) if name != columns[what]
        ]
        if rivals and what not in asked.columns:
            listing.notes.append(
                f"{table.path}: the {what} is read from column '{columns[what]}', not from"
                f" {show_names(rivals)}; --column {what}=NAME chooses another"
            )
    if "patient" not in columns:
        listing.notes.append(
            f"{table.path}: no column holds patients, so every film is a patient of its own; if"
            " films share patients, name the column with --column patient=NAME"
        )
    images = None if asked.images is None else asked.images.absolute()
    beside = table.path.absolute().parent
    wanted = list(dict.fromkeys(columns.values()))
    at = {what: wanted.index(name) for what, name in columns.items()}
    for number, row in iter_numbered(table.rows(wanted)):
        name, cell = row[at["path"]], row[at["label"]]
        where = f"{table.path}, row {number}"
        if not name:
            raise DataIntegrityError(
                f"{where}: column '{to_printable(columns['path'])}' is empty; expected the path of"
                " a film; fill it in or delete the row"
            )
        folder, path = place_film(images, beside, name)
        source = (row[at["source"]] if "source" in at else "") or listing.name
        label, reason = labels.read(cell, where) if labels else (cell, "")
        if reason:
            listing.leave_out(path, source, reason)
            continue
        if not label:
            raise DataIntegrityError(
                f"{where}: '{to_printable(name)}' has no label, column"
                f" '{to_printable(columns['label'])}' is empty; fill it in or delete the row"
            )
        # A table that was made here says "source:patient" already.
        patient = row[at["patient"]].removeprefix(f"{source}:") if "patient" in at else name
        listing.films.append(
            ListedFilm(
                folder,
                path,
                f"{source}:{patient}",
                label,
                source,
                row[at["view"]] if "view" in at else "",
                parse_split(row[at["split"]], where) if "split" in at else None,
                number,
            )
        )
    return listing


def choose_finding_column(table: Table, finding: str) -> tuple[str, FindingLabels]:
    """Return the column of a finding, and how its cells are read.

    Raises:
        DataIntegrityError: If no column has that name.
    """
    alike = [name for name in table.header if to_word(name) == to_word(finding)]
    if finding in table.header:
        alike = [finding]
    if len(alike) != 1:
        raise DataIntegrityError(
            f"{table.path}: finding '{to_printable(finding)}' is no column"
            f"{suggest(finding, table.header)} (there are: {show_names(table.header)}); name one"
            " with --finding, or leave it out for a column of class names"
        )
    return alike[0], FindingLabels(alike[0], blank_is_absent=False)
