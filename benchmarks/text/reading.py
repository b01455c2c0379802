"""How well found text is read, and whether side markers stay where the policy keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.clean.ink import measure_ink
from benchmarks.text.annotated import AnnotatedBox, AnnotatedFilm
from benchmarks.text.counting import Count, count_hits
from benchmarks.text.scoring import measure_coverage
from covid_debug.cleaning.film import CleaningParams, clean_film
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion
from covid_debug.text.base import Gray
from covid_debug.text.contents import ContentReader
from covid_debug.text.recognition import Reader

_KEEP_SIDES = CleaningParams(policy={"side_marker": "keep"}, max_changed_share=1.0)
_LIES_IN = 0.5


@dataclass(frozen=True, slots=True)
class SideScore:
    """What became of the side markers of one film when the policy keeps them.

    Attributes:
        kept: For each annotated side marker whether nine tenths of its ink are left.
        kept_wrongly: For each other legible box whether half of it lies in what is kept.
    """

    kept: tuple[bool, ...]
    kept_wrongly: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ReadingScore:
    """How the legible boxes of one film were read, each given as drawn.

    Attributes:
        right: Letters and digits are those of the annotation; case does not count.
        wrong: Something else was read.
    """

    right: tuple[bool, ...]
    wrong: tuple[bool, ...]


def score_reading(film: AnnotatedFilm, image: Gray, reader: Reader) -> ReadingScore:
    """Read the legible boxes of a film and compare."""
    boxes = [box for box in film.boxes if box.legible]
    read = reader.fill_in([_as_region(box, None) for box in boxes], image)
    wanted = [_letters(box.content) for box in boxes]
    found = [None if one.content is None else _letters(one.content) for one in read]
    right = tuple(one == want for one, want in zip(found, wanted, strict=True))
    return ReadingScore(
        right, tuple(one is not None and not hit for one, hit in zip(found, right, strict=True))
    )


def score_sides(
    film: AnnotatedFilm, image: Gray, regions: Sequence[TextRegion], contents: ContentReader
) -> SideScore:
    """Clean a film under ``side_marker: keep`` and look at its annotated boxes.

    Args:
        film: The annotations; a box is a side marker if its content, where it stands, is one.
        image: The film, ``(H, W)`` uint8.
        regions: What a detector found.
        contents: Says what the regions say.

    Returns:
        The score.
    """
    told = contents.complete(regions, image)
    kept = [region for region in told if region.kind == "side_marker"]
    mask = regions_to_mask(kept, film.width, film.height)
    drawn = [_as_region(box, box.content) for box in film.boxes]
    truth = contents.kinds.tell_all(drawn, film.width, film.height)
    pairs = [(b, r) for b, r in zip(film.boxes, truth, strict=True) if b.legible]
    sides = [box for box, region in pairs if region.kind == "side_marker"]
    others = [box for box, region in pairs if region.kind != "side_marker"]
    cleaned = np.asarray(clean_film(image, told, _KEEP_SIDES).pixels, np.uint8) if sides else image
    return SideScore(
        tuple(measure_ink(image, cleaned, box).is_kept for box in sides),
        tuple(measure_coverage(mask, box.box) > _LIES_IN for box in others),
    )


def count_sides(scores: Sequence[SideScore]) -> list[Count]:
    """Count side markers kept, and other text kept for one."""
    return [
        count_hits("side markers", "kept", [score.kept for score in scores]),
        count_hits("other text", "kept as a side", [score.kept_wrongly for score in scores]),
    ]


def count_readings(scores: Sequence[ReadingScore]) -> list[Count]:
    """Count boxes read right and wrong; the rest was not read."""
    return [
        count_hits("reading", "right", [score.right for score in scores]),
        count_hits("reading", "wrong", [score.wrong for score in scores]),
    ]


def _as_region(box: AnnotatedBox, content: str | None) -> TextRegion:
    return TextRegion(to_polygon(box.box), 1.0, content, "")


def _letters(content: str) -> str:
    return "".join(one for one in content.upper() if one.isalnum())
