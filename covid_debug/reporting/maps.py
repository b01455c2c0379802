"""The evidence maps of a card: each on the film and beside the others, with what it says.

Decides nothing; which methods made maps is the audit's business.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.artifact import Audit, AuditedFilm, SaliencyEvidence
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.reporting.pictures import Layer, draw_overlay, lay_map
from covid_debug.saliency.naming import meaning_of, title_of

WHICH_MAP = (
    "No map makes the verdict; removing the text does. Where a learned word drove the class, the"
    " top of the path gradient lay in it more than that of iGOS++ (rank accuracy .66 against .59 on"
    " 48 films of 112 px, 28 cells; their maxima as often); both also rest on harmless text. Where"
    " maps differ, look at the bars."
)
"""Which map to trust for what, in the legend of the films; see ``benchmarks/localisation.md``."""
NO_MAPS = (
    "no map was made: the audit explains a limited number of films, those under most suspicion and"
    " a few others; that says nothing about this film"
)
"""Of a film that was not chosen."""


@dataclass(frozen=True, slots=True)
class ShownMap:
    """What a card shows of one method's map.

    Attributes:
        number: Place of the method in the audit, from 1; the same on every card.
        title: What people call the method.
        layer: The map over the film, or None.
        overlay: ``data:`` address of the model's view under the map; empty without one.
        absent: Why there is no map; empty with one.
        bars: Name and probability of the target class after what was done to the map's top places.
        in_text: How much of the map lies in text; empty where nothing can be said.
    """

    number: int
    title: str
    layer: Layer | None = None
    overlay: str = ""
    absent: str = ""
    bars: tuple[tuple[str, float], ...] = ()
    in_text: str = ""


@dataclass(frozen=True, slots=True)
class MapLegend:
    """What the page says of all maps.

    Attributes:
        methods: Title of each method and what its map shows; a meaning may be empty.
        which: Which map to trust for what.
        absent: Of a film that was not chosen.
        n_films: Films with a map, and audited films.
    """

    methods: tuple[tuple[str, str], ...]
    n_films: tuple[int, int] = (0, 0)
    which: str = WHICH_MAP
    absent: str = NO_MAPS


def show_maps(
    audit: Audit, entry: AuditedFilm, film: NDArray[np.uint8] | str, view: ViewSpec
) -> tuple[ShownMap, ...]:
    """Prepare a film's maps by every method of the audit.

    Args:
        audit: The audit.
        entry: What it says of the film.
        film: ``(H, W)``, or why it cannot be shown.
        view: What the model sees of it.

    Returns:
        One item a method, also where it made no map; none for a film that was not chosen.
    """
    if entry.explained_because is None and not entry.maps:
        return ()
    return tuple(
        _show(audit, entry, film, view, method, number)
        for number, method in enumerate(audit.map_methods, start=1)
    )


def describe_maps(audit: Audit | None) -> MapLegend:
    """Return what the page says of all maps."""
    methods = () if audit is None else audit.map_methods
    n_films = (0, 0)
    if audit is not None:
        n_films = (sum(bool(film.maps) for film in audit.films), audit.summary.n_audited)
    legend = tuple((title_of(method), meaning_of(method)) for method in methods)
    return MapLegend(legend, n_films)


def _show(
    audit: Audit,
    entry: AuditedFilm,
    film: NDArray[np.uint8] | str,
    view: ViewSpec,
    method: str,
    number: int,
) -> ShownMap:
    title, said = title_of(method), entry.maps.get(method)
    if said is None:
        why = entry.no_maps.get(method, "see the reasons")
        return ShownMap(number, title, absent=f"no map: {why}")
    if said.void:
        return ShownMap(number, title, absent=f"void map: {said.void_reason}")
    saliency = audit.load_map(entry.image_id, method)
    side = view.image_size
    if saliency is None:
        return ShownMap(number, title, absent="no map: its file is missing")
    if saliency.shape != (side, side):
        absent = f"the map has {saliency.shape} cells, not the view's size"
        return ShownMap(number, title, absent=absent)
    bars = (
        ("Top 12 % removed", said.deletion_top12),
        ("Only top 6 % left", said.insertion_top6),
    )
    in_text = _say_in_text(said)
    if isinstance(film, str):
        return ShownMap(number, title, bars=bars, in_text=in_text)
    layer, overlay = lay_map(film, saliency, view), draw_overlay(film, saliency, view)
    return ShownMap(number, title, layer, overlay, "", bars, in_text)


def _say_in_text(said: SaliencyEvidence) -> str:
    if said.mass_in_text is None:
        return ""
    share = f"{100 * said.mass_in_text:.1f} % of the map in text"
    return share if said.enrichment is None else f"{share}, {said.enrichment:.1f} times its area"
