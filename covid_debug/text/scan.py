"""Detects text on many films, in order, in several processes, without losing one.

Owns the process pool and the conversion of failures into records.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2

from covid_debug.errors import CovidDebugError, InputContractError
from covid_debug.imaging.reading import read_film
from covid_debug.records import FilmRegions
from covid_debug.text.base import RegionDetector
from covid_debug.text.catalog import build_detector

Progress = Callable[[int, int], None]
_AHEAD = 4
_FILM_ERRORS = (CovidDebugError, OSError, ValueError, RuntimeError, MemoryError, cv2.error)
_worker: dict[str, RegionDetector] = {}


def scan_films(
    paths: Sequence[tuple[str, Path]],
    detector_name: str = "default",
    detector_params: Mapping[str, Any] | None = None,
    *,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> Iterator[FilmRegions]:
    """Find the text of many films.

    Films are read in the workers and results come in the order of ``paths``; only a few films are
    in flight, so memory does not grow with their number. Results do not depend on ``n_workers``.

    Args:
        paths: Pairs of image id (or path as text) and file.
        detector_name: Name in the catalogue of detectors.
        detector_params: Parameters of that detector.
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
    if n_workers < 1:
        raise InputContractError(f"text.scan: n_workers is {n_workers}; expected at least 1")
    params = dict(detector_params or {})
    detector = build_detector(detector_name, **params)
    records: Iterator[FilmRegions]
    if n_workers == 1 or len(paths) <= 1:
        records = (_scan_one(detector, image, path) for image, path in paths)
    else:
        records = _scan_in_pool(paths, detector_name, params, min(n_workers, len(paths)))
    return _report(records, len(paths), progress)


def _report(
    records: Iterator[FilmRegions], n_total: int, progress: Progress | None
) -> Iterator[FilmRegions]:
    for n_done, record in enumerate(records, start=1):
        if progress is not None:
            progress(n_done, n_total)
        yield record


def _scan_in_pool(
    paths: Sequence[tuple[str, Path]], name: str, params: dict[str, Any], n_workers: int
) -> Iterator[FilmRegions]:
    pool = ProcessPoolExecutor(
        n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(name, params),
    )
    waiting: deque[Future[FilmRegions]] = deque()
    todo = iter(paths)
    try:
        for image, path in todo:
            waiting.append(pool.submit(_scan_in_worker, image, path))
            if len(waiting) >= _AHEAD * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise CovidDebugError(
            "text.scan: a worker process died, probably for lack of memory; "
            f"expected {n_workers} to survive; run again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(name: str, params: dict[str, Any]) -> None:
    import torch  # noqa: PLC0415 - only a worker limits the threads of its whole process

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = build_detector(name, **params)
    detector.prepare()
    _worker["detector"] = detector


def _scan_in_worker(image: str, path: Path) -> FilmRegions:
    return _scan_one(_worker["detector"], image, path)


def _scan_one(detector: RegionDetector, image: str, path: Path) -> FilmRegions:
    try:
        pixels = read_film(path).to_uint8()
        found = detector.inspect([pixels])[0]
    except _FILM_ERRORS as error:
        return FilmRegions(image, 0, 0, (), error=str(error) or type(error).__name__)
    height, width = pixels.shape
    return FilmRegions(image, width, height, found.regions, rejected=found.rejected)
