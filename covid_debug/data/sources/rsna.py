"""The RSNA pneumonia detection challenge, in the layout of its DICOM release."""

from pathlib import Path

from covid_debug.data.sources.base import SourceRecord, read_table
from covid_debug.imaging.dicom_files import read_view


def read_rsna(folder: Path) -> list[SourceRecord]:
    """List the images: class ``Normal`` is normal, a target box is pneumonia.

    The third class of the challenge, ``No Lung Opacity / Not Normal``, belongs to neither.

    Args:
        folder: Folder with ``stage_2_detailed_class_info.csv``, ``stage_2_train_labels.csv`` and
            ``stage_2_train_images/<patientId>.dcm``.

    Returns:
        One record a patient, in the order of the class table.
    """
    labels_table = read_table(folder, "stage_2_train_labels.csv", ("patientId", "Target"))
    with_box = {row["patientId"] for row in labels_table if row["Target"] == "1"}
    class_table = read_table(folder, "stage_2_detailed_class_info.csv", ("patientId", "class"))
    class_of = {row["patientId"]: row["class"] for row in class_table}
    images = folder / "stage_2_train_images"
    records = []
    for patient_id, class_name in class_of.items():
        path = images / f"{patient_id}.dcm"
        if patient_id in with_box:
            records.append(SourceRecord(path, patient_id, "pneumonia", read_view(path)))
        elif class_name == "Normal":
            records.append(SourceRecord(path, patient_id, "normal", read_view(path)))
        else:
            dropped = f"finding not used: {class_name!r} is neither normal nor pneumonia"
            records.append(SourceRecord(path, patient_id, "", "", dropped))
    return records
