"""Films of which nothing is left but the box around the lungs.

Owns the box and the request; where the lungs lie is found by :mod:`covid_debug.imaging.lungs`.
Size and geometry of a film stay, so that regions and masks of the original still fit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from covid_debug.cleaning.versions import VersionPlan, VersionRequest
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.lungs import find_lungs
from covid_debug.imaging.reading import FilmImage, Pixels

_MARGIN: Final = 0.05  # of the film's sides, around the lungs


@dataclass(frozen=True)
class LungCropRequest(VersionRequest):
    """Blank everything outside the box around the lungs of every film.

    Attributes:
        filmset: The films.
    """

    filmset: Path

    stage: ClassVar[str] = "lung-crop"
    code_version: ClassVar[int] = 1

    def plan(self) -> VersionPlan:
        """Crop every film."""
        filmset = load_filmset(self.filmset)
        draws = {film.image_id: crop_to_lungs for film in filmset.films}
        return VersionPlan(filmset, draws, "lung-crop")


def crop_to_lungs(image: FilmImage) -> Pixels:
    """Return the film, black outside the box around its lungs.

    Args:
        image: A film of at least 8 by 8 pixels.

    Returns:
        ``(H, W)`` of the same type. The box of the lungs is grown by 5 % of the film on each
        side; outside it stands the gray value that is shown black.
    """
    rows, columns = np.nonzero(find_lungs(image.to_uint8()))
    height, width = image.pixels.shape
    by_row, by_column = round(_MARGIN * height), round(_MARGIN * width)
    box = (
        slice(max(int(rows.min()) - by_row, 0), int(rows.max()) + 1 + by_row),
        slice(max(int(columns.min()) - by_column, 0), int(columns.max()) + 1 + by_column),
    )
    black = 0 if image.pixels.dtype == np.uint8 else image.window[0]
    cropped = np.full_like(image.pixels, black)
    cropped[box] = image.pixels[box]
    return cropped
