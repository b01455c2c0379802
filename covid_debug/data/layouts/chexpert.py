"""CheXpert (Irvin et al. 2019, arXiv:1901.07031) as published: ``train.csv`` or ``valid.csv``."""

from pathlib import PurePosixPath
from typing import Final

from covid_debug.data.layouts.base import (
    Asked,
    FindingLabels,
    Listing,
    iter_numbered,
    need_finding,
    refuse_columns,
)
from covid_debug.data.layouts.reading import need_published, open_table
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError
from covid_debug.shown import to_printable

_FACTS: Final = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_LEAST_PARTS: Final = 3


def list_chexpert(asked: Asked) -> Listing:
    """List the films of one of CheXpert's tables for one finding.

    A finding that the report does not mention (an empty cell) counts as absent; an uncertain one
    (-1) is left out, the paper's U-Ignore. Splits are drawn by patient, because each table is one
    of the published splits; lateral views are listed with view ``LATERAL``.

    Args:
        asked: The table; ``images`` is the folder with ``train/`` and ``valid/``, by default the
            table's.

    Returns:
        The films.

    Raises:
        DataIntegrityError: If the table is not as published or the finding is unknown.
    """
    refuse_columns(asked, "chexpert")
    table = open_table(asked.table)
    need_published(table, ("Path",))
    finding = need_finding(asked, "chexpert", set(table.header) - {*_FACTS, ""})
    labels = FindingLabels(finding, blank_is_absent=True)
    facts = [name for name in ("Frontal/Lateral", "AP/PA") if name in table.header]
    folder = (asked.images or asked.table.parent).absolute()
    listing = Listing("chexpert", class_names=labels.class_names)
    for number, (name, cell, *views) in iter_numbered(table.rows(["Path", finding, *facts])):
        where = f"{table.path}, row {number}"
        parts = PurePosixPath(name).parts
        if parts and parts[0].startswith("CheXpert"):  # the archive's own folder
            parts = parts[1:]
        if len(parts) < _LEAST_PARTS:
            raise DataIntegrityError(
                f"{where}: Path is '{to_printable(name)}'; expected as"
                " CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg; for another table"
                " leave --layout out"
            )
        path = folder.joinpath(*parts)
        label, reason = labels.read(cell, where)
        if reason:
            listing.leave_out(path, "chexpert", reason)
            continue
        said = dict(zip(facts, views, strict=True))
        is_lateral = said.get("Frontal/Lateral") == "Lateral"
        view = "LATERAL" if is_lateral else said.get("AP/PA", "")
        listing.films.append(
            ListedFilm(folder, path, f"chexpert:{parts[1]}", label, "chexpert", view)
        )
    return listing
