"""Films as other review tools get them, and answers from there as decisions.

Owns which films are reviewed, which file shows them, and how a rectangle becomes a decision about a
region. The tools' file formats belong to :mod:`covid_debug.reporting.label_studio` and
:mod:`covid_debug.reporting.fiftyone`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from covid_debug.audit.artifact import Audit, AuditedFilm
from covid_debug.cleaning.decisions import Decision
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import CovidDebugError, DataIntegrityError, InputContractError
from covid_debug.imaging.boxes import intersection_over_union
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.writing import write_png
from covid_debug.records import Box, Film, FilmRegions, TextRegion
from covid_debug.reporting.cards import rank_films
from covid_debug.reporting.verdicts import VERDICT_NAMES

UNDECIDED: Final = "undecided"
REGION_ANSWERS: Final[Mapping[str, str]] = {
    "remove": "accept",
    "keep": "keep",
    "not text": "reject",
}
"""What a reviewer says of a region, and the decision that it is."""

_SHOWN_BY_BROWSERS: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_MIN_OVERLAP: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFilm:
    """A film to be reviewed elsewhere.

    Attributes:
        film: The film.
        file: What shows it, absolute: its own file, or a PNG where browsers show no such file.
        regions: Its text.
        entry: What the audit says of it, or None.
    """

    film: Film
    file: Path
    regions: tuple[TextRegion, ...]
    entry: AuditedFilm | None = None

    @property
    def summary(self) -> str:
        """What a reviewer should know of it, in a line."""
        film, entry = self.film, self.entry
        start = f"{Path(film.path).name}: true {film.label}, {film.source}, {film.split}"
        if entry is None:
            return start
        after = entry.interventions.text_removed
        without = "" if math.isnan(after) else f", without text {after:.2f}"
        return (
            f"{start}; predicted {entry.predicted_class}"
            f" (p {entry.probability:.2f}{without}): {VERDICT_NAMES[entry.verdict]}"
        )


def gather_films(
    filmset: FilmSet, regions: Mapping[str, FilmRegions], audit: Audit | None, pictures: Path
) -> tuple[list[ReviewFilm], list[str]]:
    """Choose the films to review and what shows them.

    Args:
        filmset: The films.
        regions: Image id -> text regions.
        audit: Its films are chosen, the most severe first; None chooses all films with text.
        pictures: Folder for PNG copies of films that browsers do not show, such as DICOM; made
            when there is one.

    Returns:
        The films, and a line for each one that cannot be shown.

    Raises:
        InputContractError: If there is nothing to review.
    """
    films = {film.image_id: film for film in filmset.films}
    entries = {entry.image_id: entry for entry in rank_films(audit)}
    chosen = (
        [films[image_id] for image_id in entries if image_id in films]
        if audit is not None
        else [f for f in filmset.films if f.image_id in regions and regions[f.image_id].regions]
    )
    if not chosen:
        raise InputContractError(
            f"{filmset.root}: has no film to review; expected films that the audit is about, or"
            " films with text in the regions"
        )
    found, failed = [], []
    for film in chosen:
        try:
            file = _find_file(filmset, film, pictures)
        except CovidDebugError as error:
            failed.append(f"{film.path}: left out: {error}")
            continue
        known = regions.get(film.image_id)
        found.append(
            ReviewFilm(
                film=film,
                file=file,
                regions=() if known is None else known.regions,
                entry=entries.get(film.image_id),
            )
        )
    return found, failed


def _find_file(filmset: FilmSet, film: Film, pictures: Path) -> Path:
    path = filmset.path_of(film).resolve()
    if path.suffix.lower() in _SHOWN_BY_BROWSERS:
        if not path.is_file():
            raise DataIntegrityError(f"{path}: no such file; put it back or ingest again")
        return path
    pictures.mkdir(parents=True, exist_ok=True)
    copy = pictures.resolve() / f"{film.image_id}.png"
    write_png(copy, read_film(filmset.file_of(film)).to_uint8())
    return copy


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle that comes back from a tool.

    Attributes:
        box: In film pixels.
        answer: A key of ``REGION_ANSWERS``; anything else says nothing.
        index: Place of the region that it was sent as, or None.
    """

    box: Box
    answer: str
    index: int | None = None


def decide_regions(
    image_id: str, reviewer: str, rectangles: Sequence[Rectangle], known: Mapping[int, Box]
) -> tuple[list[Decision], int]:
    """Turn rectangles into decisions.

    A rectangle that overlaps a known region by half is about it, whatever was moved a little. One
    that does not and says "remove" is text that no detector saw.

    Args:
        image_id: The film.
        reviewer: Who decided.
        rectangles: What came back; undecided ones say nothing.
        known: Place of a region that was sent -> its box; a tool may have deleted some.

    Returns:
        The decisions, and the number of rectangles at no region that do not say "remove".

    Raises:
        DataIntegrityError: If two rectangles say different things about one region.
    """
    decisions: dict[int, Decision] = {}
    added, n_left = [], 0
    for rectangle in rectangles:
        if rectangle.answer not in REGION_ANSWERS:
            continue
        answer = REGION_ANSWERS[rectangle.answer]
        index = _find_region(rectangle, known)
        if index is not None:
            decision = Decision(image_id, answer, reviewer, index, known[index])
            if decisions.setdefault(index, decision) != decision:
                raise DataIntegrityError(
                    f"film {image_id!r}: two rectangles say different things about region"
                    f" {index + 1} ({decisions[index].decision}, {answer}); expected one answer;"
                    " delete one of them there and export again"
                )
        elif rectangle.answer == "remove":
            added.append(Decision(image_id, "add", reviewer, None, rectangle.box))
        else:
            n_left += 1
    return [*decisions.values(), *added], n_left


def _find_region(rectangle: Rectangle, known: Mapping[int, Box]) -> int | None:
    overlaps = {i: intersection_over_union(rectangle.box, box) for i, box in known.items()}
    index = rectangle.index
    if index is not None and overlaps.get(index, 0.0) >= _MIN_OVERLAP:
        return index
    best = max(overlaps, key=lambda i: overlaps[i], default=None)
    return None if best is None or overlaps[best] < _MIN_OVERLAP else best


def to_box(values: Sequence[float]) -> Box:
    """Return four numbers of a file as a box."""
    x_min, y_min, x_max, y_max = map(float, values)
    return (x_min, y_min, x_max, y_max)


@dataclass(frozen=True, slots=True)
class Returned:
    """What a tool's export says.

    Attributes:
        decisions: In the order of the export.
        reviewers: Everyone who answered, the others' decisions included.
        n_films: Films in the export.
        n_left: Rectangles at no region that do not say "remove", left out.
    """

    decisions: tuple[Decision, ...]
    reviewers: tuple[str, ...]
    n_films: int
    n_left: int


def choose_reviewer(reviewers: Sequence[str], wanted: str | None) -> str | None:
    """Return whose answers are taken, so that nobody's silently replace another's.

    Args:
        reviewers: Everyone who answered, as the tool calls them.
        wanted: The reviewer asked for, or None.

    Returns:
        One of ``reviewers``; None where nobody answered.

    Raises:
        InputContractError: If several answered and none of them was named.
    """
    if len(reviewers) > 1 and wanted not in reviewers:
        raise InputContractError(
            f"the export holds {len(reviewers)} reviewers ({', '.join(reviewers)}), whose answers"
            " would replace one another; name one of them with --reviewer, a file for each"
        )
    return wanted if len(reviewers) > 1 else next(iter(reviewers), None)
