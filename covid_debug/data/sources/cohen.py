"""The COVID-19 image data collection of Cohen et al. (ieee8023/covid-chestxray-dataset)."""

from pathlib import Path

from covid_debug.data.sources.base import SourceRecord, label_record, read_table

_FRONTAL_VIEWS = ("PA", "AP", "AP Supine", "AP semi erect", "AP erect")


def read_cohen(folder: Path) -> list[SourceRecord]:
    """List the images; only frontal views are used.

    The published recipe also leaves out images that reach COVIDx a second time through the SIRM
    collection (by their address). SIRM is no source here, so they are kept; copies are found by
    content.

    Args:
        folder: The repository, with ``metadata.csv`` and ``images/``.

    Returns:
        One record a row of the table.
    """
    columns = ("patientid", "finding", "view", "filename")
    records = []
    for row in read_table(folder, "metadata.csv", columns):
        path, view = folder / "images" / row["filename"], row["view"]
        if view in _FRONTAL_VIEWS:
            records.append(label_record(path, row["patientid"], row["finding"], view))
        else:
            dropped = f"not frontal: view is {view or 'not given'}"
            records.append(SourceRecord(path, row["patientid"], "", view, dropped))
    return records
