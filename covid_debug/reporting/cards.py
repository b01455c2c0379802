"""One card an audited film: pictures, probabilities, verdict.

Prepares what the template shows; decides nothing.
"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.artifact import Audit, AuditedFilm
from covid_debug.cleaning.provenance import read_actions
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import CovidDebugError, DataIntegrityError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import read_film
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.reporting.maps import ShownMap, show_maps
from covid_debug.reporting.pictures import FilmFrame, cut_out, draw_frame, draw_thumbnail
from covid_debug.reporting.verdicts import (
    BASELINE_NAMES,
    UNKNOWN_BASELINE,
    VERDICT_NAMES,
)

N_FIRST = 3
"""Films of the first screen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A probability of the target class after an intervention.

    Attributes:
        name: The intervention.
        value: Probability in [0, 1].
        nulls: The same intervention on places without text.
        kind: Style of the bar: ``"asis"`` or ``"test"``.
    """

    name: str
    value: float
    nulls: tuple[float, ...] = ()
    kind: str = "test"


@dataclass(frozen=True, slots=True)
class RegionRow:
    """A text region that a reviewer can decide about.

    Attributes:
        title: What was read, who saw it and how sure it was.
        box: ``x_min,y_min,x_max,y_max`` in film pixels.
        uri: ``data:`` address of the region cut out; empty where the film cannot be read.
    """

    title: str
    box: str
    uri: str


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that one card shows.

    Attributes:
        film: What the audit says of it.
        number: Place among the cards, the most severe first, from 1.
        name: Name of its file.
        verdict_name: Its verdict in words.
        thumbnail: ``data:`` address of the film as the model sees it, a small
            square; empty where the film cannot be read or is not on the first screen.
        frame: Film and cleaned film over each other.
        maps: Its maps by each method; empty for a film that was not chosen.
        bars: Probabilities of the target class.
        regions: Its text, in the order of the detector.
        facts: Further numbers, name and value.
    """

    film: AuditedFilm
    number: int
    name: str
    verdict_name: str
    thumbnail: str
    frame: FilmFrame
    maps: tuple[ShownMap, ...]
    bars: tuple[Bar, ...]
    regions: tuple[RegionRow, ...]
    facts: tuple[tuple[str, str], ...]


def build_cards(
    audit: Audit,
    filmset: FilmSet,
    cleaned: FilmSet | None,
    regions: Mapping[str, FilmRegions],
    view: ViewSpec,
    max_cards: int,
    n_workers: int = 2,
) -> list[Card]:
    """Prepare the cards.

    Args:
        audit: The audit.
        filmset: The original films.
        cleaned: The cleaned films, or None.
        regions: Image id -> text regions.
        view: What the model sees of a film.
        max_cards: At most this many films get a card.
        n_workers: Threads that read films.

    Returns:
        One card a film, the most severe first; a film that cannot be read gets a card that says so.
    """
    films = {film.image_id: film for film in filmset.films}
    copies = {} if cleaned is None else {film.image_id: film for film in cleaned.films}
    cut = _find_cut(cleaned)

    def build(item: tuple[int, AuditedFilm]) -> Card:
        number, entry = item
        found = regions.get(entry.image_id)
        texts = () if found is None else found.regions
        film = films.get(entry.image_id)
        original = _read(filmset, film)
        copy = _read(cleaned, copies.get(entry.image_id)) if cleaned else "no cleaned films"
        return Card(
            film=entry,
            number=number,
            name=Path(entry.path).name,
            verdict_name=VERDICT_NAMES[entry.verdict],
            thumbnail=draw_thumbnail(original, view) if number <= N_FIRST else "",
            frame=draw_frame(original, copy, texts, view),
            maps=show_maps(audit, entry, original, view),
            bars=tuple(_bars(entry)),
            regions=tuple(_region_row(original, text) for text in texts),
            facts=tuple(_facts(entry, film, cut.get(entry.image_id, 0))),
        )

    with ThreadPoolExecutor(n_workers) as pool:
        return list(pool.map(build, enumerate(rank_films(audit)[:max_cards], start=1)))


def rank_films(audit: Audit | None) -> list[AuditedFilm]:
    """Return the audited films, the most severe first; none without an audit."""
    return [] if audit is None else sorted(audit.films, key=lambda film: film.rank)


def _read(filmset: FilmSet | None, film: Film | None) -> NDArray[np.uint8] | str:
    """Return the film's pixels, or why there are none."""
    if filmset is None or film is None:
        return "not in this version of the films"
    try:
        return read_film(filmset.file_of(film)).to_uint8()
    except CovidDebugError as error:
        return str(error)


def _region_row(pixels: NDArray[np.uint8] | str, text: TextRegion) -> RegionRow:
    read = f"\u201c{text.content}\u201d, " if text.content else ""
    title = f"{read}seen by {text.detector.replace('+', ' and ')}, confidence {text.confidence:.2f}"
    box = ",".join(f"{value:.1f}" for value in text.box)
    return RegionRow(title, box, cut_out(pixels, text))


def _bars(entry: AuditedFilm) -> list[Bar]:
    after = entry.interventions
    everything, _ = BASELINE_NAMES.get(entry.baseline, UNKNOWN_BASELINE)
    bars = [
        Bar("Film as it is", entry.probability, kind="asis"),
        Bar("Text removed", after.text_removed, after.null_removed),
        Bar("Only text left", after.text_revealed),
        Bar(f"All {everything}", after.blurred),
    ]
    return [bar for bar in bars if not math.isnan(bar.value)]


def _find_cut(cleaned: FilmSet | None) -> dict[str, int]:
    """Return how many regions of each film the cleaning calls incomplete."""
    try:
        actions = {} if cleaned is None else read_actions(cleaned.root)
    except DataIntegrityError:  # no data set made by cleaning, or one that cannot be read
        return {}
    return {image_id: sum(done.incomplete) for image_id, done in actions.items()}


def _say_cut(n_cut: int) -> str:
    regions = "1 region" if n_cut == 1 else f"{n_cut} regions"
    return f"ink goes on outside the fill of {regions}" if n_cut else ""


def _facts(entry: AuditedFilm, film: Film | None, n_cut: int) -> list[tuple[str, str]]:
    share, p, q = entry.text_area_share, entry.p_value, entry.q_value
    rows = [
        ("After cleaning", entry.cleaned_class),
        ("Cleaned incompletely", _say_cut(n_cut)),
        ("Text, share of view", "" if math.isnan(share) else f"{100 * share:.1f} %"),
        ("p, q", "" if math.isnan(p) else f"{p:.3g}" + ("" if math.isnan(q) else f", {q:.3g}")),
        ("Patient", film.patient_id if film else None),
        ("Image id", entry.image_id),
    ]
    return [(name, value) for name, value in rows if value]
