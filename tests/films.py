"""Tiny films and film sets made on the fly."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from covid_debug.artifacts import write_artifact
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.writing import write_png
from covid_debug.records import SPLITS, Film, FilmRegions, TextRegion

CLASS_NAMES = ("normal", "pneumonia", "COVID-19")


def draw_pixels(seed: int, width: int = 64, height: int = 70) -> np.ndarray:
    """Return coarse noise ``(H, W)`` uint8; different seeds look different."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (height // 4 + 1, width // 4 + 1), dtype=np.uint8
    )
    return np.ascontiguousarray(np.kron(coarse, np.ones((4, 4), np.uint8))[:height, :width])


def draw_film(path: Path, seed: int) -> Path:
    """Write the film of a seed as PNG; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, draw_pixels(seed))
    return path


def write_dicom(path: Path, pixels: np.ndarray, **tags: object) -> Path:
    """Write a small uncompressed DICOM film."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


UNREAD = ("0" * 64, 0, 255)  # what is recorded of a film whose file no test reads


def recorded(path: Path) -> tuple[str, int, int]:
    """Return what ingest records of a film's file: its hash and its window."""
    image = read_film(path)
    return image.sha256, *image.window


def make_film(index: int, **changes: object) -> Film:
    """Return the record of film ``index``, in file ``<index>.png``; three classes, three splits."""
    fields: dict[str, object] = {
        "image_id": f"{index:016x}",
        "path": f"{index}.png",
        "patient_id": f"cohen:{index}",
        "label": CLASS_NAMES[index % 3],
        "source": "cohen",
        "view": "PA",
        "split": SPLITS[index // 3 % 3],
        "width": 64,
        "height": 70,
        "sha256": UNREAD[0],
        "window_low": 0,
        "window_high": 255,
    }
    return Film(**(fields | changes))  # type: ignore[arg-type]


def build_filmset(
    target: Path,
    films: Sequence[Film],
    *,
    seeds: Sequence[int] | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
) -> FilmSet:
    """Write films with pixels as a data set; ``seeds`` decide what each film looks like."""
    with write_artifact(target, kind="filmset") as draft:
        drawn = []
        for index, film in enumerate(films):
            path = draw_film(draft.path / film.path, seeds[index] if seeds else index)
            drawn.append(replace(film, sha256=recorded(path)[0]))
        films = drawn
        write_films(draft.path, films)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, films)
        draft.facts.update(
            name="tiny", class_names=class_names, n_ok=len(films), n_total=len(films)
        )
    return load_filmset(target)


def make_marked_films(folder: Path, side: int) -> tuple[FilmSet, dict[str, FilmRegions]]:
    """Write 12 training films of two classes, noise with a row of bright strokes, and its regions.

    Args:
        folder: Film set to create.
        side: Of each film in pixels.
    """
    box = TextRegion(((20, 20), (40, 20), (40, 32), (20, 32)), 0.9, "R", "made")
    members, regions = [], {}
    with write_artifact(folder, kind="filmset") as draft:
        (draft.path / "train").mkdir()
        for index in range(12):
            noise = np.random.default_rng(index).normal(100, 5, (side, side))
            pixels = np.clip(noise, 0, 255).astype(np.uint8)
            pixels[22:30, 22:38:3] = 255
            name = f"train/{index}.png"
            cv2.imwrite(str(draft.path / name), pixels)
            facts = recorded(draft.path / name)
            key, label = facts[0][:16], ("normal", "COVID-19")[index % 2]
            members.append(
                Film(key, name, f"p{index}", label, "made", "", "train", side, side, *facts)
            )
            regions[key] = FilmRegions(key, side, side, (box,))
        write_films(draft.path, members)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, members)
        draft.facts.update(name="made", class_names=["normal", "COVID-19"], n_ok=12, n_total=12)
    return load_filmset(folder), regions
