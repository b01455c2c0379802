"""One card an audited film: pictures, probabilities, verdict.

Prepares what the template shows; decides nothing.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.artifact import Audit, AuditedFilm
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import CovidDebugError
from covid_debug.imaging.geometry import ViewGeometry, ViewSpec, compute_geometry, render_view
from covid_debug.imaging.overlays import overlay_saliency
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.writing import encode_jpeg, to_data_uri
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.reporting.verdicts import (
    BASELINE_NAMES,
    UNKNOWN_BASELINE,
    VERDICT_NAMES,
)

THUMBNAIL_PX = 160
_FILM_PX = 256
_JPEG_QUALITY = 80
_MARGIN_PX = 4.0
_NO_MAP = (
    "no map was made: the audit explains a limited number of films, those under most suspicion and"
    " a few others; that says nothing about this film"
)
_CUT_OUT_PX = (180, 48)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a card, or the reason why there is none.

    Attributes:
        title: What is shown.
        uri: ``data:`` address; empty without a picture.
        width: Width of the coordinates that ``outlines`` use.
        height: Height of those coordinates.
        outlines: SVG ``points`` of the text regions.
        numbers: Where the outlines' numbers stand, ``x, y``; empty shows none.
        frame: ``x, y, side`` of the model's view on the film, or None.
        missing: Why there is no picture.
    """

    title: str
    uri: str = ""
    width: int = 1
    height: int = 1
    outlines: tuple[str, ...] = ()
    numbers: tuple[tuple[float, float], ...] = ()
    frame: tuple[int, int, int] | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A probability of the target class after an intervention.

    Attributes:
        name: The intervention.
        value: Probability in [0, 1].
        nulls: The same intervention on places without text.
        kind: Style of the bar: ``"asis"``, ``"test"`` or ``"map"``.
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
        thumbnail: ``data:`` address of the film as the model sees it, ``THUMBNAIL_PX`` wide and
            high; empty where the film cannot be read.
        pictures: Film, map and cleaned film.
        bars: Probabilities of the target class.
        regions: Its text, in the order of the detector.
        facts: Further numbers, name and value.
    """

    film: AuditedFilm
    number: int
    name: str
    verdict_name: str
    thumbnail: str
    pictures: tuple[Picture, ...]
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
            thumbnail=_thumbnail(original, view),
            pictures=(
                _picture_film(original, texts, view),
                _picture_map(original, texts, view, audit, entry),
                _picture_cleaned(copy, texts, view),
            ),
            bars=tuple(_bars(entry)),
            regions=tuple(_region_row(original, text) for text in texts),
            facts=tuple(_facts(entry, film)),
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


def _thumbnail(pixels: NDArray[np.uint8] | str, view: ViewSpec) -> str:
    if isinstance(pixels, str):
        return ""
    return _uri(render_view(pixels, replace(view, image_size=THUMBNAIL_PX)))


def _picture_film(
    pixels: NDArray[np.uint8] | str, texts: Sequence[TextRegion], view: ViewSpec
) -> Picture:
    title = "Film, text outlined"
    if isinstance(pixels, str):
        return Picture(title, missing=pixels)
    height, width = pixels.shape
    geometry = compute_geometry(width, height, view)
    scale = _FILM_PX / max(width, height)
    small = pixels
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(
        title,
        _uri(small),
        width,
        height,
        _outlines(texts, None),
        tuple(text.box[:2] for text in texts),
        (geometry.x0, geometry.y0, geometry.side),
    )


def _region_row(pixels: NDArray[np.uint8] | str, text: TextRegion) -> RegionRow:
    read = f"\u201c{text.content}\u201d, " if text.content else ""
    title = f"{read}seen by {text.detector.replace('+', ' and ')}, confidence {text.confidence:.2f}"
    box = ",".join(f"{value:.1f}" for value in text.box)
    return RegionRow(title, box, "" if isinstance(pixels, str) else _cut_out(pixels, text))


def _cut_out(pixels: NDArray[np.uint8], text: TextRegion) -> str:
    x_min, y_min, x_max, y_max = text.box
    margin = max(0.3 * (y_max - y_min), _MARGIN_PX)
    rows = slice(max(int(y_min - margin), 0), int(np.ceil(y_max + margin)))
    columns = slice(max(int(x_min - margin), 0), int(np.ceil(x_max + margin)))
    piece = pixels[rows, columns]
    if not piece.size:
        return ""
    scale = min(_CUT_OUT_PX[1] / piece.shape[0], _CUT_OUT_PX[0] / piece.shape[1])
    size = (max(1, round(piece.shape[1] * scale)), max(1, round(piece.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return _uri(np.asarray(cv2.resize(piece, size, interpolation=method), np.uint8))


def _picture_map(
    pixels: NDArray[np.uint8] | str,
    texts: Sequence[TextRegion],
    view: ViewSpec,
    audit: Audit,
    entry: AuditedFilm,
) -> Picture:
    title = "Evidence map (iGOS++)"
    saliency = audit.load_map(entry.image_id)
    if isinstance(pixels, str):
        return Picture(title, missing=pixels)
    if entry.saliency is not None and entry.saliency.void:
        return Picture(title, missing=f"void map: {entry.saliency.void_reason}")
    if saliency is None:
        return Picture(title, missing=_NO_MAP)
    if saliency.shape != (view.image_size, view.image_size):
        return Picture(title, missing=f"the map has {saliency.shape} cells, not the view's size")
    picture = overlay_saliency(render_view(pixels, view), saliency)
    geometry = compute_geometry(pixels.shape[1], pixels.shape[0], view)
    return Picture(
        title,
        _uri(picture),
        view.image_size,
        view.image_size,
        _outlines(texts, geometry),
    )


def _picture_cleaned(
    pixels: NDArray[np.uint8] | str, texts: Sequence[TextRegion], view: ViewSpec
) -> Picture:
    title = "Cleaned, as the model sees it"
    if isinstance(pixels, str):
        return Picture(title, missing=pixels)
    geometry = compute_geometry(pixels.shape[1], pixels.shape[0], view)
    size = view.image_size
    return Picture(title, _uri(render_view(pixels, view)), size, size, _outlines(texts, geometry))


def _uri(pixels: NDArray[np.uint8]) -> str:
    return to_data_uri(encode_jpeg(pixels, _JPEG_QUALITY), "image/jpeg")


def _outlines(texts: Sequence[TextRegion], geometry: ViewGeometry | None) -> tuple[str, ...]:
    outlines = []
    for text in texts:
        points = np.asarray(text.polygon, np.float64)
        if geometry is not None:
            points = geometry.to_view(points)
        outlines.append(" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    return tuple(outlines)


def _bars(entry: AuditedFilm) -> list[Bar]:
    after, saliency = entry.interventions, entry.saliency
    everything, _ = BASELINE_NAMES.get(entry.baseline, UNKNOWN_BASELINE)
    bars = [
        Bar("Film as it is", entry.probability, kind="asis"),
        Bar("Text removed", after.text_removed, after.null_removed),
        Bar("Only text left", after.text_revealed),
        Bar(f"All {everything}", after.blurred),
    ]
    if saliency is not None and not saliency.void:
        bars.append(Bar("Map top 12 % removed", saliency.deletion_top12, kind="map"))
        bars.append(Bar("Only map top 6 % left", saliency.insertion_top6, kind="map"))
    return [bar for bar in bars if not math.isnan(bar.value)]


def _facts(entry: AuditedFilm, film: Film | None) -> list[tuple[str, str]]:
    saliency = entry.saliency
    mass, enrichment = (saliency.mass_in_text, saliency.enrichment) if saliency else (None, None)
    share, p, q = entry.text_area_share, entry.p_value, entry.q_value
    rows = [
        ("After cleaning", entry.cleaned_class),
        ("Text, share of view", "" if math.isnan(share) else f"{100 * share:.1f} %"),
        ("Map mass in text", "" if mass is None else f"{100 * mass:.1f} %"),
        ("Enrichment in text", "" if enrichment is None else f"{enrichment:.1f} times chance"),
        ("Void map", saliency.void_reason if saliency and saliency.void else None),
        ("p, q", "" if math.isnan(p) else f"{p:.3g}" + ("" if math.isnan(q) else f", {q:.3g}")),
        ("Patient", film.patient_id if film else None),
        ("Image id", entry.image_id),
    ]
    return [(name, value) for name, value in rows if value]
