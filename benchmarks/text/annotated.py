"""Annotated films: the records, and the file format.

Anybody's annotations can be read: of other films, by other readers, with kinds of this list.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from covid_debug.errors import DataIntegrityError
from covid_debug.records import Box

KINDS = ("single_letter", "initial", "word", "number", "date", "arrow_not_text", "other")
NOT_TEXT = "arrow_not_text"
_EXPECTED = (
    'expected {"<film>": {"width", "height", "boxes": [{"box": [x0, y0, x1, y1], "kind",'
    ' "legible", "polarity", "content"}]}}'
)
_POLARITIES = ("bright", "dark")


@dataclass(frozen=True, slots=True)
class AnnotatedBox:
    """One piece of text on a film, as a reader drew it.

    Attributes:
        box: ``(x0, y0, x1, y1)`` in film pixels.
        kind: One of :data:`KINDS`.
        legible: Whether a detector must cover it.
        polarity: ``"bright"`` or ``"dark"`` glyphs.
        content: The characters, ``""`` where there are none.
        marks: Any of ``circled``, ``boxed``, ``mirrored``, ``rotated``, ``cut``, ``colored``.
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

    @property
    def is_text(self) -> bool:
        """Whether it is text, not an arrow, circle or line that a human hand drew."""
        return self.kind != NOT_TEXT


@dataclass(frozen=True, slots=True)
class AnnotatedFilm:
    """All boxes of one film; ``path`` is relative to the folder of the sources."""

    path: str
    width: int
    height: int
    boxes: tuple[AnnotatedBox, ...]

    @property
    def source(self) -> str:
        """First folder of the path; ``"."`` where the films lie in no folder."""
        folder, slash, _ = self.path.partition("/")
        return folder if slash else "."

    @property
    def is_text_free(self) -> bool:
        """Whether no box is text."""
        return not any(box.is_text for box in self.boxes)


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
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataIntegrityError(
            f"{path}: is not a file of annotations ({reason}); {_EXPECTED}"
        ) from error


def load_all_annotations(paths: Sequence[Path]) -> list[AnnotatedFilm]:
    """Read several files of annotations.

    Returns:
        All films, file after file.

    Raises:
        DataIntegrityError: If a file cannot be read, none names a film, or two name the same one.
    """
    films: dict[str, AnnotatedFilm] = {}
    for path in paths:
        for film in load_annotations(path):
            if film.path in films:
                raise DataIntegrityError(
                    f"{path}: {film.path} is annotated in another file, too; give each film once"
                )
            films[film.path] = film
    if not films:
        names = ", ".join(str(path) for path in paths)
        raise DataIntegrityError(f"{names}: names no film; expected at least one")
    return list(films.values())


def _parse_film(name: str, entry: Mapping[str, Any]) -> AnnotatedFilm:
    boxes = []
    for box in entry["boxes"]:
        x0, y0, x1, y1 = (float(value) for value in box["box"])
        if not (0 <= x0 < x1 <= entry["width"] and 0 <= y0 < y1 <= entry["height"]):
            raise ValueError(f"{name}: box {box['box']} is empty or leaves the film")
        if box["kind"] not in KINDS:
            raise ValueError(f"{name}: kind {box['kind']!r} is none of {', '.join(KINDS)}")
        if box["polarity"] not in _POLARITIES:
            raise ValueError(f"{name}: polarity {box['polarity']!r} is neither bright nor dark")
        boxes.append(
            AnnotatedBox(
                (x0, y0, x1, y1),
                box["kind"],
                bool(box["legible"]),
                box["polarity"],
                str(box["content"]),
                tuple(box.get("marks", ())),
            )
        )
    return AnnotatedFilm(name, int(entry["width"]), int(entry["height"]), tuple(boxes))
