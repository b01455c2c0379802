"""Removes burned-in text from the films of a folder, whatever they are.

Owns which files are films, where each output lies, the manifest, and what a killed run goes on
with. What happens to one film belongs to :mod:`covid_debug.cleaning.archive_film`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Never

from covid_debug.artifacts import canonical_json, hash_file, write_text_atomic
from covid_debug.cleaning.archive_film import (
    DRAFT_SUFFIX,
    ArchiveFilm,
    ArchiveJob,
    ArchiveParams,
    Outcome,
    clean_file,
)
from covid_debug.data.listing import collect_films
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.journal import Journal
from covid_debug.places import hold_store
from covid_debug.pool import run_in_order
from covid_debug.progress import SILENT, Listener
from covid_debug.records_json import parse_plain, to_plain
from covid_debug.shards import NAME, Record, Records, Shard, ShardFinished
from covid_debug.shown import to_printable
from covid_debug.text.finder import Finder
from covid_debug.text.scan import limit_threads

MANIFEST_NAME: Final = "manifest.jsonl"
SETTINGS_NAME: Final = "cleaning.json"
_CODE_VERSION: Final = 4
_SHARDS_NAME: Final = ".shards"
OWN_NAMES: Final = frozenset({MANIFEST_NAME, SETTINGS_NAME, _SHARDS_NAME, ".run.lock"})
"""What an output folder holds beside films."""
_KEY: Final = "film"

_worker: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """What became of the films of one call.

    Attributes:
        films: Their lines of the manifest, in the order of the input.
        n_before: Those of them that an earlier start had finished.
    """

    films: tuple[ArchiveFilm, ...]
    n_before: int

    def count(self, outcome: Outcome) -> int:
        """Return how many films ended so."""
        return sum(film.outcome == outcome for film in self.films)


def clean_archive(
    places: Sequence[Path],
    out: Path,
    finder: Finder,
    params: ArchiveParams | None = None,
    *,
    n_workers: int = 1,
    shard: Shard | None = None,
    listener: Listener = SILENT,
) -> ArchiveResult:
    """Find and remove the burned-in text of films, each into a file of its own kind.

    A folder's films keep their place below it; with several folders each has its own name's folder
    in the output. Links to files are followed, links to folders are not. The same call goes on
    where a killed one stopped, tries refused films again and cleans new and changed ones.

    Args:
        places: Films and folders of films; only read.
        out: Folder to create, or one that this function made with the same settings.
        finder: Finds the text.
        params: How to clean.
        n_workers: Processes.
        shard: Clean these films only; any number of processes may do so at once. The same call
            without it takes over what they did.
        listener: Who is told.

    Returns:
        What became of each film; ``manifest.jsonl`` in ``out`` says the same.

    Raises:
        ShardFinished: If ``shard`` did its part.
        InputContractError: If there is no film, a named one does not exist, two would get the same
            name, or input and output lie in one another.
        ArtifactError: If ``out`` holds something else or cannot be written, or another run is at
            work there.
    """
    params = params or ArchiveParams()
    for place in places:
        if not place.exists():
            raise InputContractError(f"{to_printable(place)}: no such file or folder to clean")
    check_apart(places, out)
    jobs = list_jobs(places, out, listener, becomes_png=params.jpeg == "png")
    settings = to_plain(
        {
            "code_version": _CODE_VERSION,
            "detector": finder.detector.name,
            "detector_params": json.loads(canonical_json(finder.detector.params)),
            "contents": _hash(None if finder.contents is None else finder.contents.params),
            "params": params,
        }
    )
    _check_settings(out, settings)
    work = _Work(out, finder, params, n_workers, listener)
    if shard is not None:
        work.clean_shard(jobs, shard, settings)
    with hold_store(out):
        write_text_atomic(out / SETTINGS_NAME, json.dumps(settings, indent=2) + "\n")
        journal = Journal(out / MANIFEST_NAME, _KEY)
        shards = Records(out / _SHARDS_NAME)
        for job in jobs:
            if job.name in shards and _is_done(job, out, shards):
                journal.add(_drop_name(shards[job.name]))
        done = [job for job in jobs if _is_done(job, out, journal)]
        names = {job.name for job in done}
        todo = [job for job in jobs if job.name not in names]
        films = work.clean(todo)
        with listener.progress("films") as progress:
            for n_done, film in enumerate(films, start=len(done) + 1):
                if film.outcome == "refused":
                    _remove_outdated(todo[n_done - len(done) - 1], out, journal)
                journal.add(to_plain(film))
                progress(n_done, len(jobs))
        found = tuple(parse_plain(journal[job.name], ArchiveFilm) for job in jobs)
        mine = {job.name for job in jobs}
        others = [journal[name] for name in journal if name not in mine]
        lines = [json.dumps(line, ensure_ascii=False) for line in (*map(to_plain, found), *others)]
        write_text_atomic(out / MANIFEST_NAME, "".join(f"{line}\n" for line in lines))
        shards.remove()
        for folder in {job.target.parent for job in jobs}:
            for draft in folder.glob(f".{'[0-9a-f]' * 32}{DRAFT_SUFFIX}"):
                draft.unlink(missing_ok=True)  # of a writer that was killed
    return ArchiveResult(found, len(done))


def find_own_detector(out: Path) -> str | None:
    """Return the detector whose finds were cleaned; ``None`` where another tool cleaned."""
    try:
        settings = json.loads((out / SETTINGS_NAME).read_text(encoding="utf-8"))
        return str(settings["detector"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_apart(places: Sequence[Path], out: Path) -> None:
    """Refuse an output that lies in the input, or the other way round; links are resolved.

    Raises:
        InputContractError: Naming both.
    """
    target = out.resolve()
    for place in places:
        source = place.resolve()
        is_inside = target == source or source in target.parents
        if is_inside or target in source.parents:
            where = "lies inside" if is_inside else "holds"
            raise InputContractError(
                f"--out {out}: {where} the input {to_printable(place)}, of which nothing is"
                " overwritten; name a folder apart from it"
            )


def list_jobs(
    places: Sequence[Path], out: Path, listener: Listener, *, becomes_png: bool = False
) -> list[ArchiveJob]:
    """List the films and where each output lies.

    Args:
        places: Films and folders.
        out: Folder of all outputs.
        listener: Told how many files of a folder are no films.
        becomes_png: Whether a JPEG file may be written as PNG.

    Returns:
        One job a film, in order.

    Raises:
        InputContractError: If a folder holds no film or two films would get one name.
    """
    folders = [place for place in places if place.is_dir()]
    jobs: dict[Path, ArchiveJob] = {}
    for place in places:
        for job in _iter_jobs(place, out, listener, is_alone=len(folders) == 1):
            is_jpeg = becomes_png and job.target.suffix.lower() in {".jpg", ".jpeg"}
            key = job.target.with_suffix(".png") if is_jpeg else job.target
            if key.relative_to(out).parts[0] in OWN_NAMES:
                raise InputContractError(
                    f"{to_printable(job.source)} would be written over {key.name} of the output;"
                    " rename the film"
                )
            if key in jobs:
                raise InputContractError(
                    f"{to_printable(job.source)} and {to_printable(jobs[key].source)} would both be"
                    f" written as {to_printable(key.relative_to(out))}; clean them into different"
                    " folders"
                )
            jobs[key] = job
    return list(jobs.values())


def _iter_jobs(
    place: Path, out: Path, listener: Listener, *, is_alone: bool
) -> Iterator[ArchiveJob]:
    top = Path() if is_alone or not place.is_dir() else Path(place.resolve().name)
    for _, file in collect_films([place], None, listener):
        path = file if isinstance(file, Path) else file.path
        below = top / (path.relative_to(place) if place.is_dir() else path.name)
        yield ArchiveJob(to_printable(below), path, out / below)


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _check_settings(out: Path, settings: object) -> None:
    """Refuse a folder that holds anything but films cleaned in the same way."""
    if not out.exists():
        return
    # Another shard may be writing the settings at this moment.
    is_begun = out.is_dir() and all(
        path.name.startswith(f".{SETTINGS_NAME}") for path in out.iterdir()
    )
    if not is_begun and not (out / SETTINGS_NAME).is_file():
        raise ArtifactError(f"--out {out}: already exists; nothing is overwritten, name another")
    if not (out / SETTINGS_NAME).is_file():
        return
    try:
        before = json.loads((out / SETTINGS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{out / SETTINGS_NAME}: cannot be read; name another folder"
        ) from error
    if before != settings:
        raise ArtifactError(
            f"--out {out}: holds films that were cleaned otherwise (see {SETTINGS_NAME} there);"
            " name another folder, or start with the same options and version to go on"
        )


def _is_done(job: ArchiveJob, out: Path, journal: Mapping[str, Record]) -> bool:
    """Return whether an earlier start finished a film and both files are as they were."""
    if job.name not in journal:
        return False
    try:
        film = parse_plain(_drop_name(journal[job.name]), ArchiveFilm)
        if film.output not in _list_outputs(job, out):
            return False
        found = hash_file(job.source), hash_file(out / film.output)
    except (ArtifactError, ValueError):
        return False
    return found == (film.sha256, film.sha256_out)


def _list_outputs(job: ArchiveJob, out: Path) -> list[str]:
    """Return where a film's output may lie below the output folder."""
    return [
        place.relative_to(out).as_posix() for place in (job.target, job.target.with_suffix(".png"))
    ]


