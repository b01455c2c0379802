"""Does a cleaned data set hold what its manifest says?

Owns recomputation and comparison; repairs nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from covid_debug.artifacts import (
    MANIFEST_NAME,
    artifact_key,
    find_damage,
    hash_file,
    read_manifest,
)
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.provenance import read_actions, read_provenance
from covid_debug.cleaning.workers import Job, read_and_clean
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import ArtifactError, FilmChangedError
from covid_debug.imaging.reading import FILM_ERRORS, read_film
from covid_debug.pool import run_in_order
from covid_debug.shards import NAME, Record, Records
from covid_debug.stages import Means, lose_film, work_on_films

_CODE_VERSION: Final = 6
_N_SHOWN: Final = 5
_PROBLEM: Final = "problem"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Attributes:
        n_films: Films of the cleaned data set.
        n_verified: Films that were made again and are equal, pixel by pixel.
        problems: One sentence each; empty when everything agrees.
    """

    n_films: int
    n_verified: int
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.problems

    def describe(self) -> str:
        """Return one line, or one line for each of the first five problems."""
        if self.is_clean:
            return f"{self.n_verified} of {self.n_films} films made again: all equal"
        shown = [f"  {problem}" for problem in self.problems[:_N_SHOWN]]
        more = len(self.problems) - len(shown)
        return "\n".join(
            [f"{len(self.problems)} problems in {self.n_films} films:", *shown]
            + ([f"  and {more} more"] if more else [])
        )


@dataclass(frozen=True, slots=True)
class _Check:
    job: Job
    input_sha256: str


def verify_cleaned(
    cleaned_dir: Path, original: FilmSet, *, means: Means | None = None
) -> Verification:
    """Clean every film again from the recorded regions and parameters and compare.

    Also checks every file against the manifest's hashes, every original against the recorded
    input hash, and that no pixel outside the recorded masks differs.

    Args:
        cleaned_dir: A data set made by :func:`covid_debug.cleaning.build.clean_filmset`.
        original: The data set that it was made from.
        means: How it is carried out; None works in this process.

    Returns:
        What was found.

    Raises:
        ArtifactError: If the folder is no cleaned data set or of an unknown version.
        DataIntegrityError: If its provenance cannot be read.
        InputContractError: If ``n_workers`` is less than 1.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder, "checks")
        records = make_again(cleaned_dir, original, out, means or Means(n_workers=1))
        return sum_up_checks(cleaned_dir, original, records)


def make_again(cleaned_dir: Path, original: FilmSet, out: Path, means: Means) -> Records:
    """Make every film again, and keep what is found of each.

    Args:
        cleaned_dir: As for :func:`verify_cleaned`.
        original: As for :func:`verify_cleaned`.
        out: What is made with the answers; they lie beside it.
        means: How it is carried out.

    Returns:
        The answers, for :func:`sum_up_checks`; remove them when ``out`` stands.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
    """
    provenance = read_provenance(cleaned_dir)
    checks = {
        job.film.image_id: _Check(job, provenance[job.film.image_id]["input_sha256"])
        for job in plan_jobs(load_filmset(cleaned_dir), original)
        if job.film.image_id in provenance
    }

    def work(names: Sequence[str], _: Path) -> Iterator[Record]:
        return run_in_order(
            _check_film,
            (checks[name] for name in names),
            means.n_workers,
            where="verify_cleaned",
            name=lambda check: check.job.source.path,
            lose=lambda check, reason: lose_film(check.job.film.image_id, reason),
        )

    inputs = [hash_file(cleaned_dir / MANIFEST_NAME), original.content_key]
    key = artifact_key("checks", _CODE_VERSION, None, inputs)
    return work_on_films(
        out, key, list(checks), work, means, title="films made again", refuse=_answer
    )


def sum_up_checks(cleaned_dir: Path, original: FilmSet, records: Records) -> Verification:
    """Return what :func:`verify_cleaned` returns, from what was found of each film."""
    manifest = read_manifest(cleaned_dir, kind="filmset")
    problems = [
        f"{name}: missing or not as written" for name in find_damage(cleaned_dir, kind="filmset")
    ]
    if manifest["facts"].get("original") != original.content_key:
        problems.append(f"{original.root}: is not the data set that this one was made from")
    films = load_filmset(cleaned_dir).films
    checked = [film.image_id for film in films if film.image_id in records]
    if len(checked) < len(films):
        problems.append(f"{len(films) - len(checked)} films have no original or no provenance")
    found = [records[name][_PROBLEM] for name in checked]
    return Verification(len(films), found.count(None), (*problems, *filter(None, found)))


def _read_params(folder: Path, manifest: Mapping[str, Any]) -> CleaningParams:
    recorded = manifest["parameters"]
    known = {field.name for field in dataclasses.fields(CleaningParams)}
    if not isinstance(recorded, dict) or set(recorded) != known:
        raise ArtifactError(
            f"{folder}: its cleaning parameters are those of another version; expected "
            f"{', '.join(sorted(known))}; verify with the version that made it"
        )
    return CleaningParams(**recorded)


def plan_jobs(cleaned: FilmSet, original: FilmSet) -> Iterator[Job]:
    """Prepare the cleaning of every film again, from what the cleaned data set recorded.

    Args:
        cleaned: A cleaned data set.
        original: The data set that it was made from; films that it lacks are left out.

    Yields:
        One job a film; ``output`` is the existing cleaned file.

    Raises:
        ArtifactError: If ``cleaned`` is not a cleaned data set or of an unknown version.
        DataIntegrityError: If its provenance cannot be read.
    """
    params = _read_params(cleaned.root, read_manifest(cleaned.root, kind="filmset"))
    actions = read_actions(cleaned.root)
    originals = {film.image_id: film for film in original.films}
    for film in cleaned.films:
        source, done = originals.get(film.image_id), actions.get(film.image_id)
        if source is not None and done is not None:
            yield Job(
                source,
                original.file_of(source),
                done.found,
                params,
                done.shapes,
                done.decoys,
                cleaned.path_of(film),
                film.path,
            )


def _answer(name: str, problem: str | None) -> Record:
    return {NAME: name, _PROBLEM: problem}


def _check_film(check: _Check) -> Record:
    return _answer(check.job.film.image_id, _find_problem(check))


def _find_problem(check: _Check) -> str | None:
    job = check.job
    try:
        image, again = read_and_clean(job)
        if image.sha256 != check.input_sha256:
            return f"{job.name}: the original is not the file that was cleaned"
        stored = read_film(job.output).pixels
    except FilmChangedError as error:
        return str(error)
    except FILM_ERRORS as error:
        return f"{job.name}: {error}"
    if stored.shape != again.pixels.shape or stored.dtype != again.pixels.dtype:
        return (
            f"{job.name}: has {stored.dtype} {stored.shape}, expected {again.pixels.dtype} "
            f"{again.pixels.shape}"
        )
    n_outside = int(np.count_nonzero((stored != image.pixels) & ~again.mask))
    if n_outside:
        return f"{job.name}: {n_outside} pixels outside the masks differ from the original"
    n_inside = int(np.count_nonzero(stored != again.pixels))
    return f"{job.name}: {n_inside} pixels inside the masks differ" if n_inside else None
