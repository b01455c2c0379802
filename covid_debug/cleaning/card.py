"""The data card of a cleaned data set: counts and pictures of what was done.

Owns ``CARD.md`` and the before/after contact sheet; counts nothing that the manifest does not hold.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.film import CleaningParams
from covid_debug.data.filmset import FilmSet
from covid_debug.imaging.reading import FilmFile, read_film
from covid_debug.imaging.writing import encode_jpeg
from covid_debug.records import SPLITS, Film

Record = Mapping[str, Any]

_CARD_NAME: Final = "CARD.md"
_SHEET_NAME: Final = "contact_sheet.jpg"
_TILE_PX: Final = 300
_GAP_PX: Final = 6
_N_COLUMNS: Final = 3
_N_FILMS: Final = 18
_RED: Final = (220, 40, 40)


def write_card(
    folder: Path,
    films: Sequence[Film],
    finished: Mapping[str, Record],
    facts: Mapping[str, Any],
    params: CleaningParams,
) -> None:
    """Write ``CARD.md``: what was cleaned, how, and how much, by class, split and source."""
    lines = [
        f"# {facts['name']}",
        "",
        "Chest radiographs whose burned-in text was filled from the surrounding pixels. Every film"
        " of every class and split went through the same rule and the same lossless PNG encoder;"
        " pixels outside the masks are those of the original file. Not for clinical use.",
        "",
        f"- films: {facts['n_ok']} of {facts['n_total']} that were asked for; the others stand in"
        " `unusable.csv` with the reason",
        f"- films changed: {facts['n_films_changed']}",
        f"- regions: {facts['n_regions']} found, {facts['n_removed']} removed,"
        f" {facts['n_kept']} kept, {facts['n_replaced']} replaced, {facts['n_outside']} outside"
        f" the film; {facts['n_decoys']} decoys",
        f"- changed pixels: {facts['mean_changed_share']:.3%} of a film on average,"
        f" {facts['max_changed_share']:.2%} on the worst",
        f"- detectors: {_list_counts(facts['detectors'])}",
        f"- decisions of reviewers: {facts['n_decisions']}"
        f" ({facts['n_disagreements']} regions with different opinions)",
        "",
        f"![before and after]({_SHEET_NAME})",
        "",
        "## Rule",
        "",
        *(f"- {field.name}: `{getattr(params, field.name)}`" for field in fields(params)),
        "",
    ]
    for title, key in (("class", "label"), ("source", "source"), ("split", "split")):
        lines += [f"## By {title}", "", *_tabulate(films, finished, title, key), ""]
    has_lists = (folder / "train.txt").exists()
    lists = " `train.txt`, `val.txt`, `test.txt` (COVIDx format)," if has_lists else ""
    lines += [
        "## Files",
        "",
        f"`films.csv`,{lists} `provenance.csv` (hashes"
        " in and out, counts), `regions.jsonl` (every region and what was done to it),"
        " `manifest.json` (parameters, inputs, hash of every file).",
        "",
    ]
    (folder / _CARD_NAME).write_text("\n".join(lines), encoding="utf-8")


def write_contact_sheet(
    folder: Path, original: FilmSet, films: Sequence[Film], finished: Mapping[str, Record]
) -> None:
    """Write ``contact_sheet.jpg``: up to 18 changed films, before (regions in red) and after.

    The films are taken from the classes in turn, those with the largest change first.
    """
    originals = {film.image_id: film for film in original.films}
    tiles = []
    for film in _choose_films(films, finished):
        before = read_film(original.file_of(originals[film.image_id])).to_uint8()
        copy = FilmFile(folder / film.path, window=(film.window_low, film.window_high))
        after = read_film(copy).to_uint8()
        boxes = [region["polygon"] for region in finished[film.image_id]["regions"]]
        tiles.append(np.hstack([_make_tile(before, boxes, film.label), _make_tile(after, [], "")]))
    if not tiles:
        return
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % _N_COLUMNS)
    rows = [np.hstack(tiles[at : at + _N_COLUMNS]) for at in range(0, len(tiles), _N_COLUMNS)]
    (folder / _SHEET_NAME).write_bytes(encode_jpeg(np.vstack(rows)))


def _choose_films(films: Sequence[Film], finished: Mapping[str, Record]) -> list[Film]:
    by_class: dict[str, list[Film]] = defaultdict(list)
    shares = {film.image_id: float(finished[film.image_id]["changed_share"]) for film in films}
    for film in films:
        if shares[film.image_id]:
            by_class[film.label].append(film)
    for members in by_class.values():
        members.sort(key=lambda film: -shares[film.image_id])
    chosen = []
    for place in range(_N_FILMS):
        chosen += [members[place] for members in by_class.values() if place < len(members)]
    return chosen[:_N_FILMS]


def _make_tile(
    film: NDArray[np.uint8], polygons: Sequence[Sequence[Sequence[float]]], label: str
) -> NDArray[np.uint8]:
    scale = _TILE_PX / max(film.shape)
    size = (max(round(film.shape[1] * scale), 1), max(round(film.shape[0] * scale), 1))
    small = cv2.resize(film, size, interpolation=cv2.INTER_AREA)
    picture = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    for polygon in polygons:
        corners = np.rint(np.asarray(polygon) * scale).astype(np.int32)
        cv2.polylines(picture, [corners], isClosed=True, color=_RED)
    cv2.putText(picture, label, (4, size[1] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _RED, 1)
    side = _TILE_PX + _GAP_PX
    tile = np.full((side, side, 3), 255, np.uint8)
    tile[: size[1], : size[0]] = picture
    return tile


def _tabulate(
    films: Sequence[Film], finished: Mapping[str, Record], title: str, key: str
) -> list[str]:
    groups: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for film in films:
        record = finished[film.image_id]
        groups[getattr(film, key)].append((record["n_regions"], record["changed_share"]))
    order = [name for name in SPLITS if name in groups] if key == "split" else sorted(groups)
    lines = [
        f"| {title} | films | with regions | regions | mean changed share |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in order:
        counts, shares = zip(*groups[name], strict=True)
        n_with = sum(count > 0 for count in counts)
        lines.append(
            f"| {name} | {len(counts)} | {n_with} ({n_with / len(counts):.0%}) | {sum(counts)} |"
            f" {sum(shares) / len(shares):.3%} |"
        )
    return lines


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(counts).items()) or "none"
