"""Cleans one film in memory.

Owns what happens to each region of a film. Reading, writing and data sets belong to
:mod:`covid_debug.cleaning.build`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from covid_debug.cleaning.glyphs import TextMask, mask_box, mask_glyphs
from covid_debug.cleaning.grain import add_grain
from covid_debug.cleaning.ink import follow_ink
from covid_debug.cleaning.markers import (
    MarkerPlace,
    draw_marker,
    place_in_view,
    place_marker,
)
from covid_debug.cleaning.policy import Policy, RegionAction, check_policy, decide_actions
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.inpainting import METHODS, TRANSPLANT, inpaint
from covid_debug.imaging.jpeg import Table, grow_to_blocks, requantise
from covid_debug.imaging.masks import PlacedMask, scale_of
from covid_debug.imaging.reading import Pixels
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.ranges import check_choices, check_range
from covid_debug.records import TextRegion

Action = Literal["removed", "kept", "replaced", "outside_film", "decoy"]
_ACTIONS: Final[Mapping[RegionAction, Action]] = {
    "remove": "removed",
    "keep": "kept",
    "replace": "replaced",
}


@dataclass(frozen=True, slots=True)
class CleaningParams:
    """How films are cleaned; one rule for every class and split.

    Attributes:
        method: Name of the fill, see :func:`covid_debug.imaging.inpainting.inpaint`.
        radius_px: Reach of the fill in film pixels, above 0; 10 as published.
        mask_shape: ``"glyphs"`` masks the letters of a region, ``"box"`` the whole region.
        dilation_px: Growth of letters or boxes in pixels of a film of 640 px, so that
            anti-aliased edges and halos are covered; more on larger films, never less.
        policy: Kind of text -> ``"remove"``, ``"keep"`` or ``"replace"``; what is not named is
            removed. Where a kind is replaced, one uniform marker is drawn on every film of the set
            where models do not look. Recorded for each region.
        uniform_marker: Draw the same letter at the same place *inside* the view on every film.
        max_changed_share: Budget: a film of which the masks cover a larger share, in (0, 1], is
            not cleaned but recorded as unusable.
        grain: Whether fine texture from beside a filled place is laid over the fill, so that its
            smoothness does not give it away.
        decoy_sets: 0, or how many sets of regions every film ends with: its own, if it has any,
            and those of other films drawn at random. Needs ``mask_shape="box"``, because letters
            that are not there have no shape.
        seed: Seed of the drawing of decoys.
    """

    method: str = "telea"
    radius_px: float = 10.0
    mask_shape: Literal["glyphs", "box"] = "glyphs"
    dilation_px: int = 3
    policy: Policy = field(default_factory=dict)
    uniform_marker: bool = False
    max_changed_share: float = 0.25
    grain: bool = False
    decoy_sets: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            InputContractError: If a value is out of range or a name unknown.
            CatalogError: If the fill is unknown.
        """
        METHODS[self.method]
        check_choices(self)
        check_policy(self.policy, "CleaningParams: policy")
        check_range(self, "(0, inf)", "radius_px")
        check_range(self, "[0, inf)", "dilation_px", "decoy_sets")
        check_range(self, "(0, 1]", "max_changed_share")
        if self.decoy_sets and self.mask_shape != "box":
            raise InputContractError(
                f"CleaningParams: decoy_sets is {self.decoy_sets} with mask_shape "
                f"{self.mask_shape!r}; expected mask_shape 'box', or decoys differ from text"
            )
        if self.uniform_marker and "replace" in self.policy.values():
            raise InputContractError(
                "CleaningParams: policy 'replace' and uniform_marker draw two markers on every"
                " film; expected one of them"
            )

    def growth_on(self, shape: tuple[int, ...]) -> int:
        """Return the growth of letters or boxes on a film ``(H, W)``, in its pixels."""
        return round(self.dilation_px * scale_of(shape))


