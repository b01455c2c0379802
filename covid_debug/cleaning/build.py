"""Builds COVIDx++: every film of a data set cleaned by one rule and written without loss.

Owns the new data set's files and provenance. How a film is cleaned is in
:mod:`covid_debug.cleaning.film`; the input data set is only read.
"""

import csv
import dataclasses
import hashlib
import json
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2

from covid_debug.artifacts import artifact_key, canonical_json, hash_file, write_artifact
from covid_debug.cleaning.film import CleanedFilm, CleaningParams, RegionRecord, clean_film
from covid_debug.cleaning.placebo import placebo_regions
from covid_debug.cleaning.staging import Record, Staging
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    load_unusable,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.errors import (
    ArtifactError,
    CovidDebugError,
    DataIntegrityError,
    InputContractError,
)
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.writing import write_png
from covid_debug.records import Film, FilmRegions, UnusableFilm

__all__ = ["CleaningParams", "clean_filmset", "placebo_regions"]

Progress = Callable[[int, int], None]

PROVENANCE_NAME: Final = "provenance.csv"
REGIONS_NAME: Final = "regions.jsonl"
PROVENANCE_COLUMNS: Final = (
    "image_id",
    "path",
    "input_sha256",
    "output_sha256",
    "encoding",
    "bits",
    "n_regions",
    "n_removed",
    "n_kept",
    "n_clipped",
    "n_outside",
    "masked_pixels",
    "changed_pixels",
    "changed_share",
)
_CODE_VERSION: Final = 1
_AHEAD: Final = 4


