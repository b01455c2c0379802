"""Films cleaned by any tool, scored box by box.

The form is that of redaction engines (Presidio's verify engine for DICOM): every place that was
changed is a positive, a true one where something was annotated; precision is counted over the
positives, recall over annotated boxes. Here a box counts as redacted by its ink, not by the corners
of a rectangle, and a place is matched by its pixels, not by coordinates within 50 px.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.clean.ink import InkLeft, measure_ink
from benchmarks.text.annotated import AnnotatedFilm
from benchmarks.text.counting import GROUPS, Count, count_areas, count_hits, groups_of
from benchmarks.text.scoring import BoxScore, measure_contrast
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import Box, RegionKind, TextRegion
from covid_debug.text.base import Gray
from covid_debug.text.kinds import load_kinds

MIN_CHANGE = 4  # gray levels; what lossy compression changes everywhere is no cleaning
_IDENTITY = re.compile(r"\[(name|number)\]")  # what readers write instead of one
_JOIN_PX = 9
_MIN_PLACE_PX = 4


@dataclass(frozen=True, slots=True)
class CleanedBox:
    """A legible box of a cleaned film.

    Attributes:
        score: The box with what it is counted under; ``coverage`` is the share that changed.
        kind: What it is by its content, see :mod:`covid_debug.text.kinds`.
        ink: What is left of it.
    """

    score: BoxScore
    kind: RegionKind
    ink: InkLeft


@dataclass(frozen=True, slots=True)
class CleanedFilm:
    """A cleaned film beside its annotations.

    Attributes:
        film: The annotations.
        boxes: The legible boxes.
        places: Bounds of the changed places, and whether each touches an annotated box.
        excess_share: Changed area outside all annotated boxes, as a share of the film's area.
    """

    film: AnnotatedFilm
    boxes: tuple[CleanedBox, ...]
    places: tuple[tuple[Box, bool], ...]
    excess_share: float

    def to_remove(self, kept: Sequence[RegionKind]) -> list[CleanedBox]:
        """Return the boxes that have to go."""
        return [box for box in self.boxes if box.kind not in kept]

    def to_keep(self, kept: Sequence[RegionKind]) -> list[CleanedBox]:
        """Return the boxes that have to stay."""
        return [box for box in self.boxes if box.kind in kept]


def score_cleaned(film: AnnotatedFilm, before: Gray, after: Gray) -> CleanedFilm:
    """Compare a cleaned film with its original and its annotations.

    Args:
        film: The annotations.
        before: The original, ``(H, W)`` uint8.
        after: The cleaned film.

    Returns:
        The score.

    Raises:
        DataIntegrityError: If one of them has another size than the annotations.
    """
    for name, pixels in (("original", before), ("cleaned film", after)):
        if pixels.shape != (film.height, film.width):
            raise DataIntegrityError(
                f"{film.path}: the {name} is {pixels.shape[1]}x{pixels.shape[0]} px; its"
                f" annotations expect {film.width}x{film.height}; use films of that size"
            )
    is_changed = np.abs(after.astype(np.int16) - before.astype(np.int16)) > MIN_CHANGE
    regions = [TextRegion(to_polygon(box.box), 1.0, box.content, "") for box in film.boxes]
    on_boxes = regions_to_mask(regions, film.width, film.height)
    kinds = load_kinds().tell_all(regions, film.width, film.height)
    boxes = []
    for box, region in zip(film.boxes, kinds, strict=True):
        if box.legible:
            x0, y0, x1, y1 = (int(value) for value in (*box.box[:2], *np.ceil(box.box[2:])))
            share = float(is_changed[y0:y1, x0:x1].mean())
            score = BoxScore(box, film.source, share, measure_contrast(before, box))
            kind = "identity" if _IDENTITY.search(box.content) else region.kind
            boxes.append(CleanedBox(score, kind, measure_ink(before, after, box)))
    return CleanedFilm(
        film,
        tuple(boxes),
        tuple(_find_places(is_changed, on_boxes)),
        float((is_changed & ~on_boxes).mean()),
    )


def _find_places(
    is_changed: NDArray[np.bool_], on_boxes: NDArray[np.bool_]
) -> list[tuple[Box, bool]]:
    """Return the changed places; glyphs of a word are one."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_JOIN_PX, _JOIN_PX))
    joined = cv2.dilate(is_changed.astype(np.uint8), kernel)
    n, labels = cv2.connectedComponents(joined, connectivity=8)
    places = []
    for number in range(1, n):
        mine = (labels == number) & is_changed
        if mine.sum() < _MIN_PLACE_PX:
            continue
        rows, columns = np.nonzero(mine)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        places.append((tuple(float(value) for value in box), bool((mine & on_boxes).any())))
    return places  # type: ignore[return-value]  # four numbers


def count_cleaned(films: Sequence[CleanedFilm], kept: Sequence[RegionKind] = ()) -> list[Count]:
    """Count over films.

    Args:
        films: At least one film.
        kept: Kinds that the policy keeps.

    Returns:
        Recall (boxes redacted of those that have to go), boxes gone to the last piece, precision
        (redacted boxes among these and the places where nothing was annotated), films with text
        that have none left; kept boxes that are still there, by kind; recall by content's kind and
        by the groups of the detectors' table; changed area outside boxes.
    """
    gone = [[box.ink.is_gone for box in film.to_remove(kept)] for film in films]
    whole = [
        [box.ink.is_gone and not box.ink.has_piece for box in film.to_remove(kept)]
        for film in films
    ]
    positives = [
        [True] * sum(hits) + [False] * sum(not is_true for _, is_true in film.places)
        for film, hits in zip(films, gone, strict=True)
    ]
    rows = [
        count_hits("redacted", "recall", gone),
        count_hits("redacted", "precision", positives),
        count_hits("redacted", "to the last piece", whole),
        count_hits("films with text", "none left", [[all(hits)] for hits in gone if hits]),
    ]
    for kind in kept:
        here = [[box.ink.is_kept for box in film.to_keep([kind])] for film in films]
        rows.append(count_hits("kept", kind, here))
    groups = {key for film in films for box in film.to_remove(kept) for key in _groups_of(box)}
    order = ("content", *GROUPS)
    for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        mine = [
            [box.ink.is_gone for box in film.to_remove(kept) if key in _groups_of(box)]
            for film in films
        ]
        rows.append(count_hits(*key, mine))
    return [*rows, *count_areas("changed outside boxes", [film.excess_share for film in films])]


def _groups_of(box: CleanedBox) -> set[tuple[str, str]]:
    return {("content", box.kind), *groups_of(box.score)}
