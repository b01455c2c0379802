"""Finds the cleaned copy of each annotated film."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.text.annotated import AnnotatedFilm
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import FilmFile, read_film


def find_copies(
    films: Sequence[AnnotatedFilm], sources: Path, cleaned: Path
) -> dict[str, FilmFile]:
    """Find the cleaned copy of each film.

    Args:
        films: The annotated films.
        sources: Folder that their paths are relative to.
        cleaned: A cleaned data set of covid-debug (films are found by the hash of their original),
            or any folder of films (found by name, whatever their suffix and folder).

    Returns:
        Annotated path -> cleaned film; films without a copy are left out.

    Raises:
        DataIntegrityError: If the folder is missing, holds no copy at all, or two copies of a film.
    """
    if not cleaned.is_dir():
        raise DataIntegrityError(f"{cleaned}: no such folder; expected cleaned films")
    found = (
        _find_by_hash(films, sources, cleaned)
        if (cleaned / "films.csv").is_file()
        else _find_by_name(films, cleaned)
    )
    if not found:
        raise DataIntegrityError(
            f"{cleaned}: has no copy of any annotated film; expected such as"
            f" {Path(films[0].path).with_suffix('.png')}"
        )
    return found


def _find_by_hash(
    films: Sequence[AnnotatedFilm], sources: Path, cleaned: Path
) -> dict[str, FilmFile]:
    filmset = load_filmset(cleaned)
    copies = {film.image_id: filmset.file_of(film) for film in filmset.films}
    hashes = {film.path: read_film(sources / film.path).sha256[:16] for film in films}
    return {path: copies[image_id] for path, image_id in hashes.items() if image_id in copies}


def _find_by_name(films: Sequence[AnnotatedFilm], cleaned: Path) -> dict[str, FilmFile]:
    files = _index_files(cleaned)
    found = {}
    for film in films:
        wanted = Path(film.path).with_suffix("").parts
        best: dict[int, list[Path]] = defaultdict(list)
        for path in files.get(wanted[-1], ()):
            best[_shared_tail(wanted, path.relative_to(cleaned).with_suffix("").parts)].append(path)
        if not best:
            continue
        paths = best[max(best)]
        if len(paths) > 1:
            raise DataIntegrityError(
                f"{cleaned}: {paths[0].name} and {paths[1].name} can both be {film.path}; keep one"
            )
        found[film.path] = FilmFile(paths[0])
    return found


def _index_files(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[path.stem].append(path)
    return files


def _shared_tail(wanted: Sequence[str], there: Sequence[str]) -> int:
    pairs = list(zip(reversed(wanted), reversed(there), strict=False))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
