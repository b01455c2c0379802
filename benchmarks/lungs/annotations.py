"""Lungs drawn by eye on real films: polygons of film pixels by image id, no pixels.

``use`` says what a film may serve for: ``fit`` (training the weights), ``choose`` (choosing the
method), ``test`` (nothing but the measurement).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.regions import draw_outlines
from covid_debug.records import Point

ANNOTATIONS = Path(__file__).with_name("annotations.json")
Outlines = tuple[tuple[Point, ...], ...]


@dataclass(frozen=True, slots=True)
class AnnotatedLungs:
    """The lungs of one film.

    Attributes:
        image_id: Film.
        use: ``"fit"``, ``"choose"`` or ``"test"``.
        width: Film width in pixels.
        height: Film height in pixels.
        lungs: One outline a lung, film pixels.
        again: The same drawn a second time, mirrored and at another zoom; empty on most films.
    """

    image_id: str
    use: str
    width: int
    height: int
    lungs: Outlines
    again: Outlines

    def drawn(self) -> Mask:
        """Return the lungs as a mask ``(H, W)``."""
        return draw_outlines(self.lungs, self.width, self.height)

    def drawn_again(self) -> Mask:
        """Return the second drawing as a mask ``(H, W)``."""
        return draw_outlines(self.again, self.width, self.height)


def load_annotations(path: Path = ANNOTATIONS) -> tuple[AnnotatedLungs, ...]:
    """Read the annotations.

    Returns:
        One entry a film, in the order of the file.

    Raises:
        DataIntegrityError: If the file is missing or an entry is not what is expected.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_parse(image_id, entry) for image_id, entry in entries.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataIntegrityError(
            f"{path}: is not a file of annotated lungs ({error}); expected"
            " {image_id: {use, width, height, lungs}}"
        ) from error


def _parse(image_id: str, entry: dict[str, Any]) -> AnnotatedLungs:
    lungs, again = (
        tuple(tuple((float(x), float(y)) for x, y in outline) for outline in outlines)
        for outlines in (entry["lungs"], entry.get("again", []))
    )
    width, height = int(entry["width"]), int(entry["height"])
    return AnnotatedLungs(image_id, str(entry["use"]), width, height, lungs, again)