def _remove_outdated(job: ArchiveJob, out: Path, journal: Journal) -> None:
    """Remove what an earlier start wrote of a film that is now refused."""
    before = journal.get(job.name, {}).get("output")
    if before in _list_outputs(job, out):
        (out / str(before)).unlink(missing_ok=True)


def _drop_name(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != NAME}


@dataclass(frozen=True)
class _Work:
    """How films are cleaned, by as many processes as there are films for."""

    out: Path
    finder: Finder
    params: ArchiveParams
    n_workers: int
    listener: Listener

    def clean(self, jobs: Sequence[ArchiveJob]) -> Iterator[ArchiveFilm]:
        return run_in_order(
            _work,
            jobs,
            min(self.n_workers, max(len(jobs), 1)),
            where="clean",
            prepare=partial(_start_worker, self.out, self.finder, self.params),
            name=lambda job: job.name,
        )

    def clean_shard(self, jobs: Sequence[ArchiveJob], shard: Shard, settings: object) -> Never:
        """Clean the films of a shard that no shard has finished.

        Raises:
            ShardFinished: When it is done.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        write_text_atomic(self.out / SETTINGS_NAME, json.dumps(settings, indent=2) + "\n")
        records, mine = Records(self.out / _SHARDS_NAME), shard.of(jobs)
        todo = [job for job in mine if not _is_done(job, self.out, records)]
        with self.listener.progress("films") as progress:
            n_before = len(mine) - len(todo)
            for n_done, film in enumerate(self.clean(todo), start=n_before + 1):
                records.add({NAME: film.film, **to_plain(film)})
                progress(n_done, len(mine))
        records.refresh()
        raise ShardFinished(sum(job.name in records for job in jobs), len(jobs))


def _start_worker(out: Path, finder: Finder, params: ArchiveParams) -> None:
    limit_threads()
    _worker.update(out=out, finder=finder, params=params)


def _work(job: ArchiveJob) -> ArchiveFilm:
    return clean_file(job, _worker["out"], _worker["finder"], _worker["params"])
