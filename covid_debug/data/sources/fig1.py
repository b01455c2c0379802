"""The Figure 1 COVID-19 chest radiograph initiative (agchung)."""

import re
from pathlib import Path

from covid_debug.artifacts import is_there
from covid_debug.data.sources.base import SourceRecord, label_record, read_table

_SERIES_LETTER = re.compile(r"(?<=\d)[a-z]$")


def read_fig1(folder: Path) -> list[SourceRecord]:
    """List the images; the table is ISO-8859-1 and names no files.

    ``COVID-00003a`` and ``COVID-00003b`` are two films of one patient. The published recipe takes
    them for two patients; here the letter is dropped from the patient, so that a split cannot part
    them.

    Args:
        folder: The repository, with ``metadata.csv`` and ``images/``.

    Returns:
        One record a row of the table.
    """
    records = []
    columns = ("patientid", "finding", "view")
    for row in read_table(folder, "metadata.csv", columns, encoding="iso-8859-1"):
        stem = folder / "images" / row["patientid"]
        jpeg = stem.with_name(f"{stem.name}.jpg")
        path = jpeg if is_there(jpeg) else stem.with_name(f"{stem.name}.png")
        patient_id = _SERIES_LETTER.sub("", row["patientid"])
        records.append(label_record(path, patient_id, row["finding"], row["view"]))
    return records
