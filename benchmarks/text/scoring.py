"""How well detected regions cover annotated text, and how much else they cover.

Owns the annotations' file format, the score of one film and the counts over many films. A box
counts as found when the union of all regions covers at least 70 % of its area, because what the
regions cover is what cleaning removes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Box, TextRegion
from covid_debug.text.base import Gray

MIN_COVERAGE = 0.7
KINDS = ("single_letter", "initial", "word", "number", "date", "arrow_not_text", "other")
SIZE_EDGES_PX = (10.0, 20.0)
CONTRAST_EDGES = (40.0, 100.0)
_RING_PX = 4
_NOT_TEXT = "arrow_not_text"


@dataclass(frozen=True, slots=True)
class AnnotatedBox:
    """One piece of text on a film, as a reader drew it.

    Attributes:
        box: ``(x0, y0, x1, y1)`` in film pixels.
        kind: One of :data:`KINDS`.
        legible: Whether a detector must cover it.
        polarity: ``"bright"`` or ``"dark"`` glyphs.
        content: The characters, ``""`` where there are none.
        marks: Any of ``circled``, ``boxed``, ``mirrored``, ``rotated``, ``cut``.
    """

    box: Box
    kind: str
    legible: bool
    polarity: Literal["bright", "dark"]
    content: str
    marks: tuple[str, ...]

    @property
    def size_px(self) -> float:
        """Shorter side of the box in film pixels."""
        x0, y0, x1, y1 = self.box
        return min(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True)
class AnnotatedFilm:
    """All boxes of one film; ``path`` is relative to the folder of the sources."""

    path: str
    width: int
    height: int
    boxes: tuple[AnnotatedBox, ...]

    @property
    def source(self) -> str:
        """First folder of the path."""
        return self.path.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class BoxScore:
    """A legible box, whether it was found, and what it is counted under.

    Attributes:
        coverage: Share of the box's area inside the union of the film's regions, in [0, 1].
        contrast: Glyphs against their surroundings in gray levels, see :func:`measure_contrast`.
    """

    box: AnnotatedBox
    source: str
    coverage: float
    contrast: float

    @property
    def is_found(self) -> bool:
        """Whether at least :data:`MIN_COVERAGE` of the box is covered."""
        return self.coverage >= MIN_COVERAGE


@dataclass(frozen=True, slots=True)
class FilmScore:
    """Score of one film.

    Attributes:
        boxes: The legible boxes.
        excess_share: Covered area outside every text box, as a share of the film's area.
        is_text_free: No box at all, or arrows only.
        is_touched: At least one region.
    """

    path: str
    source: str
    boxes: tuple[BoxScore, ...]
    excess_share: float
    is_text_free: bool
    is_touched: bool


def load_annotations(path: Path) -> list[AnnotatedFilm]:
    """Read annotations.

    Args:
        path: JSON file ``{film: {"width", "height", "boxes": [...]}}``.

    Returns:
        The films in the order of the file.

    Raises:
        DataIntegrityError: If the file is missing or malformed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_parse_film(name, entry) for name, entry in content.items()]
    except OSError as error:
        raise DataIntegrityError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataIntegrityError(
            f"{path}: is not a file of annotations ({error}); "
            'expected {"<film>": {"width", "height", "boxes": [...]}}'
        ) from error


def _parse_film(name: str, entry: Mapping[str, Any]) -> AnnotatedFilm:
    boxes = []
    for box in entry["boxes"]:
        x0, y0, x1, y1 = (float(value) for value in box["box"])
        inside = 0 <= x0 < x1 <= entry["width"] and 0 <= y0 < y1 <= entry["height"]
        if not inside or box["kind"] not in KINDS:
            raise ValueError(f"{name}: box {box}")
        boxes.append(
            AnnotatedBox(
                (x0, y0, x1, y1),
                box["kind"],
                bool(box["legible"]),
                box["polarity"],
                box["content"],
                tuple(box.get("marks", ())),
            )
        )
    return AnnotatedFilm(name, int(entry["width"]), int(entry["height"]), tuple(boxes))


def score_film(film: AnnotatedFilm, regions: Sequence[TextRegion], pixels: Gray) -> FilmScore:
    """Compare the regions of one film with its annotations.

    Args:
        film: The annotations.
        regions: What a detector found, in film pixels.
        pixels: The film, ``(H, W)`` uint8; only the contrast of the boxes is read from it.

    Returns:
        The score.

    Raises:
        DataIntegrityError: If the film has another size than its annotations.
    """
    if pixels.shape != (film.height, film.width):
        raise DataIntegrityError(
            f"text.scoring: {film.path} is {pixels.shape[1]}x{pixels.shape[0]} px; its annotations "
            f"expect {film.width}x{film.height}; use the films that were annotated"
        )
    covered = regions_to_mask(regions, film.width, film.height)
    texts = [box for box in film.boxes if box.kind != _NOT_TEXT]
    allowed = regions_to_mask(
        [TextRegion(to_polygon(box.box), 1.0, None, "") for box in texts], film.width, film.height
    )
    return FilmScore(
        path=film.path,
        source=film.source,
        boxes=tuple(
            BoxScore(box, film.source, _coverage(covered, box), measure_contrast(pixels, box))
            for box in film.boxes
            if box.legible
        ),
        excess_share=float((covered & ~allowed).mean()),
        is_text_free=not texts,
        is_touched=bool(regions),
    )


