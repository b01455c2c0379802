"""MIMIC-CXR-JPG (Johnson et al. 2019, arXiv:1901.07042): labels, metadata and splits as tables."""

from pathlib import Path
from typing import Final

from covid_debug.data.layouts.base import (
    NO_LABEL,
    Asked,
    FindingLabels,
    Listing,
    iter_numbered,
    need_finding,
    parse_split,
    refuse_columns,
)
from covid_debug.data.layouts.reading import Table, need_published, open_table
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError

_NAMES: Final = ("chexpert", "metadata", "split")
_STEM: Final = "mimic-cxr-2.0.0"
_KEYS: Final = ("subject_id", "study_id")


def list_mimic(asked: Asked) -> Listing:
    """List the films of MIMIC-CXR-JPG for one finding, in the published splits.

    Labels are of studies. A finding that the report does not mention (an empty cell) counts as
    absent, as CheXpert's own labels are used; an uncertain one (-1) is left out, and so is a film
    of which the study has no labels.

    Args:
        asked: ``mimic-cxr-2.0.0-chexpert.csv`` (or ``-negbio``), gzipped or not, or the folder of
            it; metadata and split lie beside it. ``images`` is the folder with ``files/``, by
            default the table's.

    Returns:
        The films, in the order of the metadata.

    Raises:
        DataIntegrityError: If a table is missing or not as published, or the finding is unknown.
    """
    refuse_columns(asked, "mimic")
    beside = asked.table if asked.table.is_dir() else asked.table.parent
    labels_file = _find(beside, "chexpert") if asked.table.is_dir() else asked.table
    table = open_table(labels_file)
    need_published(table, _KEYS)
    finding = need_finding(asked, "mimic", set(table.header) - {*_KEYS, ""})
    labels = FindingLabels(finding, blank_is_absent=True)
    of_study = {}
    for number, (study, cell) in iter_numbered(table.rows(["study_id", finding])):
        of_study[study] = labels.read(cell, f"{table.path}, row {number}")
    split_table = _open(beside, "split", ("dicom_id", "split"))
    splits = {
        film: parse_split(word, f"{split_table.path}, row {number}")
        for number, (film, word) in iter_numbered(split_table.rows(["dicom_id", "split"]))
    }
    folder = (asked.images or beside).absolute()
    folder = folder.parent if folder.name == "files" else folder
    listing = Listing("mimic", class_names=labels.class_names)
    metadata = _open(beside, "metadata", ("dicom_id", *_KEYS, "ViewPosition"))
    for film, patient, study, view in metadata.rows(["dicom_id", *_KEYS, "ViewPosition"]):
        place = f"files/p{patient[:2]}/p{patient}/s{study}/{film}.jpg"
        path = folder / place
        label, reason = of_study.get(study, ("", f"{NO_LABEL}: its study has none"))
        if not reason and film not in splits:
            reason = f"{NO_LABEL}: {split_table.path.name} does not name it"
        if reason:
            listing.leave_out(path, "mimic", reason)
            continue
        listing.films.append(
            ListedFilm(folder, path, f"mimic:{patient}", label, "mimic", view, splits[film])
        )
    return listing


def _open(folder: Path, what: str, columns: tuple[str, ...]) -> Table:
    table = open_table(_find(folder, what))
    need_published(table, columns)
    return table


def _find(folder: Path, what: str) -> Path:
    names = [f"{_STEM}-{what}.csv", f"{_STEM}-{what}.csv.gz"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataIntegrityError(
        f"{folder}: holds no {' or '.join(names)}; expected MIMIC-CXR-JPG's tables side by side;"
        " copy it there, or check --table"
    )
