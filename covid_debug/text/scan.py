"""Detects text on many films, in order, in several processes, without losing one.

Owns the conversion of failures into records; the processes belong to :mod:`covid_debug.pool`, the
lines of a scan that was killed, or of its shards, to :mod:`covid_debug.stages`.
"""

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from covid_debug.artifacts import artifact_key
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.imaging.colour import read_tint
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS, FilmFile, identify_film, read_film
from covid_debug.imaging.regions import to_line
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress
from covid_debug.records import FilmRegions
from covid_debug.shards import NAME, Record, Records
from covid_debug.stages import Means, lose_film, work_on_films
from covid_debug.text.base import RegionDetector
from covid_debug.text.catalog import build_detector
from covid_debug.text.coloured import inspect_in_colours
from covid_debug.text.contents import ContentReader

_Pair = tuple[str, Path | FilmFile]

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
    scan, prepare = _choose_work(detector, contents, n_workers)
    records = run_in_order(
        scan, films, n_workers, where="text.scan", prepare=prepare, name=lambda film: film[0]
    )
    return _report(records, len(films), progress)


def _choose_work(
    detector: RegionDetector, contents: ContentReader | None, n_workers: int
) -> tuple[Callable[[_Pair], FilmRegions], Callable[[], None] | None]:
    if n_workers == 1:
        return partial(_scan_one, detector, contents), None
    return _scan_in_worker, partial(_start_worker, detector, contents)


def _report(
    records: Iterator[FilmRegions], n_total: int, progress: Progress | None
) -> Iterator[FilmRegions]:
    for n_done, record in enumerate(records, start=1):
        if progress is not None:
            progress(n_done, n_total)
        yield record


def scan_to_file(
    films: Sequence[tuple[str, Path | FilmFile]],
    out: Path,
    detector_name: str = "default",
    detector_params: Mapping[str, Any] | None = None,
    *,
    contents: ContentReader | None = None,
    means: Means | None = None,
) -> None:
    """Find the text of many films and write ``regions.jsonl``, line by line.

    Memory does not grow with the films. A killed scan, or a shard, left its lines in a hidden
    folder beside ``out``; a start with the same films and detector goes on from there.

    Args:
        films: As for :func:`scan_films`; every image once.
        out: File to write; replaced when the scan is complete and a film could be read.
        detector_name: As for :func:`scan_films`.
        detector_params: As for :func:`scan_films`.
        contents: As for :func:`scan_films`.
        means: How it is carried out.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
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
    if not out.parent.is_dir():
        raise ArtifactError(f"{out}: there is no folder {out.parent}; choose a writable folder")
    with scan_to_records(
        films,
        out,
        detector_name,
        detector_params,
        contents=contents,
        means=means or Means(n_workers=1),
    ) as records:
        write_scan(records, films, out)


@contextmanager
def scan_to_records(
    films: Sequence[tuple[str, Path | FilmFile]],
    out: Path,
    detector_name: str,
    detector_params: Mapping[str, Any] | None = None,
    *,
    contents: ContentReader | None = None,
    means: Means,
    known: Mapping[str, FilmRegions] | None = None,
) -> Iterator[Records]:
    """Find the text of many films; what is found is deleted when the block ends well.

    Args:
        films: As for :func:`scan_to_file`.
        out: What is made of the records; they lie beside it.
        detector_name: As for :func:`scan_films`.
        detector_params: As for :func:`scan_films`.
        contents: As for :func:`scan_films`.
        means: How it is carried out.
        known: As for :func:`scan_and_keep`.

    Yields:
        A record for each film, for :func:`write_scan`.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        DataIntegrityError: If none of the films could be read.
    """
    records = scan_and_keep(
        films, out, detector_name, detector_params, contents=contents, means=means, known=known
    )
    names = [image for image, _ in films]
    if films and all("error" in records[image] for image in names):
        reason = records[names[0]]["error"]
        records.remove()
        raise DataIntegrityError(
            f"none of {len(films)} films could be read (first: {reason}); {out} is not written"
        )
    yield records
    records.remove()


def scan_and_keep(
    films: Sequence[tuple[str, Path | FilmFile]],
    out: Path,
    detector_name: str,
    detector_params: Mapping[str, Any] | None = None,
    *,
    contents: ContentReader | None = None,
    means: Means,
    is_last: bool = True,
    known: Mapping[str, FilmRegions] | None = None,
) -> Records:
    """Find the text of many films and keep it beside what is being made.

    Args:
        films: As for :func:`scan_to_file`.
        out: What is made of the records; they lie beside it.
        detector_name: As for :func:`scan_films`.
        detector_params: As for :func:`scan_films`.
        contents: As for :func:`scan_films`.
        means: How it is carried out.
        is_last: Whether no other work on films follows.
        known: What an earlier scan by the same detector found on some of the films, by image id.

    Returns:
        A record for each film, see :func:`covid_debug.imaging.regions.from_line`; remove them when
        they are used.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
    """
    detector = build_detector(detector_name, **dict(detector_params or {}))
    facts = [(image, *identify_film(file)) for image, file in films]
    said = None if contents is None else contents.params
    key = artifact_key("scan", 6, [detector_name, detector.params, said], facts)
    files, known = dict(films), known or {}
    n_workers = min(means.n_workers, max(len(files.keys() - known.keys()), 1))
    scan, prepare = _choose_work(detector, contents, n_workers)

    def work(names: Sequence[str], _: Path) -> Iterator[Record]:
        found = run_in_order(
            partial(_to_record, scan),
            ((name, files[name]) for name in names if name not in known),
            n_workers,
            where="text.scan",
            prepare=prepare,
            name=lambda film: film[0],
            lose=lambda film, reason: lose_film(film[0], reason),
        )
        for name in names:
            yield {NAME: name, **to_line(known[name])} if name in known else next(found)

    return work_on_films(out, key, list(files), work, means, refuse=_refuse, is_last=is_last)


def _to_record(scan: Callable[[_Pair], FilmRegions], film: _Pair) -> Record:
    return {NAME: film[0], **to_line(scan(film))}


def _refuse(name: str, reason: str) -> Record:
    return {NAME: name, **to_line(FilmRegions(name, 0, 0, (), error=reason))}


def write_scan(records: Records, films: Sequence[tuple[str, Path | FilmFile]], out: Path) -> None:
    """Write the records of films as ``regions.jsonl``, in the order of the films, whole or not.

    Raises:
        ArtifactError: If it cannot be written.
    """
    partial = out.with_name(f".{out.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            for image, _ in films:
                line = {key: value for key, value in records[image].items() if key != NAME}
                stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(
            f"{out}: cannot be written ({error.strerror}); what is finished is kept; make room or"
            " choose a writable folder and start again"
        ) from error


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
