"""The Actualmed COVID-19 chest radiograph initiative (agchung)."""

from pathlib import Path

from covid_debug.data.sources.base import SourceRecord, label_record, read_table


def read_actmed(folder: Path) -> list[SourceRecord]:
    """List the images.

    Args:
        folder: The repository, with ``metadata.csv`` and ``images/``.

    Returns:
        One record a row of the table.
    """
    columns = ("patientid", "finding", "view", "imagename")
    return [
        label_record(
            folder / "images" / row["imagename"], row["patientid"], row["finding"], row["view"]
        )
        for row in read_table(folder, "metadata.csv", columns)
    ]
