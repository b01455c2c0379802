"""How well detected regions cover annotated text, and how much else they cover.

Owns the score of one film. A box counts as found when the union of all text regions covers at least
70 % of its area, because what the regions cover is what cleaning removes. Regions of kind
``annotation`` (arrows, drawn circles) are no text: they find no box, and where they lie on
annotated arrows nothing is covered needlessly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.text.annotated import AnnotatedBox, AnnotatedFilm
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Box, TextRegion
from covid_debug.text.base import Gray

MIN_COVERAGE = 0.7
MIN_SHARED = 0.5
HARD_SIZE_PX = 10.0
HARD_CONTRAST = 40.0
_RING_PX = 4


@dataclass(frozen=True, slots=True)
class BoxScore:
    """A legible box or an arrow, whether it was found, and what it is counted under.

    Attributes:
        coverage: Share of the box's area inside the union of the film's text regions, of an arrow
            inside the union of its annotation regions; in [0, 1].
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

    @property
    def is_hard(self) -> bool:
        """Whether it is lower than 10 px, of a contrast below 40, or cut by the film's edge."""
        is_faint = self.contrast < HARD_CONTRAST
        return self.box.size_px < HARD_SIZE_PX or is_faint or "cut" in self.box.marks


@dataclass(frozen=True, slots=True)
class RegionScore:
    """A region, and whether something was annotated where it lies.

    Attributes:
        is_needed: At least :data:`MIN_SHARED` of it lies on annotated text (for an annotation
            region: on text or arrows), or it covers as much of one of these boxes.
    """

    region: TextRegion
    is_needed: bool

    @property
    def is_text(self) -> bool:
        """Whether it says that it is text."""
        return self.region.is_text


@dataclass(frozen=True, slots=True)
class FilmScore:
    """Score of one film.

    Attributes:
        boxes: The legible boxes.
        arrows: The arrows and drawings of a human hand.
        regions: What the detector found.
        excess_share: Area covered needlessly, as a share of the film's area: outside every text
            box, or for annotation regions outside every box; margins round text are in it.
        needless_share: Area of the regions that are not needed, as a share of the film's area.
        is_text_free: No box at all, or arrows only.
        is_touched: At least one region, other than annotation regions on arrows.
    """

    path: str
    source: str
    boxes: tuple[BoxScore, ...]
    arrows: tuple[BoxScore, ...]
    regions: tuple[RegionScore, ...]
    excess_share: float
    needless_share: float
    is_text_free: bool
    is_touched: bool


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
    shape = (film.width, film.height)
    texts = [box for box in film.boxes if box.is_text]
    arrows = [box for box in film.boxes if not box.is_text]
    on_text = regions_to_mask([_as_region(box) for box in texts], *shape)
    on_any = regions_to_mask([_as_region(box) for box in film.boxes], *shape)
    by_text = regions_to_mask([one for one in regions if one.is_text], *shape)
    by_hand = regions_to_mask([one for one in regions if not one.is_text], *shape)
    scores = []
    for region in regions:
        allowed, boxes = (on_text, texts) if region.is_text else (on_any, film.boxes)
        scores.append(RegionScore(region, _is_needed(region, allowed, boxes)))

    needless = regions_to_mask([one.region for one in scores if not one.is_needed], *shape)

    def score(box: AnnotatedBox, covered: NDArray[np.bool_]) -> BoxScore:
        coverage = measure_coverage(covered, box.box)
        return BoxScore(box, film.source, coverage, measure_contrast(pixels, box))

    return FilmScore(
        path=film.path,
        source=film.source,
        boxes=tuple(score(box, by_text) for box in film.boxes if box.legible),
        arrows=tuple(score(box, by_hand) for box in arrows),
        regions=tuple(scores),
        excess_share=float(((by_text & ~on_text) | (by_hand & ~on_any)).mean()),
        needless_share=float(needless.mean()),
        is_text_free=film.is_text_free,
        is_touched=any(one.is_text or not one.is_needed for one in scores),
    )


def _as_region(box: AnnotatedBox) -> TextRegion:
    return TextRegion(to_polygon(box.box), 1.0, None, "")


def _is_needed(
    region: TextRegion, allowed: NDArray[np.bool_], boxes: Sequence[AnnotatedBox]
) -> bool:
    height, width = allowed.shape
    mine = regions_to_mask([region], width, height)
    if (mine & allowed).sum() >= MIN_SHARED * max(int(mine.sum()), 1):
        return True
    return any(measure_coverage(mine, box.box) >= MIN_SHARED for box in boxes)


def measure_coverage(covered: NDArray[np.bool_], box: Box) -> float:
    """Return the covered share of a box whose edges may cut pixels."""
    x0, y0, x1, y1 = box
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
