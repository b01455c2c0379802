"""The RSNA pneumonia detection challenge of 2018: ``stage_2_train_labels.csv`` and its films."""

from typing import Final

from covid_debug.data.layouts.base import (
    Asked,
    FindingLabels,
    Listing,
    choose_finding,
    iter_numbered,
    refuse_columns,
)
from covid_debug.data.layouts.reading import need_published, open_table
from covid_debug.data.listed import ListedFilm
from covid_debug.imaging.dicom_files import read_view

_FINDINGS: Final = ("Lung Opacity", "Pneumonia")


def list_rsna(asked: Asked) -> Listing:
    """List the films of the challenge: those with a box, and all others.

    A row is a box; a film has one label, 1 for lung opacities suspicious for pneumonia. The films
    of label 0 are normal ones and ones with other findings, so the class is named after the
    finding's absence. Every film is a patient of its own. Views are those of the headers.

    Args:
        asked: The table; ``images`` is the folder of ``<patientId>.dcm``, by default
            ``stage_2_train_images`` beside the table. ``finding`` names the class of label 1,
            ``Lung Opacity`` by default, or ``Pneumonia``.

    Returns:
        The films.

    Raises:
        DataIntegrityError: If the table is not as published or the finding is another one.
    """
    refuse_columns(asked, "rsna")
    table = open_table(asked.table)
    need_published(table, ("patientId", "Target"))
    finding = choose_finding(asked.finding or _FINDINGS[0], asked.table, _FINDINGS)
    labels = FindingLabels(finding, blank_is_absent=False)
    folder = (asked.images or asked.table.parent / "stage_2_train_images").absolute()
    listing = Listing("rsna", class_names=labels.class_names)
    target: dict[str, tuple[str, str]] = {}
    for number, (name, cell) in iter_numbered(table.rows(["patientId", "Target"])):
        said = labels.read(cell, f"{table.path}, row {number}")
        if said[0] != labels.class_names[0] or name not in target:
            target[name] = said
    for name, (label, reason) in target.items():
        path = folder / f"{name}.dcm"
        if reason:
            listing.leave_out(path, "rsna", reason)
            continue
        listing.films.append(
            ListedFilm(folder, path, f"rsna:{name}", label, "rsna", read_view(path))
        )
    return listing
