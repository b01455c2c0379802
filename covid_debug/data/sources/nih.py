"""A labelled subset of NIH ChestX-ray14, the origin of the RSNA challenge's films."""

import dataclasses
from pathlib import Path

from covid_debug.data.sources.base import SourceRecord, label_record, read_table


def read_nih(folder: Path) -> list[SourceRecord]:
    """List the images; findings are ``Normal`` and ``Pneumonia``.

    Args:
        folder: Folder with ``labels.csv`` (patientid, filename, finding) and ``images/``.

    Returns:
        One record a row of the table.
    """
    records = []
    for row in read_table(folder, "labels.csv", ("patientid", "filename", "finding")):
        record = label_record(
            folder / "images" / row["filename"], row["patientid"], row["finding"], ""
        )
        if row["finding"] == "Pneumonia":  # unspecific in Cohen's table, the class itself here
            record = dataclasses.replace(record, label="pneumonia", dropped="")
        records.append(record)
    return records
