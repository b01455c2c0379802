"""Text of one film that lies in no data set: in gray, in its colours, read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covid_debug.imaging.reading import FilmImage
from covid_debug.records import TextRegion
from covid_debug.text.base import RegionDetector
from covid_debug.text.coloured import inspect_in_colours
from covid_debug.text.contents import ContentReader


@dataclass(frozen=True, slots=True)
class Finder:
    """What finds the text of a film.

    Attributes:
        detector: Finds the regions.
        contents: Says what they say; None leaves that as the detector gave it.
    """

    detector: RegionDetector
    contents: ContentReader | None = None

    def find(self, image: FilmImage, tint: NDArray[np.uint8] | None) -> tuple[TextRegion, ...]:
        """Return the text of a film, in gray and in its colours."""
        gray = image.to_uint8()
        found = inspect_in_colours(self.detector, gray, tint).regions
        return found if self.contents is None else self.contents.complete(found, gray)
