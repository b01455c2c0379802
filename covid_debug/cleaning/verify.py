"""Does a cleaned data set hold what its manifest says?

Owns recomputation and comparison; repairs nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from covid_debug.artifacts import find_damage, read_manifest
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.provenance import read_actions, read_provenance
from covid_debug.cleaning.workers import Job, read_and_clean
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import ArtifactError, FilmChangedError
from covid_debug.imaging.reading import FILM_ERRORS, read_film
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress

_N_SHOWN: Final = 5


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
    cleaned_dir: Path,
    original: FilmSet,
    *,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> Verification:
    """Clean every film again from the recorded regions and parameters and compare.

    Also checks every file against the manifest's hashes, every original against the recorded
    input hash, and that no pixel outside the recorded masks differs.

    Args:
        cleaned_dir: A data set made by :func:`covid_debug.cleaning.build.clean_filmset`.
        original: The data set that it was made from.
        n_workers: Processes; 1 works in this process.
        progress: Called with (films done, films in total).

    Returns:
        What was found.

    Raises:
        ArtifactError: If the folder is no cleaned data set or of an unknown version.
        DataIntegrityError: If its provenance cannot be read.
        InputContractError: If ``n_workers`` is less than 1.
    """
    manifest = read_manifest(cleaned_dir, kind="filmset")
    problems = [
        f"{name}: missing or not as written" for name in find_damage(cleaned_dir, kind="filmset")
    ]
    cleaned = load_filmset(cleaned_dir)
    if manifest["facts"].get("original") != original.content_key:
        problems.append(f"{original.root}: is not the data set that this one was made from")
    provenance = read_provenance(cleaned_dir)
    checks = [
        _Check(job, provenance[job.film.image_id]["input_sha256"])
        for job in plan_jobs(cleaned, original)
        if job.film.image_id in provenance
    ]
    n_lost = len(cleaned.films) - len(checks)
    if n_lost:
        problems.append(f"{n_lost} films have no original or no provenance")
    n_verified = 0
    results = run_in_order(_check_film, checks, n_workers, where="verify_cleaned")
    for n_done, found in enumerate(results, start=1):
        n_verified += found is None
        if found is not None:
            problems.append(found)
        if progress is not None:
            progress(n_done, len(checks))
    return Verification(len(cleaned.films), n_verified, tuple(problems))


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


def _check_film(check: _Check) -> str | None:
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
