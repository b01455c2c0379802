"""Detects text on many films, in order, in several processes, without losing one.

Owns the conversion of failures into records; the processes belong to :mod:`covid_debug.pool`, the
lines of a scan that was killed to :mod:`covid_debug.journal`.
"""

import glob
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from covid_debug.artifacts import artifact_key
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.imaging.colour import read_tint
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS, FilmFile, read_film
from covid_debug.imaging.regions import to_line
from covid_debug.journal import Journal
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress
from covid_debug.records import FilmRegions
from covid_debug.text.base import RegionDetector
from covid_debug.text.catalog import build_detector
from covid_debug.text.coloured import inspect_in_colours
from covid_debug.text.contents import ContentReader

_worker: dict[str, tuple[RegionDetector, ContentReader | None]] = {}


def scan_films(
    films: Sequence[tuple[str, Path | FilmFile]],
    detector_name: str = "default",
    detector_params: Mapping[str, Any] | None = None,
    *,
    contents: ContentReader | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> Iterator[FilmRegions]:
    """Find the text of many films.

    Films are read in the workers and results come in the order of ``films``; only a few films are
    in flight, so memory does not grow with their number. Results do not depend on ``n_workers``.

    Args:
        films: Pairs of image id (or path as text) and file; for a film of a data set what
            :meth:`covid_debug.data.filmset.FilmSet.file_of` returns.
        detector_name: Name in the catalogue of detectors.
        detector_params: Parameters of that detector.
        contents: Says what the regions say; None leaves them as the detector gave them.
        n_workers: Processes, each with its own network on one thread; 1 works in this process.
        progress: Called with (films done, films in total) after each film.

    Returns:
        One record for each film; a film that fails is a record with ``error``. The detector is
        built before this function returns, so a wrong name fails at the call.

    Raises:
        InputContractError: If ``n_workers`` is less than 1.
        CatalogError: If the detector is unknown.
        ConfigError: If a detector parameter is unknown.
        CheckpointError: If the detector's weights are missing.
    """
    detector = build_detector(detector_name, **dict(detector_params or {}))
    n_workers = min(n_workers, max(len(films), 1))
    work, prepare = (
        (partial(_scan_one, detector, contents), None)
        if n_workers == 1
        else (_scan_in_worker, partial(_start_worker, detector, contents))
    )
    records = run_in_order(
        work, films, n_workers, where="text.scan", prepare=prepare, name=lambda film: film[0]
    )
    return _report(records, len(films), progress)


def scan_to_file(
    films: Sequence[tuple[str, Path | FilmFile]],
    out: Path,
    detector_name: str = "default",
    detector_params: Mapping[str, Any] | None = None,
    *,
    contents: ContentReader | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Find the text of many films and write ``regions.jsonl``, line by line.

    Memory does not grow with the films. A killed scan left its lines in a hidden file beside
    ``out`` and goes on from there when it is started again with the same films and detector.

    Args:
        films: As for :func:`scan_films`; every image once.
        out: File to write; replaced when the scan is complete and a film could be read.
        detector_name: As for :func:`scan_films`.
        detector_params: As for :func:`scan_films`.
        contents: As for :func:`scan_films`.
        n_workers: As for :func:`scan_films`.
        progress: As for :func:`scan_films`; films of the first start are counted.

    Raises:
        DataIntegrityError: If none of the films could be read; ``out`` stays as it was.
        FilmChangedError: If a film is not the one that its data set recorded.
        ArtifactError: If ``out`` is a folder or cannot be written, or a worker dies; finished
            lines are kept.
        InputContractError: If ``n_workers`` is less than 1.
        CatalogError: If the detector is unknown.
        ConfigError: If a detector parameter is unknown.
        CheckpointError: If the detector's weights are missing.
    """
    if out.is_dir():
        raise ArtifactError(f"{out}: is a folder; expected a file to write, as regions.jsonl in it")
    params = build_detector(detector_name, **dict(detector_params or {})).params
    facts = [(image, *_identify(file)) for image, file in films]
    said = None if contents is None else contents.params
    key = artifact_key("scan", 5, [detector_name, params, said], facts)
    place = out.with_name(f".{out.name}.{key}.partial")
    for stale in out.parent.glob(f".{glob.escape(out.name)}.scan-*.partial"):
        if stale != place:
            stale.unlink(missing_ok=True)
    journal = Journal(place, "image")
    todo = [(image, file) for image, file in films if image not in journal]
    records = scan_films(
        todo, detector_name, detector_params, contents=contents, n_workers=n_workers
    )
    for record in _report(records, len(films), progress, n_before=len(films) - len(todo)):
        journal.add(to_line(record))
    if films and all("error" in journal[image] for image in journal):
        reason = journal[films[0][0]]["error"]
        place.unlink()
        raise DataIntegrityError(
            f"none of {len(films)} films could be read (first: {reason}); {out} is not written"
        )
    journal.publish(out)


def _identify(file: Path | FilmFile) -> tuple[object, ...]:
    film = file if isinstance(file, FilmFile) else FilmFile(file)
    try:
        facts = film.path.stat()
    except OSError:
        return str(film.path), film.sha256, 0, 0
    return str(film.path), film.sha256, facts.st_size, facts.st_mtime_ns


def _report(
    records: Iterator[FilmRegions], n_total: int, progress: Progress | None, n_before: int = 0
) -> Iterator[FilmRegions]:
    for n_done, record in enumerate(records, start=n_before + 1):
        if progress is not None:
            progress(n_done, n_total)
        yield record


def limit_threads() -> None:
    """Work on one thread; only a worker limits the threads of its whole process.

    What loads torch later, such as CRAFT, finds the limit in the environment; torch itself is not
    imported here, because most detectors do without it.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def _start_worker(detector: RegionDetector, contents: ContentReader | None) -> None:
    limit_threads()
    _worker["both"] = (detector, contents)


def _scan_in_worker(film: tuple[str, Path | FilmFile]) -> FilmRegions:
    return _scan_one(*_worker["both"], film)


def _scan_one(
    detector: RegionDetector, contents: ContentReader | None, film: tuple[str, Path | FilmFile]
) -> FilmRegions:
    image, file = film
    try:
        pixels = read_film(file).to_uint8()
        path = file.path if isinstance(file, FilmFile) else file
        found = inspect_in_colours(detector, pixels, read_tint(path))
        regions = found.regions if contents is None else contents.complete(found.regions, pixels)
    except FILM_OR_MODEL_ERRORS as error:
        return FilmRegions(image, 0, 0, (), error=str(error) or type(error).__name__)
    height, width = pixels.shape
    return FilmRegions(image, width, height, regions, rejected=found.rejected)