@dataclass(frozen=True, slots=True)
class RegionRecord:
    """What was done to one region.

    Attributes:
        region: The region as given.
        action: What happened to it.
        clipped: Whether part of it lay outside the film.
        mask_kind: ``"glyphs"``, ``"box"``, or ``""`` where nothing was filled.
        shape_of: The region whose mask was stamped here (placebo arm), or None.
        is_incomplete: Whether ink goes on outside the mask, further than it was followed.
    """

    region: TextRegion
    action: Action
    clipped: bool
    mask_kind: str = ""
    shape_of: TextRegion | None = None
    is_incomplete: bool = False


@dataclass(frozen=True, slots=True)
class CleanedFilm:
    """A cleaned film with its evidence.

    Attributes:
        pixels: ``(H, W)``, same type as the input.
        mask: ``(H, W)`` bool, True where cleaning was allowed to write; equal to the input
            everywhere else.
        records: One for each region in the order of the input, then one for each decoy.
        n_changed: Pixels whose value differs from the input.
        marker: The uniform marker that was drawn, or None.
    """

    pixels: Pixels
    mask: NDArray[np.bool_]
    records: tuple[RegionRecord, ...]
    n_changed: int
    marker: MarkerPlace | None = None


def clean_film(
    pixels: Pixels,
    regions: Sequence[TextRegion],
    params: CleaningParams,
    *,
    shapes: Sequence[TextRegion] | None = None,
    decoys: Sequence[TextRegion] = (),
    table: Table | None = None,
) -> CleanedFilm:
    """Fill the text of a film.

    Args:
        pixels: ``(H, W)`` uint8 or uint16.
        regions: Text in pixels of this film. What lies outside the film is cut off and recorded.
        params: How to clean.
        shapes: For the placebo arm: the text regions whose masks are stamped at ``regions``, one
            for each, instead of masks made from what is there.
        decoys: Places without text that are filled as well.
        table: Quantisation of the JPEG file that ``pixels`` come from: what ``"transplant"``
            fills is whole blocks of it, coded in the same way. None leaves both out.

    Returns:
        The cleaned film; equal to the input when there is nothing to remove.

    Raises:
        DataIntegrityError: If the masks cover more of the film than the budget allows.
    """
    height, width = pixels.shape
    dilation_px = params.growth_on(pixels.shape)
    actions = [
        _choose_action(region, width, height, wanted)
        for region, wanted in zip(regions, decide_actions(regions, params.policy), strict=True)
    ]
    filled = [index for index, action in enumerate(actions) if action in {"removed", "replaced"}]
    sources = regions if shapes is None else shapes
    masks = _mask_text(pixels, [sources[index] for index in filled], params)
    kinds = [""] * len(regions)
    is_cut = [False] * len(regions)
    mask = np.zeros(pixels.shape, np.bool_)
    for index, one in zip(filled, masks, strict=True):
        kinds[index], is_cut[index] = one.kind, one.is_incomplete
        _shift(one.placed, sources[index], regions[index]).stamp(mask)
    for decoy in decoys:
        mask_box(decoy, pixels.shape, dilation_px).stamp(mask)
    is_coded = table is not None and params.method == TRANSPLANT and pixels.dtype == np.uint8
    if is_coded:
        mask = grow_to_blocks(mask)
    for region, action in zip(regions, actions, strict=True):
        if action == "kept":
            mask &= ~regions_to_mask([region], width, height)
    _check_budget(mask, params)

    avoid = None
    if params.method == TRANSPLANT:
        # No letter that stays, or that a mask might have missed, is copied into a fill.
        written = [*regions, *(shapes or ())]
        avoid = regions_to_mask(written, width, height, dilation_px=dilation_px)
    cleaned = fill_text(pixels, mask, params, avoid)
    if table is not None and is_coded:
        cleaned = requantise(cleaned, mask, table)
    marker = None
    if params.uniform_marker or "replace" in params.policy.values():
        is_seen = params.uniform_marker
        marker = place_in_view(width, height) if is_seen else place_marker(regions, width, height)
        cleaned = draw_marker(cleaned, marker)
        mask |= cleaned != pixels
    records = [
        RegionRecord(
            region,
            action,
            _is_clipped(region, width, height),
            kind,
            None if shapes is None else shapes[index],
            is_cut[index],
        )
        for index, (region, action, kind) in enumerate(zip(regions, actions, kinds, strict=True))
    ]
    records += [
        RegionRecord(decoy, "decoy", _is_clipped(decoy, width, height), "box") for decoy in decoys
    ]
    n_changed = int(np.count_nonzero(cleaned != pixels))
    return CleanedFilm(cleaned, mask, tuple(records), n_changed, marker)


