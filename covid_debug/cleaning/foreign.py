"""Checks films that another tool cleaned: two folders, before and after, and no data set.

Owns the comparison of files: what text is left, what changed beside the text, whether the fills can
be seen. Builds of this program have a proof of their own, :mod:`covid_debug.cleaning.proof`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from covid_debug.artifacts import write_artifact
from covid_debug.cleaning.archive import OWN_NAMES
from covid_debug.cleaning.foreign_film import ForeignFilm, compare_film
from covid_debug.cleaning.patches import Features
from covid_debug.cleaning.scar import ProbeParams, estimate_auc
from covid_debug.data.listing import collect_films
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.imaging.reading import (
    FILM_OR_MODEL_ERRORS,
)
from covid_debug.pool import run_in_order
from covid_debug.progress import SILENT, Listener
from covid_debug.records_json import read_lines, write_lines, write_record
from covid_debug.shown import to_printable
from covid_debug.text.finder import Finder
from covid_debug.text.scan import limit_threads

FILMS_NAME: Final = "films.jsonl"
PROOF_NAME: Final = "proof.json"
KIND: Final = "foreign_proof"
_N_SHOWN: Final = 20

_worker: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ForeignProof:
    """What another tool did to a folder of films.

    Attributes:
        detector: What looked for text.
        n_films: Films of the first folder.
        n_missing: Those of them without a film of the same place and name in the second.
        n_failed: Those that could not be compared.
        share_before: Share of the compared films on which text is found before.
        share_after: The same after.
        share_in_filled: Share with text at a changed place.
        share_untouched: Share that is byte for byte or value for value the same.
        n_changed_outside: Films with changes beside the text.
        n_visible_outside: Films where these can be seen.
        patch_auc: Filled places against untouched ones that are like them, on held-out films; 0.5
            is chance. What the matching itself is worth is about 0.55.
    """

    detector: str
    n_films: int
    n_missing: int
    n_failed: int
    share_before: Estimate
    share_after: Estimate
    share_in_filled: Estimate
    share_untouched: Estimate
    n_changed_outside: int
    n_visible_outside: int
    patch_auc: Estimate

    @property
    def is_complete(self) -> bool:
        """Whether every film was compared."""
        return not (self.n_missing or self.n_failed)

    def describe(self) -> str:
        """Return one line: what could not be compared, else what was found after cleaning."""
        if not self.is_complete:
            return (
                f"{self.n_missing + self.n_failed} of {self.n_films} films could not be compared"
                f" ({self.n_missing} without a counterpart)"
            )
        left = round(self.share_after.value * self.n_films)
        return (
            f"{self.n_films} films compared: {self.detector} finds text on {left} of them after"
            f" cleaning; changes beside the text can be seen on {self.n_visible_outside}"
        )

    def to_markdown(self) -> str:
        """Return the proof as a short page."""
        n_compared = self.n_films - self.n_missing - self.n_failed
        lines = [
            "| what | value |",
            "|---|---:|",
            f"| films compared | {n_compared} of {self.n_films} |",
            f"| without a counterpart | {self.n_missing} |",
            f"| not comparable | {self.n_failed} |",
            f"| films with text before ({self.detector}) | {_say(self.share_before)} |",
            f"| films with text after | {_say(self.share_after)} |",
            f"| films with text at a changed place | {_say(self.share_in_filled)} |",
            f"| films without any change | {_say(self.share_untouched)} |",
            f"| films with changes beside the text | {self.n_changed_outside} |",
            f"| films where these can be seen | {self.n_visible_outside} |",
            f"| fills told from untouched places (AUC) | {_say(self.patch_auc, is_share=False)} |",
        ]
        return "\n".join(lines) + "\n"


def _say(value: Estimate, *, is_share: bool = True) -> str:
    if not value.is_defined:
        return f"not measured ({value.reason})"
    form = ".1%" if is_share else ".2f"
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"


def prove_foreign(
    before: Path,
    after: Path,
    out: Path,
    finder: Finder,
    params: ProbeParams | None = None,
    *,
    n_workers: int = 1,
    listener: Listener = SILENT,
) -> ForeignProof:
    """Compare films before and after a cleaning by whatever tool.

    Args:
        before: Folder of the films as they were.
        after: Folder of the cleaned ones, at the same places and under the same names; another
            suffix is followed.
        out: Folder to create: ``proof.json`` and ``films.jsonl``.
        finder: Finds text; best one that is not the tool's own.
        params: How scars are probed; a film stands for a patient.
        n_workers: Processes.
        listener: Who is told.

    Returns:
        The proof.

    Raises:
        InputContractError: If a folder holds no film, or no film has a counterpart.
    """
    params = params or ProbeParams()
    pairs, missing = pair_films(before, after, listener)
    films: list[ForeignFilm] = []
    features: list[Features] = []
    positive: list[bool] = []
    names: list[str] = []
    found = run_in_order(
        _work,
        pairs,
        min(n_workers, len(pairs)),
        where="prove",
        prepare=partial(_start_worker, finder, params.seed),
        name=lambda pair: pair[0],
    )
    with write_artifact(out, kind=KIND, parameters=params, inputs=None) as draft:
        with listener.progress("films") as progress:
            for n_done, (film, filled, matched) in enumerate(found, start=1):
                films.append(film)
                features += [*filled, *matched]
                positive += [True] * len(filled) + [False] * len(matched)
                names += [film.film] * (len(filled) + len(matched))
                progress(n_done, len(pairs))
        auc = estimate_auc(features, positive, names, params)
        films += [ForeignFilm(name, "has no counterpart") for name in missing]
        proof = _summarise(films, len(missing), finder.detector.name, auc)
        write_lines(draft.path / FILMS_NAME, films)
        write_record(draft.path / PROOF_NAME, proof)
    return proof


def read_foreign(out: Path) -> tuple[ForeignFilm, ...]:
    """Read what :func:`prove_foreign` wrote of each film.

    Args:
        out: Its folder.

    Returns:
        One record a film.

    Raises:
        ArtifactError: If there is none, or a line is no film.
    """
    return read_lines(
        out / FILMS_NAME,
        ForeignFilm,
        broken="is not the proof of cleaned films",
        remedy="make it again with `prove BEFORE AFTER --out`",
    )


def describe_films(films: Iterable[ForeignFilm]) -> list[str]:
    """Return a line for each film that a person should look at, the worst 20 first."""
    lines = []
    for film in sorted(films, key=_rank):
        said = [film.error] if film.error else []
        if film.text_after:
            said.append(f"places with text: {len(film.text_after)}")
        if film.n_visible_outside:
            said.append(f"pixels visibly changed beside the text: {film.n_visible_outside}")
        said += film.notes
        if said:
            lines.append(f"{film.film}: {'; '.join(said)}")
    more = len(lines) - _N_SHOWN
    return [*lines[:_N_SHOWN], *([f"and {more} more films"] if more > 0 else [])]


def _rank(film: ForeignFilm) -> tuple[int, int]:
    return -len(film.text_after) if not film.error else -_N_SHOWN, -film.n_visible_outside


def pair_films(
    before: Path, after: Path, listener: Listener
) -> tuple[list[tuple[str, Path, Path]], list[str]]:
    """Find the counterpart of each film.

    Args:
        before: Folder of the films as they were.
        after: Folder of the cleaned ones.
        listener: Told how many files are no films.

    Returns:
        Name, first and second file of each film that has one; the names of those without.

    Raises:
        InputContractError: If a folder holds no film, or no film has a counterpart.
    """
    first, second = (_list(folder, listener) for folder in (before, after))
    stems: dict[Path, list[Path]] = {}
    for place in second:
        stems.setdefault(place.with_suffix(""), []).append(place)
    pairs, missing = [], []
    for place, path in first.items():
        others = [place] if place in second else stems.get(place.with_suffix(""), [])
        name = to_printable(place)
        if len(others) == 1:
            pairs.append((name, path, second[others[0]]))
        else:
            missing.append(name)
    if not pairs:
        raise InputContractError(
            f"no film of {before} has one of the same place and name in {after}; give the folder"
            " before cleaning first, then the folder after"
        )
    return pairs, missing


def _list(folder: Path, listener: Listener) -> dict[Path, Path]:
    if not folder.is_dir():
        raise InputContractError(f"{folder}: is no folder; expected films before or after cleaning")
    files = [file for _, file in collect_films([folder], None, listener, own_names=OWN_NAMES)]
    paths = [file if isinstance(file, Path) else file.path for file in files]
    return {path.relative_to(folder): path for path in paths}


def _start_worker(finder: Finder, seed: int) -> None:
    limit_threads()
    _worker.update(finder=finder, seed=seed)


def _work(pair: tuple[str, Path, Path]) -> tuple[ForeignFilm, list[Features], list[Features]]:
    name, first, second = pair
    try:
        return compare_film(name, first, second, _worker["finder"], _worker["seed"])
    except FILM_OR_MODEL_ERRORS as error:
        return ForeignFilm(name, " ".join(str(error).split()) or type(error).__name__), [], []


def _summarise(
    films: Sequence[ForeignFilm], n_missing: int, detector: str, auc: Estimate
) -> ForeignProof:
    compared = [film for film in films if not film.error]
    counts: Mapping[str, int] = {
        "before": sum(bool(film.text_before) for film in compared),
        "after": sum(bool(film.text_after) for film in compared),
        "in_filled": sum(film.n_in_filled > 0 for film in compared),
        "untouched": sum(film.n_changed == 0 for film in compared),
    }
    shares = {name: wilson_interval(count, len(compared)) for name, count in counts.items()}
    return ForeignProof(
        detector,
        len(films),
        n_missing,
        len(films) - n_missing - len(compared),
        shares["before"],
        shares["after"],
        shares["in_filled"],
        shares["untouched"],
        sum(film.n_changed_outside > 0 for film in compared),
        sum(film.n_visible_outside > 0 for film in compared),
        auc,
    )
