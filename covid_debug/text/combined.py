"""The default detector: our marker detector, and CRAFT beside it where its weights are.

What the marker detector reports is text, whatever the others see, and keeps its outline. Every
other region needs a second detector that sees a part of it, too; one that RapidOCR alone sees is
dropped. A single member is believed. What is dropped is recorded with the reason. RapidOCR takes
part by name only: it is weak on single letters, slow, and alone it takes lung tissue for text.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from covid_debug.errors import CatalogError, suggest
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.ranges import check_range
from covid_debug.records import TextRegion
from covid_debug.text.base import (
    MAX_AREA_SHARE,
    MIN_EDGE,
    Detections,
    Gray,
    RegionDetector,
)
from covid_debug.text.craft import CraftDetector, CraftParams, weights_path
from covid_debug.text.heat_maps import attribute, group_regions
from covid_debug.text.marker_detector.detector import (
    MOST_AREA_SHARE,
    MarkerDetector,
    MarkerParams,
)
from covid_debug.text.rapidocr import RapidOcrDetector, RapidOcrParams
from covid_debug.text.refinement import refine_regions

_MEMBERS = ("marker", "rapidocr", "craft")
_SAME: Final = 0.9  # of a region inside a sure one: both are the same text


@dataclass(frozen=True, slots=True)
class CombinedParams:
    """Parameters of :class:`CombinedDetector`.

    Attributes:
        members: Detectors to use, of ``marker``, ``rapidocr`` and ``craft``; empty takes
            ``marker``, and ``craft`` where its weights are. The detector's own ``params`` name the
            ones that were taken.
        support: Least share of an uncertain region that other members see, too, in (0, 1].
            Uncertain are all of RapidOCR's regions, those that our marker detector leaves to
            another one to confirm, and CRAFT's below ``craft_alone``.
        craft_alone: Confidence from which CRAFT needs nobody, in [0, 1].
        craft_weights: CRAFT's weight file, see :class:`~covid_debug.text.craft.CraftParams`.
        max_area_share: Larger regions are rejected, of RapidOCR and CRAFT those over 0.05 at the
            latest; share of the film's area, in (0, 1].
        min_edge: Regions of RapidOCR and CRAFT with weaker edges are rejected as anatomy; gray
            levels/px. The marker detector's probability has judged edges.
    """

    members: tuple[str, ...] = ()
    support: float = 0.25
    craft_alone: float = 0.7
    craft_weights: str = ""
    max_area_share: float = MOST_AREA_SHARE
    min_edge: float = MIN_EDGE

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            CatalogError: If a member is unknown.
        """
        object.__setattr__(self, "members", tuple(self.members))
        for name in self.members:
            if name not in _MEMBERS:
                raise CatalogError(
                    f"text.combined: unknown member {name!r}{suggest(name, _MEMBERS)} "
                    f"(known: {', '.join(_MEMBERS)})"
                )
        check_range(self, "(0, 1]", "support", where="text.combined")
        check_range(self, "[0, 1]", "craft_alone", where="text.combined")


class CombinedDetector(RegionDetector):
    """Our marker detector, and CRAFT when its weights are present."""

    name: ClassVar[str] = "default"
    params: CombinedParams

    def __init__(
        self,
        params: CombinedParams | None = None,
        members: Mapping[str, RegionDetector] | None = None,
    ) -> None:
        """Build the members; their networks are loaded on first use.

        Args:
            params: Parameters.
            members: Ready detectors by name, instead of building them.

        Raises:
            CheckpointError: If a member that was asked for by name has no weights.
        """
        params = params or CombinedParams()
        self._members = dict(members) if members is not None else _build_members(params)
        self.params = replace(params, members=tuple(self._members))
        self.max_area_share = params.max_area_share
        self.min_edge = 0.0  # the members have judged edges

    def prepare(self) -> None:
        """Load the networks of all members."""
        for member in self._members.values():
            member.prepare()

    def _find(self, image: Gray) -> Detections:
        found = {
            name: _fit(member.inspect([image])[0], image) for name, member in self._members.items()
        }
        if len(found) == 1:
            (only,) = found.values()  # nobody could confirm it
            return only
        told = [region for one in found.values() for region in (*one.regions, *one.uncertain)]
        sure = found["marker"].regions if "marker" in found else ()
        kept = [self._confirm(region, told) or region for region in sure]
        rejected = [entry for one in found.values() for entry in one.rejected]
        for region in told:
            if region in sure or _share_seen(region, kept) >= _SAME:
                continue
            confirmed = self._confirm(region, told)
            if confirmed is not None:
                kept.append(confirmed)
            elif region.detector == "craft" and region.confidence >= self.params.craft_alone:
                kept.append(region)
            else:
                alone = f"seen by {region.detector} alone with confidence {region.confidence:.2f}"
                rejected.append((region, f"uncertain: {alone}"))
        return Detections(tuple(kept), tuple(rejected))

    def _confirm(self, region: TextRegion, told: Sequence[TextRegion]) -> TextRegion | None:
        """Return the region attributed to all who see it; None when nobody else sees enough."""
        least = self.params.support
        others = [
            other
            for other in told
            if other.detector != region.detector
            and len(group_regions([region, other], min_overlap=least, max_growth=math.inf)) == 1
        ]
        if _share_seen(region, others) < least:
            return None
        return attribute([region, *others], region.polygon)


def _fit(found: Detections, image: Gray) -> Detections:
    """Fit CRAFT's generous boxes to the glyphs; the other members' are tight already."""
    regions = tuple(
        refine_regions([region], image)[0] if region.detector == "craft" else region
        for region in found.regions
    )
    return replace(found, regions=regions)


def _share_seen(region: TextRegion, others: Sequence[TextRegion]) -> float:
    """Return the share of a region's pixels that the others cover together."""
    x0, y0, x1, y1 = region.box
    left, top = math.floor(x0), math.floor(y0)
    own, theirs = (
        regions_to_mask(
            [
                replace(one, polygon=tuple((x - left, y - top) for x, y in one.polygon))
                for one in regions
            ],
            math.ceil(x1) - left + 1,
            math.ceil(y1) - top + 1,
        )
        for regions in ([region], others)
    )
    return float((own & theirs).sum() / max(own.sum(), 1))


def _build_members(params: CombinedParams) -> dict[str, RegionDetector]:
    has_craft = weights_path(params.craft_weights).is_file()
    wanted = params.members or ("marker", *(("craft",) if has_craft else ()))
    return {name: _build_member(name, params) for name in wanted}


def _build_member(name: str, params: CombinedParams) -> RegionDetector:
    limit = min(params.max_area_share, MAX_AREA_SHARE)
    if name == "rapidocr":
        return RapidOcrDetector(RapidOcrParams(min_edge=params.min_edge, max_area_share=limit))
    if name == "craft":
        return CraftDetector(
            CraftParams(
                weights=params.craft_weights, min_edge=params.min_edge, max_area_share=limit
            )
        )
    return MarkerDetector(MarkerParams(max_area_share=params.max_area_share))
