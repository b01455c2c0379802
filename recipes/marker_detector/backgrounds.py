"""Films on which markers are planted, with the text that they already carry.

Owns the list of permitted films (``backgrounds.json``: licence checked, no patient of an
annotated set) and their own text, found and reviewed beforehand: true text is a target of its
own, what could not be decided is left out of the loss.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.data.phantom import plan_pool, render_phantom
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import read_film
from covid_debug.records import Box

LIST_PATH = Path(__file__).with_name("backgrounds.json")
WORKING_SIDE_PX = 640
Gray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class OwnText:
    """A line of text that a background carries: box ``(x0, y0, x1, y1)`` and characters in it."""

    box: Box
    n_characters: int


@dataclass(frozen=True, slots=True)
class Background:
    """One film to plant markers on.

    Attributes:
        pixels: ``(H, W)`` uint8, longest side at most 640.
        texts: The film's own text, a target like planted text.
        ignored: Boxes ``(x0, y0, x1, y1)`` that count neither as text nor as background.
        hard: Boxes of real things that could be taken for text; crops dwell on them.
        annotated: Outlines ``(n, 2)`` of real arrows, a target of their own.
        source: Where the film is from: first folder of its path, or ``phantom``.
    """

    pixels: Gray
    texts: tuple[OwnText, ...] = ()
    ignored: tuple[Box, ...] = ()
    hard: tuple[Box, ...] = ()
    annotated: tuple[NDArray[np.float32], ...] = ()
    source: str = "phantom"


def load_backgrounds(
    films: Path, listing: Path = LIST_PATH, exclude: Sequence[str] = ()
) -> list[Background]:
    """Read the permitted films.

    Args:
        films: Folder that the listing's paths are relative to.
        listing: JSON ``{path: {"text": [[x0, y0, x1, y1, n_characters], ...], "ignore": [...]}}``
            and ``"hard"`` and ``"annotation"`` likewise, in pixels of the film as shared.
        exclude: Films whose path begins with one of these are left out: a source held out.

    Returns:
        The films in the order of the listing.

    Raises:
        DataIntegrityError: If the listing or a film cannot be read.
    """
    try:
        entries: Mapping[str, Any] = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataIntegrityError(f"{listing}: cannot be read as JSON ({error})") from error
    return [
        _load(films / name, name.split("/", 1)[0], entry)
        for name, entry in entries.items()
        if not name.startswith(tuple(exclude))
    ]


def render_phantom_backgrounds(n_films: int, seed: int) -> Iterator[Background]:
    """Yield phantoms without text."""
    for plan in plan_pool("train", n_films, seed=seed, text_correlation=0.5, val_share=0.0):
        yield Background(render_phantom(seed, plan).bare)


def _load(path: Path, source: str, entry: Mapping[str, Any]) -> Background:
    pixels = read_film(path).to_uint8()
    scale = min(1.0, WORKING_SIDE_PX / max(pixels.shape))
    if scale < 1:
        pixels = np.asarray(
            cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )

    def scaled(box: list[float]) -> Box:
        x0, y0, x1, y1 = (float(value) * scale for value in box[:4])
        return x0, y0, x1, y1

    return Background(
        pixels,
        tuple(OwnText(scaled(item), int(item[4])) for item in entry.get("text", ())),
        tuple(scaled(item) for item in entry.get("ignore", ())),
        tuple(scaled(item) for item in entry.get("hard", ())),
        tuple(_outline(pixels, scaled(item)) for item in entry.get("annotation", ())),
        source,
    )


def _outline(pixels: Gray, box: Box) -> NDArray[np.float32]:
    """Return the outline of the arrow in a box: what is as bright or as dark as its middle."""
    x0, y0, x1, y1 = (round(value) for value in box)
    inside = pixels[y0:y1, x0:x1]
    _, bright = cv2.threshold(inside, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    height, width = inside.shape
    ink = (bright == bright[height // 2, width // 2]).astype(np.uint8)
    contours, _ = cv2.findContours(ink, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(max(contours, key=cv2.contourArea)[:, 0] + (x0 + 0.5, y0 + 0.5), np.float32)
