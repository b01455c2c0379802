"""Text that a DICOM window hides: stored values that the film shows all black or all white.

A viewer with another window shows it again, so it is looked for in what the window cuts off,
stretched by itself: at most two more searches, and none where the window cuts off nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.film import CleanedFilm, CleaningParams
from covid_debug.imaging.boxes import area_of, intersect
from covid_debug.imaging.reading import FilmImage
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.imaging.stored import Planes
from covid_debug.records import TextRegion
from covid_debug.text.finder import Finder

_LEAST_SHARE: Final = 0.001  # of the film's pixels: less holds no text
_SAME: Final = 0.5  # of a region inside one that is shown: the same text


def find_hidden(
    planes: Planes, image: FilmImage, finder: Finder, shown: Sequence[TextRegion]
) -> tuple[TextRegion, ...]:
    """Find text in the stored values that a film's window cuts off.

    Args:
        planes: Stored values ``(H, W, C)``; more than one channel has no window.
        image: The film as shown, of the same size.
        finder: Finds the text.
        shown: What was found on the film as shown.

    Returns:
        Further regions, in pixels of the film.
    """
    if planes.shape[2] != 1 or planes.shape[:2] != image.pixels.shape:
        return ()
    found: list[TextRegion] = []
    for view in _iter_cut_off(planes[..., 0], image.pixels):
        for region in finder.find(replace(image, pixels=view), None):
            known = (*shown, *found)
            least = _SAME * max(area_of(region.box), 1e-9)
            if not any(intersect(region.box, one.box) >= least for one in known):
                found.append(region)
    return tuple(found)


def mask_hidden(
    hidden: Sequence[TextRegion], cleaned: CleanedFilm, params: CleaningParams
) -> NDArray[np.bool_]:
    """Return the whole places of hidden text that is filled: nobody sees the shape of its letters.

    Args:
        hidden: From :func:`find_hidden`, as given to the cleaning.
        cleaned: What the cleaning did on the film as shown.
        params: How the regions grow.

    Returns:
        ``(H, W)``, True where the stored values have to be filled.
    """
    height, width = cleaned.mask.shape
    filled = [
        one.region
        for one in cleaned.records
        if one.action in {"removed", "replaced"} and any(one.region is region for region in hidden)
    ]
    growth = params.growth_on(cleaned.mask.shape)
    return regions_to_mask(filled, width, height, dilation_px=growth)


def _iter_cut_off(
    stored: NDArray[np.generic], shown: NDArray[np.generic]
) -> Iterator[NDArray[np.uint8]]:
    """Yield what is shown all black, then all white, stretched to 0 to 255; the rest is flat."""
    values = stored.astype(np.float64)
    for end in (shown.min(), shown.max()):
        cut = shown == end
        low, high = float(values[cut].min()), float(values[cut].max())
        if low == high or cut.mean() < _LEAST_SHARE or cut.all():
            continue
        others = values[~cut]
        ground = high if np.abs(others - high).min() < np.abs(others - low).min() else low
        view = np.where(cut, values, ground)
        yield np.round((view - low) / (high - low) * 255).astype(np.uint8)
