"""Films of a plain folder of images: no labels, no patients, more of them every day.

Owns which of its films are new, and the film set made of them: every film is a test film of the
one class ``"unlabelled"`` and its own patient.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import write_artifact
from covid_debug.data.filmset import FilmSet, load_filmset, write_films, write_unusable
from covid_debug.data.fingerprints import FilmFacts, examine_films
from covid_debug.data.integrity import BLANK, UNREADABLE
from covid_debug.data.listing import collect_films
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import FilmFile
from covid_debug.records import Film, UnusableFilm
from covid_debug.shown import to_printable
from covid_debug.stages import Means, Request

UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class NewFilms:
    """What is new in a folder.

    Attributes:
        films: Films that were not known, in the order of their paths.
        unusable: New files that are no film yet, or none at all; looked at again the next time.
        n_known: Files that were passed over as known.
    """

    films: tuple[Film, ...]
    unusable: tuple[UnusableFilm, ...]
    n_known: int


def find_new_films(
    folder: Path, known_ids: Collection[str], seen_at: Mapping[str, float], means: Means
) -> NewFilms:
    """Find the films of a folder that are not known.

    Args:
        folder: Folder of images, at any depth.
        known_ids: Image ids of the films that are known, wherever their files lie.
        seen_at: Path of a known film -> when it was seen, in seconds of the clock; its file is
            not read again unless it has changed since.
        means: How many files are read at once, and who is told.

    Returns:
        The new films; of files with the same bytes the first one.

    Raises:
        DataIntegrityError: If there is no such folder.
        InputContractError: If it holds no image.
    """
    if not folder.is_dir():
        raise DataIntegrityError(f"{folder}: no such folder; expected one that films arrive in")
    listed = collect_films([folder.absolute()], None, means.listener)
    files = [file.path if isinstance(file, FilmFile) else file for _, file in listed]
    unread = [path for path in files if not _is_unchanged(path, seen_at)]
    films: dict[str, Film] = {}
    unusable = []
    n_known = len(files) - len(unread)
    with means.listener.progress("new files") as progress:
        facts = examine_films(unread, means.n_workers, progress)
    for path, fact in zip(unread, facts, strict=True):
        if isinstance(fact, DataIntegrityError):
            reason = f"{UNREADABLE}: {str(fact).removeprefix(f'{to_printable(path)}: ')}"
            unusable.append(UnusableFilm(to_printable(path), to_printable(folder.name), reason))
        elif fact.is_blank:
            reason = f"{BLANK}: its view holds a single gray value"
            unusable.append(UnusableFilm(str(path), folder.name, reason))
        elif fact.sha256[:16] in known_ids or fact.sha256[:16] in films:
            n_known += 1
        else:
            films[fact.sha256[:16]] = _to_film(path, folder.name, fact)
    return NewFilms(tuple(films.values()), tuple(unusable), n_known)


def _is_unchanged(path: Path, seen_at: Mapping[str, float]) -> bool:
    seen = seen_at.get(str(path))
    if seen is None:
        return False
    facts = path.stat()
    return max(facts.st_mtime, facts.st_ctime) < seen  # a copy may bring its old mtime along


def _to_film(path: Path, source: str, fact: FilmFacts) -> Film:
    image_id = fact.sha256[:16]
    return Film(
        image_id=image_id,
        path=str(path),
        patient_id=f"{source}:{image_id}",
        label=UNLABELLED,
        source=source,
        view="",
        split="test",
        width=fact.width,
        height=fact.height,
        sha256=fact.sha256,
        window_low=fact.window[0],
        window_high=fact.window[1],
    )


@dataclass(frozen=True)
class NewFilmsRequest(Request):
    """Make a film set of new films of a folder, without a copy of their pixels.

    Attributes:
        folder: Where they lie.
        found: What is new there.
    """

    folder: Path
    found: NewFilms

    stage: ClassVar[str] = "new-films"
    makes: ClassVar[str] = "filmset"
    code_version: ClassVar[int] = 1

    def parameters(self) -> object:
        """Return where the films lie."""
        return {"folder": str(self.folder.absolute())}

    def inputs(self) -> dict[str, str]:
        """Return a hash of the films' own and their names: a renamed film is looked up anew."""
        named = sorted(f"{film.sha256} {film.path}\n" for film in self.found.films)
        digest = hashlib.sha256("".join(named).encode("utf-8", "surrogateescape"))
        return {"films": digest.hexdigest()[:16]}

    def make(self, out: Path, means: Means) -> FilmSet:  # noqa: ARG002
        """Write the list; split lists have no word for a film without a label."""
        films, unusable = self.found.films, self.found.unusable
        with write_artifact(
            out, kind=self.makes, parameters=self.parameters(), inputs=self.inputs()
        ) as draft:
            write_films(draft.path, films)
            write_unusable(draft.path, unusable)
            draft.facts.update(
                name=self.folder.name,
                class_names=[UNLABELLED],
                n_ok=len(films),
                n_total=len(films) + len(unusable),
            )
        return load_filmset(out)
