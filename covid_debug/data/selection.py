"""Film sets made of the films of another one, without a copy of their pixels.

Owns which films are taken and in which split they stand: the test films alone, also those of a
set from elsewhere, the folds that leave a source out, and the counterfactuals of a set with known
truth.
"""

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import write_artifact
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Film
from covid_debug.stages import Means, Request


@dataclass(frozen=True)
class _SelectionRequest(Request):
    """What the ways of choosing share.

    Attributes:
        filmset: The films to choose from.
    """

    filmset: Path

    makes: ClassVar[str] = "filmset"
    code_version: ClassVar[int] = 1

    def make(self, out: Path, means: Means) -> FilmSet:  # noqa: ARG002
        """Write the lists; pixels stay where they are."""
        filmset = load_filmset(self.filmset)
        name, films = self._choose(filmset)
        if not films:
            raise DataIntegrityError(f"{filmset.root}: has no film for {name!r}")
        placed = [dataclasses.replace(film, path=_place(filmset, film, out)) for film in films]
        with write_artifact(
            out, kind=self.makes, parameters=self.parameters(), inputs=self.inputs()
        ) as draft:
            write_films(draft.path, placed)
            write_unusable(draft.path, [])
            write_split_lists(draft.path, placed)
            draft.facts.update(
                name=f"{filmset.name}/{name}",
                class_names=list(filmset.class_names),
                n_ok=len(placed),
                n_total=len(placed),
            )
        return load_filmset(out)

    @abstractmethod
    def _choose(self, filmset: FilmSet) -> tuple[str, Sequence[Film]]: ...


@dataclass(frozen=True)
class SelectTestRequest(_SelectionRequest):
    """Take the test films alone."""

    stage: ClassVar[str] = "test-films"

    def _choose(self, filmset: FilmSet) -> tuple[str, Sequence[Film]]:
        return "test", filmset.select("test")


@dataclass(frozen=True)
class ExternalTestRequest(SelectTestRequest):
    """Take the test films of a set that no stage of the run made, and know it by its content."""

    stage: ClassVar[str] = "external-films"

    def parameters(self) -> object:
        """Return where the films lie."""
        return {"folder": str(self.filmset.absolute())}

    def inputs(self) -> dict[str, str]:
        """Return what the film set says; the folder of another one may have the same name."""
        return {"filmset": load_filmset(self.filmset).content_key}

    def _choose(self, filmset: FilmSet) -> tuple[str, Sequence[Film]]:
        name, films = super()._choose(filmset)
        return name, [
            dataclasses.replace(film, path=str(filmset.path_of(film).absolute())) for film in films
        ]


@dataclass(frozen=True)
class LeaveOutRequest(_SelectionRequest):
    """Leave one source out: train without it, test on all of it.

    Attributes:
        source: The source. Its films, whatever their split was, become the test films; training
            and validation films are those of the other sources; test films of the others are in
            no split.
    """

    source: str

    stage: ClassVar[str] = "without-source"

    def _choose(self, filmset: FilmSet) -> tuple[str, Sequence[Film]]:
        if all(film.source != self.source for film in filmset.films):
            raise DataIntegrityError(
                f"{filmset.root}: has no film of source {self.source!r}; expected one of"
                f" {', '.join(sorted({film.source for film in filmset.films}))}"
            )
        return f"without {self.source}", leave_out(filmset, self.source)


@dataclass(frozen=True)
class TwinsRequest(_SelectionRequest):
    """Take one kind of counterfactual of the test films of a set with known truth.

    Attributes:
        kind: ``"text_free"`` or ``"text_swapped"``.
    """

    kind: str

    stage: ClassVar[str] = "twins"

    def _choose(self, filmset: FilmSet) -> tuple[str, Sequence[Film]]:
        twins = load_counterfactuals(filmset)
        return self.kind, twins[self.kind].films if self.kind in twins else ()


def leave_out(filmset: FilmSet, source: str) -> tuple[Film, ...]:
    """Return the films of the fold that leaves a source out, in the order of the set."""
    films = []
    for film in filmset.films:
        if film.source == source:
            films.append(dataclasses.replace(film, split="test"))
        elif film.split != "test":
            films.append(film)
    return tuple(films)


def plan_folds(filmset: FilmSet) -> tuple[tuple[str, ...], dict[str, str]]:
    """Find the sources that can be left out.

    Args:
        filmset: The films.

    Returns:
        The sources whose fold keeps every class in training and in validation, in alphabetical
        order; and the others with the reason.
    """
    kept: list[str] = []
    lost: dict[str, str] = {}
    for source in sorted({film.source for film in filmset.films}):
        films = leave_out(filmset, source)
        gaps = [
            f"{name} in {split}"
            for split in ("train", "val")
            for name in filmset.class_names
            if not any(film.split == split and film.label == name for film in films)
        ]
        if gaps:
            lost[source] = f"without it there is no {', no '.join(gaps)}"
        else:
            kept.append(source)
    return tuple(kept), lost


def _place(filmset: FilmSet, film: Film, out: Path) -> str:
    if Path(film.path).is_absolute():
        return film.path
    return os.path.relpath((filmset.root / film.path).absolute(), out.absolute())
