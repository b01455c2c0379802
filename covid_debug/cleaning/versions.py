"""Writes a version of a film set: every film through one function, without loss.

Owns the new data set of versions that are no cleaning (swapped text, lung crop). What happens to a
film is decided by the callers; a cleaned set, with its provenance, is made by
:mod:`covid_debug.cleaning.build`.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import artifact_key, check_absent, write_artifact
from covid_debug.cleaning.film_files import (
    DIGEST,
    PATH,
    REASON,
    is_intact,
    list_refused,
    publish,
    refuse,
    write_film,
)
from covid_debug.cleaning.names import choose_file_names
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    load_unusable,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.data.stage import check_failures
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import FILM_ERRORS, FilmFile, FilmImage, Pixels, read_film
from covid_debug.pool import run_in_order
from covid_debug.records import Film
from covid_debug.shards import NAME, Record, Records
from covid_debug.stages import Means, Request, lose_film, work_on_films

Draw = Callable[[FilmImage], Pixels]


@dataclass(frozen=True, slots=True)
class _Job:
    image_id: str
    source: FilmFile
    draw: Draw
    output: Path
    name: str


@dataclass(frozen=True, slots=True)
class VersionPlan:
    """What becomes of the films of a set.

    Attributes:
        filmset: The set; only read.
        draws: ``image_id`` -> picklable function from the film to its pixels in the version, of
            the same size and type. Films without one are left out.
        name: Name of the version, a suffix of the set's.
        files: Name -> text of further files of the version.
    """

    filmset: FilmSet
    draws: Mapping[str, Draw]
    name: str
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class VersionRequest(Request):
    """Write a version of a film set."""

    makes: ClassVar[str] = "filmset"

    @abstractmethod
    def plan(self) -> VersionPlan:
        """Say what becomes of the films."""

    def make(self, out: Path, means: Means) -> FilmSet:
        """Write the version; a killed start goes on from its last film."""
        return write_version(self.plan(), self, out, means)

    def check(self, out: Path, means: Means) -> None:
        """Stop when too many films could not be made."""
        check_failures(load_filmset(out), means.max_failed_share)


def write_version(plan: VersionPlan, request: Request, out: Path, means: Means) -> FilmSet:
    """Write a version of a film set in COVIDx layout.

    Args:
        plan: Which films, and what becomes of each.
        request: What else decides the content, for the manifest.
        out: Folder of the version; must not exist.
        means: How it is carried out.

    Returns:
        The version. Films keep the ``image_id`` of their originals; one that cannot be read is in
        ``unusable.csv`` with the reason.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        ArtifactError: If ``out`` exists or cannot be written.
        FilmChangedError: If a film is not the one that was recorded.
        DataIntegrityError: If no film could be made.
    """
    check_absent(out)
    filmset = plan.filmset
    films = [film for film in filmset.films if film.image_id in plan.draws]
    records = _make_films(plan, films, request, out, means)
    found = {film.image_id: records[film.image_id] for film in films}
    refusals = {name: line[REASON] for name, line in found.items() if REASON in line}
    made = [
        dataclasses.replace(film, path=line[PATH], sha256=line[DIGEST])
        for film in films
        if REASON not in (line := found[film.image_id])
    ]
    if not made:
        records.remove()
        first = next(iter(refusals.values()), "none was asked for")
        raise DataIntegrityError(
            f"{filmset.root}: no film of the version {plan.name!r} could be made ({first})"
        )
    with write_artifact(
        out, kind=request.makes, parameters=request.parameters(), inputs=request.inputs()
    ) as draft:
        publish((found[film.image_id] for film in made), records.folder, draft.path)
        write_films(draft.path, made)
        write_unusable(draft.path, [*load_unusable(filmset.root), *list_refused(filmset, refusals)])
        write_split_lists(draft.path, made)
        for name, text in plan.files.items():
            (draft.path / name).write_text(text, encoding="utf-8")
        draft.facts.update(
            name=f"{filmset.name}-{plan.name}",
            class_names=list(filmset.class_names),
            n_ok=len(made),
            n_total=len(plan.draws) + filmset.n_total - len(filmset.films),
            original=filmset.content_key,
        )
    records.remove()
    return load_filmset(out)


def _make_films(
    plan: VersionPlan, films: Sequence[Film], request: Request, out: Path, means: Means
) -> Records:
    by_id = {film.image_id: film for film in films}
    file_names = choose_file_names(plan.filmset.films)

    def iter_jobs(names: Sequence[str], folder: Path) -> Iterator[_Job]:
        for name in names:
            source, file_name = plan.filmset.file_of(by_id[name]), file_names[name]
            yield _Job(name, source, plan.draws[name], folder / file_name, file_name)

    def work(names: Sequence[str], folder: Path) -> Iterator[Record]:
        return run_in_order(
            _make_film,
            iter_jobs(names, folder),
            means.n_workers,
            where=plan.name,
            name=lambda job: job.source.path,
            lose=lambda job, reason: lose_film(job.image_id, reason),
        )

    key = artifact_key(
        f"{request.stage}-films",
        request.code_version,
        request.parameters(),
        [request.inputs(), plan.filmset.content_key],
    )
    return work_on_films(out, key, list(by_id), work, means, refuse=refuse, is_intact=is_intact)


def _make_film(job: _Job) -> Record:
    try:
        pixels = job.draw(read_film(job.source))
    except FILM_ERRORS as error:
        return refuse(job.image_id, str(error) or type(error).__name__)
    return {NAME: job.image_id, PATH: job.name, DIGEST: write_film(job.output, pixels)}
