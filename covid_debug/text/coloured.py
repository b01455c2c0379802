"""Search of coloured films in their colours as well as in gray.

Owns how both searches are joined; a film without colour costs nothing more.
"""

import dataclasses
from typing import Final

from covid_debug.imaging.boxes import area_of, intersect
from covid_debug.records import Box, TextRegion
from covid_debug.text.base import RegionDetector
from covid_debug.text.screening import Detections, Gray

_SAME: Final = 0.7  # of a coloured region inside one seen in gray: both are the same text


def inspect_in_colours(detector: RegionDetector, gray: Gray, tint: Gray | None) -> Detections:
    """Find the text of a film in gray, and in what it shows of colour.

    Args:
        detector: Any detector.
        gray: ``(H, W)`` uint8.
        tint: The colour, see :func:`covid_debug.imaging.colour.compute_tint`; None for a gray
            film, which is searched once.

    Returns:
        What was found in gray, then what is only seen in colour.
    """
    found = detector.inspect([gray])[0]
    if tint is None:
        return found
    coloured = detector.inspect([tint])[0]
    known = [region.box for region in found.regions]
    new = [region for region in coloured.regions if not _is_known(region, known)]
    return dataclasses.replace(
        found,
        regions=(*found.regions, *new),
        rejected=(*found.rejected, *coloured.rejected),
    )


def _is_known(region: TextRegion, known: list[Box]) -> bool:
    least = _SAME * max(area_of(region.box), 1e-9)
    return any(intersect(region.box, box) >= least for box in known)