def fill_text(
    pixels: Pixels,
    mask: NDArray[np.bool_],
    params: CleaningParams,
    avoid: NDArray[np.bool_] | None = None,
) -> Pixels:
    """Fill a mask as :func:`clean_film` does; for the channels of a film as they are stored.

    Args:
        pixels: ``(H, W)`` uint8 or uint16.
        mask: ``(H, W)``, True where the film is filled.
        params: How to clean.
        avoid: ``(H, W)``, True where nothing is copied from.

    Returns:
        The filled channel; equal to ``pixels`` outside the mask.
    """
    filled = inpaint(pixels, mask, method=params.method, radius_px=params.radius_px, avoid=avoid)
    return add_grain(filled, mask) if params.grain else filled


def _mask_text(
    pixels: Pixels, regions: Sequence[TextRegion], params: CleaningParams
) -> list[TextMask]:
    """Return the mask of each region, its kind, and whether ink goes on outside."""
    dilation_px = params.growth_on(pixels.shape)
    boxes = [mask_box(region, pixels.shape, dilation_px) for region in regions]
    hidden = _stamp_all(boxes, pixels.shape)
    grey_range = 255.0 if pixels.dtype == np.uint8 else float(np.ptp(pixels))
    masks = [TextMask(box, "box") for box in boxes]
    if params.mask_shape == "glyphs":
        masks = [
            mask_glyphs(pixels, region, hidden, dilation_px=dilation_px, grey_range=grey_range)
            for region in regions
        ]
    hidden = _stamp_all([mask.placed for mask in masks], pixels.shape)
    found = []
    for mask in masks:
        whole, goes_on = follow_ink(
            pixels, mask.placed, hidden, dilation_px=dilation_px, grey_range=grey_range
        )
        found.append(TextMask(whole, mask.kind, goes_on or mask.is_incomplete))
    return found


def _stamp_all(masks: Sequence[PlacedMask], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    hidden = np.zeros(shape, np.bool_)
    for placed in masks:
        placed.stamp(hidden)
    return hidden


def _shift(placed: PlacedMask, source: TextRegion, place: TextRegion) -> PlacedMask:
    return placed.moved(round(place.box[1] - source.box[1]), round(place.box[0] - source.box[0]))


def _check_budget(mask: NDArray[np.bool_], params: CleaningParams) -> None:
    share = float(mask.mean())
    if share > params.max_changed_share:
        raise DataIntegrityError(
            f"cleaning would change {share:.1%} of the film; the budget is "
            f"{params.max_changed_share:.1%}; review the regions or raise max_changed_share"
        )


def _is_clipped(region: TextRegion, width: int, height: int) -> bool:
    x_min, y_min, x_max, y_max = region.box
    return x_min < 0 or y_min < 0 or x_max > width or y_max > height


def _choose_action(region: TextRegion, width: int, height: int, wanted: RegionAction) -> Action:
    x_min, y_min, x_max, y_max = region.box
    if x_min >= width or y_min >= height or x_max <= 0 or y_max <= 0:
        return "outside_film"
    return _ACTIONS[wanted]
