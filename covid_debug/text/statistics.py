"""What a scan found, counted by source: films with text, regions, who saw them, what was dropped.

Owns counting only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from covid_debug.records import FilmRegions, TextRegion


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """Counts of one source.

    Attributes:
        source: Name of the source, ``"all"`` for the total.
        n_total: Films that were scanned.
        n_ok: Films that could be read.
        n_with_text: Readable films with at least one region.
        n_regions: Accepted regions.
        mean_area_share: Mean over readable films of the regions' summed area, as a share of the
            film; 0 without readable films.
        seen_by: Accepted regions by the detectors that saw them, e.g. ``{"marker+rapidocr": 3}``.
        rejected: Dropped regions by the kind of reason, the words before its first colon.
    """

    source: str
    n_total: int
    n_ok: int
    n_with_text: int
    n_regions: int
    mean_area_share: float
    seen_by: Mapping[str, int]
    rejected: Mapping[str, int]


def count_by_source(
    records: Iterable[FilmRegions], source_of: Mapping[str, str]
) -> list[SourceStatistics]:
    """Count a scan by source.

    Args:
        records: The scan.
        source_of: ``FilmRegions.image`` -> source; images without an entry count as ``"unknown"``.

    Returns:
        The total as ``"all"``, then each source in alphabetical order.
    """
    by_source: dict[str, list[FilmRegions]] = {}
    everything = []
    for record in records:
        everything.append(record)
        by_source.setdefault(source_of.get(record.image, "unknown"), []).append(record)
    return [
        _count("all", everything),
        *(_count(source, by_source[source]) for source in sorted(by_source)),
    ]


def _count(source: str, records: list[FilmRegions]) -> SourceStatistics:
    readable = [record for record in records if record.error is None]
    shares = [
        sum(_area(region) for region in record.regions) / (record.width * record.height)
        for record in readable
    ]
    return SourceStatistics(
        source=source,
        n_total=len(records),
        n_ok=len(readable),
        n_with_text=sum(bool(record.regions) for record in readable),
        n_regions=sum(len(record.regions) for record in readable),
        mean_area_share=float(np.mean(shares)) if shares else 0.0,
        seen_by=_tally(region.detector for record in readable for region in record.regions),
        rejected=_tally(
            reason.split(":", 1)[0] for record in readable for _, reason in record.rejected
        ),
    )


def _tally(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _area(region: TextRegion) -> float:
    return float(cv2.contourArea(np.asarray(region.polygon, np.float32)))
