"""What every public source hands to ingest, and the label mapping that COVIDx uses.

The rules follow the published notebook that builds COVIDx version 8 [wang2020covidnet].
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from covid_debug.errors import DataIntegrityError

_PNEUMONIA_FINDINGS = (
    "SARS",
    "MERS",
    "Streptococcus",
    "Klebsiella",
    "Chlamydophila",
    "Legionella",
    "E.Coli",
    "Lung Opacity",
    "1",
)
_LABEL_OF_FINDING = {
    "COVID-19": "COVID-19",
    "Normal": "normal",
    **dict.fromkeys(_PNEUMONIA_FINDINGS, "pneumonia"),
}


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One image that a source lists.

    Attributes:
        path: Where its file should be.
        patient_id: Patient within the source.
        label: Class name, ``""`` when the image is dropped.
        view: Projection as published, ``""`` where unknown.
        dropped: Why the recipe leaves the image out, ``"<category>: <detail>"``; ``""`` if used.
    """

    path: Path
    patient_id: str
    label: str
    view: str
    dropped: str = ""


def label_record(path: Path, patient_id: str, finding: str, view: str) -> SourceRecord:
    """Return the record of an image whose label follows from its finding.

    The published notebook takes the last part of ``Pneumonia/Viral/COVID-19`` and the first part
    of ``COVID-19, ARDS``; both spellings are understood for every source.
    """
    name = finding.rsplit("/", maxsplit=1)[-1].split(",", maxsplit=1)[0].strip()
    label = _LABEL_OF_FINDING.get(name, "")
    return SourceRecord(path, patient_id, label, view, "" if label else _explain_drop(finding))


def _explain_drop(finding: str) -> str:
    if not finding.strip():
        return "no finding given: the source's table leaves it empty"
    if finding.strip().lower() == "todo":
        return "todo finding: the source has not labelled this image yet"
    return f"finding not used: {finding!r} belongs to none of the three classes"


def read_table(
    folder: Path, name: str, columns: Sequence[str], *, encoding: str = "utf-8-sig"
) -> Iterator[dict[str, str]]:
    """Read a source's table.

    Args:
        folder: Folder of the source.
        name: File name of the table.
        columns: Columns that must be there.
        encoding: Text encoding of the table.

    Yields:
        One mapping a row, values stripped of white space.

    Raises:
        DataIntegrityError: If the folder, the table or a column is missing, or a row is broken.
    """
    path = folder / name
    if not folder.is_dir():
        raise DataIntegrityError(
            f"{folder}: no such folder; expected a source with {name}; check the path"
        )
    try:
        with path.open(encoding=encoding, newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DataIntegrityError(
                    f"{path}: lacks the columns {', '.join(missing)}; expected the table as"
                    " published; download it again"
                )
            for row in reader:
                yield {key: (value or "").strip() for key, value in row.items() if key in columns}
    except FileNotFoundError as error:
        raise DataIntegrityError(
            f"{path}: no such file; expected the source's table; point at the folder that holds it"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read ({error}); expected a table in {encoding}"
        ) from error
