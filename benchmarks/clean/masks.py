"""`covid-debug bench clean --annotations --regions`: how tight masks are, and what they miss.

The other side of :mod:`benchmarks.clean.annotated`: films are cleaned in memory and the masks are
compared with the boxes, so that a change of the masks can be judged without a data set.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.clean.ink import find_ink
from benchmarks.tables import to_markdown, write_csv
from benchmarks.text.annotated import AnnotatedBox, AnnotatedFilm, load_all_annotations
from benchmarks.text.counting import SIZE_EDGES_PX
from covid_debug.artifacts import write_artifact
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions, regions_to_mask
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.terminal import RunConsole
from covid_debug.text.base import Gray

TABLE_NAME: Final = "masks.csv"
SUMMARY_NAME: Final = "masks.md"
_DISTANCES_PX: Final = (0, 3, 6)
_MIN_FOUND: Final = 0.5  # of a box that regions cover; others are the detector's misses
_MIN_PIECE_PX: Final = 4

Row = dict[str, str]


def bench_masks(
    annotations: Sequence[Path], sources: Path, regions: Path, out: Path, console: RunConsole
) -> str:
    """Measure the masks of the default cleaning, and those of whole boxes.

    Args:
        annotations: Files of boxes.
        sources: Folder that the film paths in them are relative to.
        regions: Text regions of these films by detect-text.
        out: Folder to create, with ``masks.csv`` and ``masks.md``.
        console: Where progress is shown.

    Returns:
        The table in Markdown: masked area, masked area away from every annotated box, boxes of
        which ink is left uncovered (of those that the detector found), regions marked incomplete.

    Raises:
        DataIntegrityError: If a film is missing in ``regions``.
    """
    films = load_all_annotations(annotations)
    found = _match(films, sources, read_regions(regions))
    rows = []
    for name, params in (
        ("letters (default)", CleaningParams()),
        ("letters, 2 px", CleaningParams(dilation_px=2)),
        ("boxes", CleaningParams(mask_shape="box")),
    ):
        shares: dict[str, list[float]] = defaultdict(list)
        with console.stage(name), console.progress("films") as progress:
            for n_done, film in enumerate(films, start=1):
                pixels = read_film(sources / film.path).to_uint8()
                _measure(film, pixels, found[film.path], params, shares)
                progress(n_done, len(films))
        rows.append(_describe(name, shares))
    text = to_markdown(rows)
    with write_artifact(out, kind="bench-masks", parameters={"films": len(films)}) as draft:
        write_csv(draft.path / TABLE_NAME, list(rows[0]), rows)
        (draft.path / SUMMARY_NAME).write_text(text, encoding="utf-8")
    return text


def _match(
    films: Sequence[AnnotatedFilm], sources: Path, records: Mapping[str, FilmRegions]
) -> dict[str, FilmRegions]:
    found = {}
    for film in films:
        names = (film.path, str(sources / film.path))
        record = next((records[name] for name in names if name in records), None)
        if record is None or record.error is not None:
            raise DataIntegrityError(
                f"{film.path}: has no text regions; run detect-text on {sources / film.path}"
            )
        found[film.path] = record
    return found


def _measure(
    film: AnnotatedFilm,
    pixels: Gray,
    found: FilmRegions,
    params: CleaningParams,
    shares: dict[str, list[float]],
) -> None:
    cleaned = clean_film(pixels, found.regions, params)
    drawn = [TextRegion(to_polygon(box.box), 1.0, box.content, "") for box in film.boxes]
    shares["masked"].append(float(cleaned.mask.mean()))
    for distance in _DISTANCES_PX:
        near = regions_to_mask(drawn, film.width, film.height, dilation_px=distance)
        shares[f"beyond {distance} px"].append(float((cleaned.mask & ~near).mean()))
    shares["incomplete"] += [float(record.is_incomplete) for record in cleaned.records]
    is_found = regions_to_mask(found.regions, film.width, film.height)
    for box in film.boxes:
        if box.legible and _crop(is_found, box).mean() >= _MIN_FOUND:
            ink = find_ink(pixels, box)
            uncovered = ink & ~cleaned.mask
            shares["uncovered"].append(float(uncovered.sum() / max(int(ink.sum()), 1)))
            shares[f"piece, {_name_size(box)}"].append(float(_has_piece(uncovered)))


def _crop(mask: NDArray[np.bool_], box: AnnotatedBox) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = (int(value) for value in (*box.box[:2], *np.ceil(box.box[2:])))
    return mask[y0:y1, x0:x1]


def _has_piece(mask: NDArray[np.bool_]) -> bool:
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    return bool((stats[1:, cv2.CC_STAT_AREA] >= _MIN_PIECE_PX).any())


def _name_size(box: AnnotatedBox) -> str:
    low, high = SIZE_EDGES_PX
    if box.size_px < low:
        return f"below {low:g} px"
    return f"{low:g} to {high:g} px" if box.size_px < high else f"from {high:g} px"


def _describe(name: str, shares: Mapping[str, Sequence[float]]) -> Row:
    row = {"masks": name}
    for key in ("masked", *(f"beyond {distance} px" for distance in _DISTANCES_PX)):
        row[key] = f"{np.mean(shares[key]):.3%} (worst {np.max(shares[key]):.2%})"
    row["ink uncovered"] = f"{np.mean(shares['uncovered']):.2%}" if shares["uncovered"] else "-"
    for key in sorted(key for key in shares if key.startswith("piece")):
        row[key] = f"{sum(shares[key]):.0f}/{len(shares[key])}"
    row["incomplete"] = f"{sum(shares['incomplete']):.0f}/{len(shares['incomplete'])}"
    return row