def _coverage(covered: NDArray[np.bool_], box: AnnotatedBox) -> float:
    """Return the covered share of a box whose edges may cut pixels."""
    x0, y0, x1, y1 = box.box
    columns, rows = np.arange(covered.shape[1]), np.arange(covered.shape[0])
    in_x = np.clip(np.minimum(columns + 1, x1) - np.maximum(columns, x0), 0, 1)
    in_y = np.clip(np.minimum(rows + 1, y1) - np.maximum(rows, y0), 0, 1)
    return float(in_y @ covered @ in_x / ((x1 - x0) * (y1 - y0)))


def measure_contrast(pixels: Gray, box: AnnotatedBox) -> float:
    """Return how far glyphs stand out from a ring round their box.

    Args:
        pixels: The film, ``(H, W)`` uint8.
        box: The annotated box.

    Returns:
        Gray levels in [-255, 255]: the brightest (darkest) twentieth of the box against the median
        of the 4 px round it, positive when the glyphs have the annotated polarity.
    """
    height, width = pixels.shape
    x0, y0 = int(box.box[0]), int(box.box[1])
    x1, y1 = int(np.ceil(box.box[2])), int(np.ceil(box.box[3]))
    inside = pixels[y0:y1, x0:x1]
    left, top = max(x0 - _RING_PX, 0), max(y0 - _RING_PX, 0)
    window = pixels[top : min(y1 + _RING_PX, height), left : min(x1 + _RING_PX, width)]
    is_ring = np.ones(window.shape, np.bool_)
    is_ring[y0 - top : y1 - top, x0 - left : x1 - left] = False
    ring = float(np.median(window[is_ring])) if is_ring.any() else float(np.median(inside))
    if box.polarity == "bright":
        return float(np.percentile(inside, 95)) - ring
    return ring - float(np.percentile(inside, 5))


def summarise(scores: Sequence[FilmScore]) -> list[dict[str, str | int | float]]:
    """Count over films.

    Args:
        scores: Scores of at least one film.

    Returns:
        Rows ``{"group", "value", "n_found", "n_total", "share"}``: recall of legible boxes and by
        kind, mark, size (px), contrast (gray levels), polarity and source; then excess area (mean
        and worst share of a film), and text-free films touched. ``share`` is NaN where nothing
        could be counted.
    """
    boxes = [box for score in scores for box in score.boxes]
    rows = [_recall_row("all", "legible", boxes)]
    groups: dict[tuple[str, str], list[BoxScore]] = {}
    for box in boxes:
        for key in _groups_of(box):
            groups.setdefault(key, []).append(box)
    rows += [_recall_row(*key, groups[key]) for key in sorted(groups, key=_group_order)]
    excess = [score.excess_share for score in scores]
    free = [score for score in scores if score.is_text_free]
    n_touched = sum(score.is_touched for score in free)
    rows += [
        _row("excess area", "mean", 0, len(scores), float(np.mean(excess))),
        _row("excess area", "worst film", 0, len(scores), float(np.max(excess))),
        _row(
            "text-free films",
            "touched",
            n_touched,
            len(free),
            n_touched / len(free) if free else float("nan"),
        ),
    ]
    return rows


def _groups_of(box: BoxScore) -> Iterable[tuple[str, str]]:
    yield "kind", box.box.kind
    for mark in box.box.marks or ("plain",):
        yield "mark", mark
    yield "size px", _interval(box.box.size_px, SIZE_EDGES_PX)
    yield "contrast", _interval(box.contrast, CONTRAST_EDGES)
    yield "polarity", box.box.polarity
    yield "source", box.source


def _interval(value: float, edges: tuple[float, float]) -> str:
    low, high = edges
    if value < low:
        return f"below {low:g}"
    return f"{low:g} to {high:g}" if value < high else f"from {high:g}"


def _group_order(key: tuple[str, str]) -> tuple[int, str]:
    order = ("kind", "mark", "size px", "contrast", "polarity", "source")
    return order.index(key[0]), key[1]


def _recall_row(group: str, value: str, boxes: Sequence[BoxScore]) -> dict[str, str | int | float]:
    n_found = sum(box.is_found for box in boxes)
    return _row(group, value, n_found, len(boxes), n_found / len(boxes) if boxes else float("nan"))


def _row(
    group: str, value: str, n_found: int, n_total: int, share: float
) -> dict[str, str | int | float]:
    return {"group": group, "value": value, "n_found": n_found, "n_total": n_total, "share": share}