@dataclass(frozen=True, slots=True)
class _Job:
    """One film on its way to a worker."""

    film: Film
    source: Path
    regions: FilmRegions
    output: Path
    name: str


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A film that cannot be cleaned; the others go on."""

    film: Film
    reason: str


def clean_filmset(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    params: CleaningParams,
    out: Path,
    *,
    inputs: Mapping[str, str] | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> FilmSet:
    """Write a cleaned copy of a data set in COVIDx layout.

    Every film of every class and split goes through the same reader, rule and PNG encoder, with
    text or without, so that the encoding does not tell which films were cleaned; 8 and 16 bits
    stay what they were. Films in flight are few, so memory does not grow with the data set. A
    killed build goes on where it stopped when it is started again with the same arguments; the
    result is the same.

    Args:
        filmset: What to clean; only read.
        regions: Text regions by ``image_id``. A film whose line is missing, is an error or was
            made for another film size is recorded as unusable, never copied unclean.
        params: How to clean.
        out: Folder of the new data set; must not exist and must lie outside the input.
        inputs: Name -> key of the artifacts that went in, for the manifest.
        n_workers: Processes; 1 works in this process. The result does not depend on it.
        progress: Called with (films done, films in total).

    Returns:
        The new data set. Films keep the ``image_id`` of their originals.

    Raises:
        ArtifactError: If ``out`` exists, lies inside the input, cannot be written, or a worker
            dies; finished films are kept for the next start.
        DataIntegrityError: If no film could be cleaned.
        InputContractError: If ``n_workers`` is less than 1.
    """
    _check_places(filmset, out)
    if n_workers < 1:
        raise InputContractError(f"clean_filmset: n_workers is {n_workers}; expected at least 1")
    staging = Staging(out, _build_key(filmset, regions, params))
    finished = staging.read_finished()
    refusals: dict[str, str] = {}
    names = choose_file_names(filmset.films)

    def plan() -> Iterator[_Job]:
        for film in filmset.films:
            if film.image_id in finished:
                continue
            reason = _find_obstacle(regions.get(film.image_id))
            if reason is not None:
                refusals[film.image_id] = reason
                continue
            name = names[film.image_id]
            yield _Job(
                film, filmset.path_of(film), regions[film.image_id], staging.path / name, name
            )

    for result in _run(plan(), params, n_workers):
        if isinstance(result, _Refusal):
            refusals[result.film.image_id] = result.reason
        else:
            staging.add(result)
            finished[str(result["image_id"])] = result
        if progress is not None:
            progress(len(finished) + len(refusals), len(filmset.films))

    if not finished:
        first = next(iter(refusals.values()), "the data set is empty")
        raise DataIntegrityError(
            f"{filmset.root}: none of {len(filmset.films)} films could be cleaned (first: {first});"
            " expected text regions for these films; detect text on this data set first"
        )
    with write_artifact(
        out, kind="filmset", parameters=dataclasses.asdict(params), inputs=inputs
    ) as draft:
        staging.publish(draft.path)
        draft.facts.update(_write_tables(draft.path, filmset, finished, refusals))
    staging.remove()
    return load_filmset(out)


def choose_file_names(films: Sequence[Film]) -> dict[str, str]:
    """Choose the path of every cleaned film below the data set's folder.

    The published name is kept with the suffix ``.png``. Where two films would get the same name
    (``a.jpg`` and ``a.png``), a film that is published under exactly that name keeps it and the
    others carry their ``image_id``.

    Returns:
        ``image_id`` -> ``"train/<name>"`` or ``"test/<name>"``; validation films lie in train.
    """
    wanted = {film.image_id: _wanted_name(film) for film in films}
    n_wanting = Counter(name.casefold() for name in wanted.values())
    keepers: set[str] = set()
    names = {}
    for film in films:
        name = wanted[film.image_id]
        is_exact = Path(name).name == Path(film.path).name
        if n_wanting[name.casefold()] > 1:
            if is_exact and name.casefold() not in keepers:
                keepers.add(name.casefold())
            else:
                name = f"{name.removesuffix('.png')}-{film.image_id}.png"
        names[film.image_id] = name
    return names


def _wanted_name(film: Film) -> str:
    folder = "test" if film.split == "test" else "train"
    published = Path(film.path)
    return f"{folder}/{published.name if published.suffix == '.png' else published.stem + '.png'}"


def _check_places(filmset: FilmSet, out: Path) -> None:
    if out.exists():
        raise ArtifactError(f"{out}: already exists; artifacts are never overwritten")
    if out.resolve().is_relative_to(filmset.root.resolve()):
        raise ArtifactError(
            f"{out}: lies inside the data set being cleaned; expected a folder outside "
            f"{filmset.root}, which is only read"
        )


def _build_key(filmset: FilmSet, regions: Mapping[str, FilmRegions], params: CleaningParams) -> str:
    digest = hashlib.sha256()
    for film in filmset.films:
        digest.update(canonical_json([film, regions.get(film.image_id)]).encode())
    return artifact_key("cleaned-films", _CODE_VERSION, params, digest.hexdigest())


def _find_obstacle(found: FilmRegions | None) -> str | None:
    if found is None:
        return "text regions are missing for this film"
    if found.error is not None:
        return f"text detection failed: {found.error}"
    return None


def _run(
    jobs: Iterable[_Job], params: CleaningParams, n_workers: int
) -> Iterator[Record | _Refusal]:
    # In order, and only a few films ahead of the caller.
    if n_workers == 1:
        for job in jobs:
            yield _clean_one(job, params)
        return
    pool = ProcessPoolExecutor(
        n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=cv2.setNumThreads,
        initargs=(1,),
    )
    waiting: deque[Future[Record | _Refusal]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(_clean_one, job, params))
            if len(waiting) >= _AHEAD * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ArtifactError(
            "clean_filmset: a worker process died, probably for lack of memory; finished films "
            "are kept; start again with fewer workers to go on"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _clean_one(job: _Job, params: CleaningParams) -> Record | _Refusal:
    try:
        image = read_film(job.source)
        height, width = image.pixels.shape
        if (job.regions.width, job.regions.height) != (width, height):
            return _Refusal(
                job.film,
                f"text regions were made for {job.regions.width} x {job.regions.height} pixels, "
                f"the film has {width} x {height}",
            )
        cleaned = clean_film(image.pixels, job.regions.regions, params)
        input_sha256 = hash_file(job.source)
    except (CovidDebugError, cv2.error, MemoryError) as error:
        return _Refusal(job.film, str(error) or type(error).__name__)
    partial = job.output.with_name(f"{job.output.name}.part")
    try:
        write_png(partial, cleaned.pixels)
        partial.replace(job.output)
    except (DataIntegrityError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(f"{error}; finished films are kept, start again to go on") from error
    return _describe(job, cleaned, image.encoding, input_sha256)


def _describe(job: _Job, cleaned: CleanedFilm, encoding: str, input_sha256: str) -> Record:
    actions = Counter(record.action for record in cleaned.records)
    return {
        "image_id": job.film.image_id,
        "path": job.name,
        "input_sha256": input_sha256,
        "output_sha256": hash_file(job.output),
        "encoding": encoding,
        "bits": 8 * cleaned.pixels.dtype.itemsize,
        "n_regions": len(cleaned.records),
        "n_removed": actions["removed"],
        "n_kept": actions["kept"],
        "n_clipped": sum(record.clipped for record in cleaned.records),
        "n_outside": actions["outside_film"],
        "masked_pixels": int(cleaned.mask.sum()),
        "changed_pixels": cleaned.n_changed,
        "changed_share": cleaned.n_changed / cleaned.mask.size,
        "width": cleaned.mask.shape[1],
        "height": cleaned.mask.shape[0],
        "regions": [_region_to_record(record) for record in cleaned.records],
    }


def _region_to_record(record: RegionRecord) -> Record:
    return {**dataclasses.asdict(record.region), "action": record.action, "clipped": record.clipped}


def _write_tables(
    folder: Path, filmset: FilmSet, finished: Mapping[str, Record], refusals: Mapping[str, str]
) -> dict[str, Any]:
    # Writes the lists, provenance and regions of the new data set; returns its manifest facts.
    films, unusable = [], list(load_unusable(filmset.root))
    with (
        (folder / PROVENANCE_NAME).open("w", encoding="utf-8", newline="") as provenance,
        (folder / REGIONS_NAME).open("w", encoding="utf-8") as regions,
    ):
        table = csv.DictWriter(
            provenance, PROVENANCE_COLUMNS, extrasaction="ignore", lineterminator="\n"
        )
        table.writeheader()
        for film in filmset.films:
            if film.image_id in refusals:
                reason = refusals[film.image_id]
                unusable.append(UnusableFilm(film.path, film.source, reason))
                continue
            record = finished[film.image_id]
            films.append(dataclasses.replace(film, path=record["path"]))
            table.writerow(record)
            line = {key: record[key] for key in ("width", "height", "regions")}
            regions.write(json.dumps({"image": film.image_id, **line}, allow_nan=False) + "\n")
    write_films(folder, films)
    write_unusable(folder, unusable)
    write_split_lists(folder, films)
    records = [finished[film.image_id] for film in films]
    return {
        "name": f"{filmset.name}-cleaned",
        "class_names": list(filmset.class_names),
        "n_ok": len(films),
        "n_total": filmset.n_total,
        "n_refused": len(refusals),
        "n_changed": sum(record["changed_pixels"] > 0 for record in records),
        "n_regions": sum(record["n_regions"] for record in records),
        "n_removed": sum(record["n_removed"] for record in records),
        "changed_share": sum(record["changed_share"] for record in records) / len(records),
        "original_content": filmset.content_key,
    }
