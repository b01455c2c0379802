"""Films of people's own and public data sets in small, as the page about them names the places."""

import csv
from collections.abc import Sequence
from pathlib import Path

from tests.films import draw_film, draw_pixels, write_dicom

N = 18


def write_rows(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Write a table; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def lay_out_own_films(folder: Path, outside: Path) -> None:
    """Write ``films.csv`` with its films, ``labels.csv``, and what lies in ``/data``."""
    rows: list[list[object]] = [["path", "label", "Datei", "Befund", "Pneumonia", "patient"]]
    labels: list[list[object]] = [["SOPInstanceUID", "Label"]]
    nih: list[list[object]] = [["Image Index", "Finding Labels", "Patient ID", "View Position"]]
    for index in range(N):
        name, kind = f"own/{index}.png", ("normal", "pneumonia")[index % 2]
        draw_film(folder / name, index)
        rows.append([name, kind, name, kind, index % 2, f"p{index}"])
        draw_film(outside / "tree" / kind / f"{index}.png", 100 + index)
        draw_film(outside / "nih" / "images_001" / "images" / f"{index}.png", 200 + index)
        nih.append([f"{index}.png", ("No Finding", "Mass|Edema")[index % 2], index, "PA"])
        labels.append([f"1.2.{index}", kind])
        (outside / "archive").mkdir(exist_ok=True)
        write_dicom(
            outside / "archive" / str(index),
            draw_pixels(300 + index),
            SOPInstanceUID=f"1.2.{index}",
            PatientID=f"p{index}",
        )
    write_rows(folder / "films.csv", rows)
    write_rows(folder / "labels.csv", labels)
    write_rows(outside / "nih" / "Data_Entry_2017.csv", nih)
    _lay_out_mimic(outside / "mimic-cxr-jpg")


def _lay_out_mimic(folder: Path) -> None:
    studies: list[list[object]] = [["subject_id", "study_id", "Edema"]]
    metadata: list[list[object]] = [["dicom_id", "subject_id", "study_id", "ViewPosition"]]
    splits: list[list[object]] = [["dicom_id", "study_id", "subject_id", "split"]]
    for index in range(N):
        patient, study, film = 10_000_000 + index, 50_000_000 + index, f"film{index}"
        studies.append([patient, study, ("", "1.0")[index % 2]])
        metadata.append([film, patient, study, "PA"])
        splits.append([film, study, patient, ("train", "validate", "test")[index // 2 % 3]])
        place = folder / "files" / "p10" / f"p{patient}" / f"s{study}" / f"{film}.jpg"
        draw_film(place.with_suffix(".png"), 400 + index).rename(place)
    tables = {"chexpert": studies, "metadata": metadata, "split": splits}
    for what, rows in tables.items():
        write_rows(folder / f"mimic-cxr-2.0.0-{what}.csv", rows)
