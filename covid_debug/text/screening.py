"""Which detected regions can be text at all.

Owns clipping to the film, and the rejection of film-scale regions and of anatomy, each with the
reason that is recorded. Anatomy is told from text by its edges: glyphs are burned in, or cast by
lead, with edges far steeper than those of tissue and bone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.records import TextRegion

Gray = NDArray[np.uint8]
MAX_AREA_SHARE = 0.05
MIN_EDGE = 10.0
_MIN_SIDE_PX = 1.0
_WORKING_SIDE_PX = 640


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector says about one film.

    Attributes:
        regions: Accepted regions, polygons in film pixels, all inside the film.
        rejected: Regions that were found and dropped, each with the reason.
        uncertain: Regions that are text only if another detector sees them, too.
    """

    regions: tuple[TextRegion, ...]
    rejected: tuple[tuple[TextRegion, str], ...] = ()
    uncertain: tuple[TextRegion, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeMap:
    """Steepness of a film at a fixed size.

    Attributes:
        steepness: ``(h, w)`` float32, gray levels per pixel of the scaled film.
        scale: Scaled pixels per film pixel, ``(x, y)``.
    """

    steepness: NDArray[np.float32]
    scale: tuple[float, float]


def compute_edges(image: Gray) -> EdgeMap:
    """Measure edges with the longest side scaled to 640 px, so that films are comparable.

    Args:
        image: Film, ``(H, W)`` uint8.

    Returns:
        The magnitude of the Sobel gradient, scaled to gray levels per pixel.
    """
    height, width = image.shape
    ratio = _WORKING_SIDE_PX / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=method).astype(np.float32)
    across, down = (cv2.Sobel(scaled, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    steepness = np.hypot(across, down) / 8  # the Sobel kernel sums 8 times the slope
    return EdgeMap(steepness.astype(np.float32), (size[0] / width, size[1] / height))


def edge_strength(region: TextRegion, edges: EdgeMap) -> float:
    """Return the 90th percentile of steepness inside a region's bounding box, gray levels/px."""
    x0, y0, x1, y1 = region.box
    columns = slice(int(x0 * edges.scale[0]), int(np.ceil(x1 * edges.scale[0])))
    rows = slice(int(y0 * edges.scale[1]), int(np.ceil(y1 * edges.scale[1])))
    inside = edges.steepness[rows, columns]
    return float(np.percentile(inside, 90)) if inside.size else 0.0


def screen_regions(
    regions: Sequence[TextRegion],
    image: Gray,
    *,
    max_area_share: float = MAX_AREA_SHARE,
    min_edge: float = MIN_EDGE,
    edges: EdgeMap | None = None,
) -> Detections:
    """Clip regions to the film and reject those that cannot be text.

    Args:
        regions: Raw regions in film pixels.
        image: The film, ``(H, W)`` uint8.
        max_area_share: Largest bounding-box area of one region as a share of the film, in (0, 1].
        min_edge: Least :func:`edge_strength`; 0 keeps anatomy.
        edges: Edges of the film where they are known; None computes them.

    Returns:
        Accepted regions (clipped, confidence in [0, 1]) and rejected ones with reasons.
    """
    height, width = image.shape
    if edges is None and regions and min_edge > 0:
        edges = compute_edges(image)
    kept: list[TextRegion] = []
    rejected: list[tuple[TextRegion, str]] = []
    for region in regions:
        clipped = clip_region(region, width, height)
        reason = _reason_against(clipped, width, height, max_area_share)
        if reason is None and edges is not None:
            strength = edge_strength(clipped, edges)
            if strength < min_edge:
                reason = (
                    f"anatomy: edges of {strength:.1f} gray levels/px, text has at least "
                    f"{min_edge:g}"
                )
        if reason is None:
            kept.append(clipped)
        else:
            rejected.append((clipped, reason))
    return Detections(tuple(kept), tuple(rejected))


def _reason_against(
    region: TextRegion, width: int, height: int, max_area_share: float
) -> str | None:
    x0, y0, x1, y1 = region.box
    if min(x1 - x0, y1 - y0) < _MIN_SIDE_PX:
        return "outside the film or thinner than one pixel"
    share = (x1 - x0) * (y1 - y0) / (width * height)
    if share > max_area_share:
        return f"film scale: covers {share:.1%} of the film, limit {max_area_share:.1%}"
    return None


def clip_region(region: TextRegion, width: int, height: int) -> TextRegion:
    """Return the region with its corners moved into the film and its confidence into [0, 1]."""
    polygon = tuple(
        (min(max(float(x), 0.0), float(width)), min(max(float(y), 0.0), float(height)))
        for x, y in region.polygon
    )
    confidence = min(max(float(region.confidence), 0.0), 1.0)
    return replace(region, polygon=polygon, confidence=confidence)
