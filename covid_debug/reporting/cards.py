"""One card an audited film: pictures, probabilities, verdict.

Prepares what the template shows; decides nothing.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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
    AuditedFilm,
    read_map,
)

THUMBNAIL_PX = 256
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
    """Everything that one card shows."""

    film: AuditedFilm
    number: int
    name: str
    verdict_name: str
    pictures: tuple[Picture, ...]
    bars: tuple[Bar, ...]
    regions: tuple[RegionRow, ...]
    facts: tuple[tuple[str, str], ...]


def build_cards(
    audited: Sequence[AuditedFilm],
    filmset: FilmSet,
    cleaned: FilmSet | None,
    regions: Mapping[str, FilmRegions],
    audit_dir: Path,
    view: ViewSpec,
    n_workers: int = 2,
) -> list[Card]:
    """Prepare the cards.

    Args:
        audited: Films that get a card, in order.
        filmset: The original films.
        cleaned: The cleaned films, or None.
        regions: Image id -> text regions.
        audit_dir: The audit artifact, for its maps.
        view: What the model sees of a film.
        n_workers: Threads that read films.

    Returns:
        One card a film; a film that cannot be read gets a card that says so.
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
            name=Path(str(entry["path"] or (film.path if film else entry.image_id))).name,
            verdict_name=VERDICT_NAMES.get(entry.verdict, entry.verdict),
            pictures=(
                _picture_film(original, texts, view),
                _picture_map(original, texts, view, audit_dir, entry),
                _picture_cleaned(copy, texts, view),
            ),
            bars=tuple(_bars(entry)),
            regions=tuple(_region_row(original, text) for text in texts),
            facts=tuple(_facts(entry, film)),
        )

    with ThreadPoolExecutor(n_workers) as pool:
        return list(pool.map(build, enumerate(audited, start=1)))


def _read(filmset: FilmSet | None, film: Film | None) -> NDArray[np.uint8] | str:
    """Return the film's pixels, or why there are none."""
    if filmset is None or film is None:
        return "not in this version of the films"
    try:
        return read_film(filmset.file_of(film)).to_uint8()
    except CovidDebugError as error:
        return str(error)


def _picture_film(
    pixels: NDArray[np.uint8] | str, texts: Sequence[TextRegion], view: ViewSpec
) -> Picture:
    title = "Film, text outlined"
    if isinstance(pixels, str):
        return Picture(title, missing=pixels)
    height, width = pixels.shape
    geometry = compute_geometry(width, height, view)
    scale = THUMBNAIL_PX / max(width, height)
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
    audit_dir: Path,
    entry: AuditedFilm,
) -> Picture:
    title = "Evidence map (iGOS++)"
    saliency = read_map(audit_dir, entry.image_id)
    if isinstance(pixels, str):
        return Picture(title, missing=pixels)
    if (entry["saliency"] or {}).get("void"):
        return Picture(title, missing=f"void map: {entry['saliency'].get('void_reason')}")
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
    after = entry.interventions
    saliency: Mapping[str, Any] = entry["saliency"] or {}
    if saliency.get("void"):
        saliency = {}
    everything, _ = BASELINE_NAMES.get(str(entry["baseline"]), UNKNOWN_BASELINE)
    rows = [
        ("Film as it is", entry["probability"], (), "asis"),
        ("Text removed", after.get("text_removed"), after.get("null_removed"), "test"),
        ("Only text left", after.get("text_revealed"), after.get("null_revealed"), "test"),
        (f"All {everything}", after.get("blurred"), (), "test"),
        ("Map top 12 % removed", saliency.get("deletion_top12"), (), "map"),
        ("Only map top 6 % left", saliency.get("insertion_top6"), (), "map"),
    ]
    return [
        Bar(name, float(value), tuple(float(null) for null in nulls or ()), kind)
        for name, value, nulls, kind in rows
        if value is not None
    ]


def _facts(entry: AuditedFilm, film: Film | None) -> list[tuple[str, str]]:
    saliency: Mapping[str, Any] = entry["saliency"] or {}
    rows: list[tuple[str, Any]] = [
        ("After cleaning", entry["cleaned_class"]),
        ("Text, share of view", _percent(entry["text_area_share"])),
        ("Map mass in text", _percent(saliency.get("mass_in_text"))),
        ("Enrichment in text", _times(saliency.get("enrichment"))),
        ("Void map", saliency.get("void_reason") if saliency.get("void") else None),
        ("p, q", _p_and_q(entry)),
        ("Patient", film.patient_id if film else None),
        ("Image id", entry.image_id),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f} times chance"


def _p_and_q(entry: AuditedFilm) -> str:
    if entry["p_value"] is None:
        return ""
    q = entry["q_value"]
    return f"{entry['p_value']:.3g}" + ("" if q is None else f", {q:.3g}")
