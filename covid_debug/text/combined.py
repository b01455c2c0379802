"""The default detector: several detectors that vouch for each other.

Each member looks with low thresholds. A region that two members see is text; a region that one
member sees alone must be certain, or hold a side letter that can be read. A single member is
believed. What is dropped is recorded with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from covid_debug.errors import CatalogError, InputContractError, suggest
from covid_debug.records import TextRegion
from covid_debug.text.base import (
    MAX_AREA_SHARE,
    MIN_EDGE,
    Detections,
    Gray,
    RegionDetector,
)
from covid_debug.text.craft import CraftDetector, CraftParams, weights_path
from covid_debug.text.heat_maps import group_regions
from covid_debug.text.marker_detector.detector import WEIGHTS_PATH, MarkerDetector, MarkerParams
from covid_debug.text.marker_detector.postprocess import RegionThresholds
from covid_debug.text.rapidocr import RapidOcrDetector, RapidOcrParams
from covid_debug.text.reading import SideLetterReader
from covid_debug.text.refinement import choose_tightest, refine_regions

MEMBERS = ("marker", "rapidocr", "craft")
_BORDER_SHARE = 0.003  # of the longest side: about two pixels of the marker detector's view
_THRESHOLDS = RegionThresholds(character=0.25, area=0.6)


@dataclass(frozen=True, slots=True)
class CombinedParams:
    """Parameters of :class:`CombinedDetector`.

    Attributes:
        members: Detectors to use, of ``marker``, ``rapidocr`` and ``craft``; empty takes those
            whose weights are there. The detector's own ``params`` name the ones that were taken.
        rapidocr_alone: Least confidence of a region that only RapidOCR sees, in [0, 1].
        marker_alone: The same for our marker detector.
        marker_at_border: The same for our marker detector when the region touches the film's
            border: cut glyphs cannot be read, so nobody else can vouch for them.
        marker_if_read: The same for our marker detector when a side letter is read in the region,
            in any of eight directions; used when RapidOCR is a member.
        craft_alone: The same for CRAFT.
        craft_weights: CRAFT's weight file, see :class:`~covid_debug.text.craft.CraftParams`.
        read_content: Let RapidOCR recognise the characters (slower).
        max_area_share: Larger regions are rejected; share of the film's area, in (0, 1].
        min_edge: Regions with weaker edges are rejected as anatomy; gray levels/px.
    """

    members: tuple[str, ...] = ()
    rapidocr_alone: float = 0.5
    marker_alone: float = 0.92
    marker_at_border: float = 0.88
    marker_if_read: float = 0.85
    craft_alone: float = 0.7
    craft_weights: str = ""
    read_content: bool = False
    max_area_share: float = MAX_AREA_SHARE
    min_edge: float = MIN_EDGE

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            CatalogError: If a member is unknown.
            InputContractError: If a value is out of its range.
        """
        object.__setattr__(self, "members", tuple(self.members))
        for name in self.members:
            if name not in MEMBERS:
                raise CatalogError(
                    f"text.combined: unknown member {name!r}{suggest(name, MEMBERS)} "
                    f"(known: {', '.join(MEMBERS)})"
                )
        for name in (
            "rapidocr_alone", "marker_alone", "marker_at_border", "marker_if_read", "craft_alone"
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise InputContractError(
                    f"text.combined: {name} is {getattr(self, name)}; expected in [0, 1]"
                )


class CombinedDetector(RegionDetector):
    """Our marker detector, RapidOCR, and CRAFT when its weights are present."""

    name: ClassVar[str] = "default"
    params: CombinedParams

    def __init__(
        self,
        params: CombinedParams | None = None,
        members: Mapping[str, RegionDetector] | None = None,
        reader: SideLetterReader | None = None,
    ) -> None:
        """Build the members; their networks are loaded on first use.

        Args:
            params: Parameters.
            members: Ready detectors by name, instead of building them.
            reader: Reads lone uncertain regions; built with the members if they are built here.

        Raises:
            CheckpointError: If a member that was asked for by name has no weights.
        """
        params = params or CombinedParams()
        self._members = dict(members) if members is not None else _build_members(params)
        if members is None and {"marker", "rapidocr"} <= self._members.keys():
            reader = SideLetterReader()
        self._reader = reader
        self.params = replace(params, members=tuple(self._members))
        self.max_area_share = params.max_area_share
        self.min_edge = params.min_edge

    def prepare(self) -> None:
        """Load the networks of all members."""
        for member in self._members.values():
            member.prepare()
        if self._reader is not None:
            self._reader.prepare()

    def _find(self, image: Gray) -> Detections:
        found = {name: member.inspect([image])[0] for name, member in self._members.items()}
        kept: list[TextRegion] = []
        rejected = [entry for one in found.values() for entry in one.rejected]
        for group in group_regions([region for one in found.values() for region in one.regions]):
            if len({region.detector for region in group}) > 1:
                kept += choose_tightest(group, image)
                continue
            for region in group:
                judged, reason = self._judge_alone(region, image)
                if reason is None:
                    kept.append(judged)
                else:
                    rejected.append((region, reason))
        return Detections(tuple(refine_regions(kept, image)), tuple(rejected))

    def _judge_alone(self, region: TextRegion, image: Gray) -> tuple[TextRegion, str | None]:
        """Return the region, with its letter if that was read, and the reason to drop it."""
        if len(self._members) == 1:
            return region, None  # nobody could vouch for it
        least = {
            "rapidocr": self.params.rapidocr_alone,
            "marker": self.params.marker_alone,
            "craft": self.params.craft_alone,
        }.get(region.detector, 0.0)
        if region.detector == "marker" and _touches_border(region, image):
            least = min(least, self.params.marker_at_border)
        if region.confidence >= least:
            return region, None
        may_read = region.detector == "marker" and region.confidence >= self.params.marker_if_read
        if self._reader is not None and may_read:
            letter = self._reader.read(region, image)
            if letter is not None:
                return replace(region, content=letter), None
        return region, (
            f"uncertain: seen by {region.detector} alone with confidence "
            f"{region.confidence:.2f}, needs {least:.2f}"
        )


def _touches_border(region: TextRegion, image: Gray) -> bool:
    height, width = image.shape
    x0, y0, x1, y1 = region.box
    reach = _BORDER_SHARE * max(height, width)
    return bool(min(x0, y0, width - x1, height - y1) <= reach)


def _build_members(params: CombinedParams) -> dict[str, RegionDetector]:
    wanted: Sequence[str] = params.members
    if not wanted:
        wanted = [
            name
            for name, is_there in (
                ("marker", WEIGHTS_PATH.is_file()),
                ("rapidocr", True),
                ("craft", weights_path(params.craft_weights).is_file()),
            )
            if is_there
        ]
    return {name: _build_member(name, params) for name in wanted}


def _build_member(name: str, params: CombinedParams) -> RegionDetector:
    limit = params.max_area_share
    if name == "rapidocr":
        return RapidOcrDetector(
            RapidOcrParams(
                read_content=params.read_content, min_edge=params.min_edge, max_area_share=limit
            )
        )
    if name == "craft":
        return CraftDetector(
            CraftParams(
                weights=params.craft_weights, min_edge=params.min_edge, max_area_share=limit
            )
        )
    return MarkerDetector(MarkerParams(thresholds=_THRESHOLDS, max_area_share=limit))
