"""Writes a version of a film set: every film through one function, without loss.

Owns the new data set of versions that are no cleaning (swapped text, lung crop). What happens to a
film is decided by the callers; a cleaned set, with its provenance, is made by
:mod:`covid_debug.cleaning.build`.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import hash_file, write_artifact
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
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.imaging.reading import FILM_ERRORS, FilmFile, FilmImage, Pixels, read_film
from covid_debug.imaging.writing import write_png
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress
from covid_debug.records import Film, UnusableFilm
from covid_debug.stages import Means, Request

Draw = Callable[[FilmImage], Pixels]


@dataclass(frozen=True, slots=True)
class _Job:
    film: Film
    source: FilmFile
    draw: Draw
    folder: Path
    name: str


@dataclass(frozen=True, slots=True)
class _Refusal:
    film: Film
    reason: str


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
        """Write the version."""
        plan = self.plan()
        with means.listener.progress("films") as progress:
            return write_version(
                plan,
                out,
                parameters=self.parameters(),
                inputs=self.inputs(),
                n_workers=means.n_workers,
                progress=progress,
            )

    def check(self, out: Path, means: Means) -> None:
        """Stop when too many films could not be made."""
        check_failures(load_filmset(out), means.max_failed_share)


def write_version(
    plan: VersionPlan,
    out: Path,
    *,
    parameters: object,
    inputs: Mapping[str, str],
    n_workers: int = 1,
    progress: Progress | None = None,
) -> FilmSet:
    """Write a version of a film set in COVIDx layout.

    Args:
        plan: Which films, and what becomes of each.
        out: Folder of the version; must not exist.
        parameters: What else decides the content, for the manifest.
        inputs: Name -> key of the artifacts that went in, for the manifest.
        n_workers: Processes; the result does not depend on it.
        progress: Called with (films done, films in total).

    Returns:
        The version. Films keep the ``image_id`` of their originals; one that cannot be read is in
        ``unusable.csv`` with the reason.

    Raises:
        ArtifactError: If ``out`` exists or cannot be written.
        FilmChangedError: If a film is not the one that was recorded.
        DataIntegrityError: If no film could be made.
    """
    filmset = plan.filmset
    with write_artifact(out, kind="filmset", parameters=parameters, inputs=inputs) as draft:
        for folder in ("train", "test"):
            (draft.path / folder).mkdir()
        made: list[Film] = []
        refused: list[UnusableFilm] = []
        jobs = _iter_jobs(plan, draft.path)
        results = run_in_order(_make_film, jobs, n_workers, where=plan.name, name=_name_of)
        for result in results:
            if isinstance(result, _Refusal):
                film = result.film
                refused.append(UnusableFilm(film.path, film.source, result.reason))
            else:
                made.append(result)
            if progress is not None:
                progress(len(made) + len(refused), len(plan.draws))
        if not made:
            first = refused[0].reason if refused else "none was asked for"
            raise DataIntegrityError(
                f"{filmset.root}: no film of the version {plan.name!r} could be made ({first})"
            )
        write_films(draft.path, made)
        write_unusable(draft.path, [*load_unusable(filmset.root), *refused])
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
    return load_filmset(out)


def _iter_jobs(plan: VersionPlan, folder: Path) -> Iterator[_Job]:
    films: Iterable[Film] = plan.filmset.films
    names = choose_file_names(plan.filmset.films)
    for film in films:
        draw = plan.draws.get(film.image_id)
        if draw is not None:
            source = plan.filmset.file_of(film)
            yield _Job(film, source, draw, folder, names[film.image_id])


def _name_of(job: _Job) -> Path:
    return job.source.path


def _make_film(job: _Job) -> Film | _Refusal:
    try:
        pixels = job.draw(read_film(job.source))
    except FILM_ERRORS as error:
        return _Refusal(job.film, str(error) or type(error).__name__)
    path = job.folder / job.name
    try:
        write_png(path, pixels, quick=True)
    except DataIntegrityError as error:
        raise ArtifactError(str(error)) from error
    return dataclasses.replace(job.film, path=job.name, sha256=hash_file(path))
