"""Cleans one film in memory.

Owns what happens to each region of a film. Reading, writing and data sets belong to
:mod:`covid_debug.cleaning.build`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.inpainting import FILLS, inpaint
from covid_debug.imaging.reading import Pixels
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import TextRegion

Policy = Literal["remove", "keep"]
Action = Literal["removed", "kept", "outside_film"]
SIDE_MARKERS: Final = frozenset({"L", "R", "LEFT", "RIGHT"})


@dataclass(frozen=True, slots=True)
class CleaningParams:
    """How films are cleaned; one rule for every class and split.

    Attributes:
        method: Name of the fill, see :func:`covid_debug.imaging.inpainting.inpaint`.
        radius_px: Reach of the fill in film pixels, above 0; 10 as published.
        dilation_px: Growth of every region in film pixels, so that anti-aliased edges and halos
            of the letters are covered.
        policy: What happens to side markers (a recognised L or R): ``"remove"`` them like all
            other text, or ``"keep"`` them, which is recorded per region.
        max_changed_share: Budget: a film of which the regions cover a larger share, in (0, 1], is
            not cleaned but recorded as unusable.
    """

    method: str = "telea"
    radius_px: float = 10.0
    dilation_px: int = 4
    policy: Policy = "remove"
    max_changed_share: float = 0.25

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            InputContractError: If a value is out of range or a policy unknown.
            CatalogError: If the fill is unknown.
        """
        FILLS[self.method]
        if self.policy not in {"remove", "keep"}:
            raise InputContractError(
                f"CleaningParams: policy is {self.policy!r}; expected remove or keep"
            )
        if not self.radius_px > 0 or self.dilation_px < 0:
            raise InputContractError(
                f"CleaningParams: radius_px is {self.radius_px} and dilation_px is "
                f"{self.dilation_px}; expected more than 0 and at least 0"
            )
        if not 0 < self.max_changed_share <= 1:
            raise InputContractError(
                f"CleaningParams: max_changed_share is {self.max_changed_share}; "
                "expected a share in (0, 1]"
            )


@dataclass(frozen=True, slots=True)
class RegionRecord:
    """What was done to one region and whether part of it lay outside the film."""

    region: TextRegion
    action: Action
    clipped: bool


@dataclass(frozen=True, slots=True)
class CleanedFilm:
    """A cleaned film with its evidence.

    Attributes:
        pixels: ``(H, W)``, same type as the input.
        mask: ``(H, W)`` bool, True where the fill was allowed to write; equal to the input
            everywhere else.
        records: One for each region, in the order of the input.
        n_changed: Pixels whose value differs from the input.
    """

    pixels: Pixels
    mask: NDArray[np.bool_]
    records: tuple[RegionRecord, ...]
    n_changed: int


def clean_film(
    pixels: Pixels, regions: Sequence[TextRegion], params: CleaningParams
) -> CleanedFilm:
    """Fill the text of a film.

    Args:
        pixels: ``(H, W)`` uint8 or uint16.
        regions: Text in pixels of this film. What lies outside the film is cut off and recorded.
        params: How to clean.

    Returns:
        The cleaned film; equal to the input when there is nothing to remove.

    Raises:
        DataIntegrityError: If the regions cover more of the film than the budget allows.
    """
    height, width = pixels.shape
    records = tuple(_decide(region, width, height, params.policy) for region in regions)
    wanted = [record.region for record in records if record.action == "removed"]
    mask = regions_to_mask(wanted, width, height, dilation_px=params.dilation_px)
    share = float(mask.mean())
    if share > params.max_changed_share:
        raise DataIntegrityError(
            f"cleaning would change {share:.1%} of the film; the budget is "
            f"{params.max_changed_share:.1%}; review the regions or raise max_changed_share"
        )
    cleaned = inpaint(pixels, mask, method=params.method, radius_px=params.radius_px)
    return CleanedFilm(cleaned, mask, records, int(np.count_nonzero(cleaned != pixels)))


def is_side_marker(region: TextRegion) -> bool:
    """Return whether the recognised characters are those of a side marker."""
    return (region.content or "").strip().strip(".()").upper() in SIDE_MARKERS


def _decide(region: TextRegion, width: int, height: int, policy: Policy) -> RegionRecord:
    x_min, y_min, x_max, y_max = region.box
    clipped = x_min < 0 or y_min < 0 or x_max > width or y_max > height
    if x_min >= width or y_min >= height or x_max <= 0 or y_max <= 0:
        return RegionRecord(region, "outside_film", clipped=True)
    if policy == "keep" and is_side_marker(region):
        return RegionRecord(region, "kept", clipped)
    return RegionRecord(region, "removed", clipped)
