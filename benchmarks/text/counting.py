"""Counts over scored films: recall by group, precision, and what is covered needlessly.

Every share has two intervals: Wilson's, as if boxes were independent, and one over films, which
are. A bootstrap over films is too narrow where few boxes were missed (or found), since the films
with a miss are not drawn in many of its samples; the interval over films is therefore never
narrower, on either side, than Wilson's for the same share of as many trials as there are films.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.text.scoring import BoxScore, FilmScore
from covid_debug.evaluation.statistics import (
    Estimate,
    cluster_bootstrap,
    summarise_replicates,
    wilson_interval,
)

SIZE_EDGES_PX = (10.0, 20.0)
CONTRAST_EDGES = (40.0, 100.0)
GROUPS = ("case", "kind", "mark", "size px", "contrast", "polarity", "source")
_N_RESAMPLES = 1000
_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Count:
    """One row of the table.

    Attributes:
        group: What is grouped by, e.g. ``"kind"``.
        value: Which of the groups, e.g. ``"word"``.
        n_found: Boxes found, regions needed or films touched; 0 for areas.
        n_total: Boxes, regions or films.
        wilson: The share with Wilson's interval; for areas undefined.
        over_films: The same share with an interval over films: the wider of a bootstrap over them
            and of Wilson's.
    """

    group: str
    value: str
    n_found: int
    n_total: int
    wilson: Estimate
    over_films: Estimate

    @property
    def share(self) -> float:
        """``n_found / n_total``, or the area as a share of the film; NaN where there is none."""
        return self.over_films.value

    def to_row(self) -> dict[str, str | int | float]:
        """Return the cells of the table."""
        return {
            "group": self.group,
            "value": self.value,
            "n_found": self.n_found,
            "n_total": self.n_total,
            "share": self.share,
            "low": self.wilson.low,
            "high": self.wilson.high,
            "film_low": self.over_films.low,
            "film_high": self.over_films.high,
        }


def summarise(scores: Sequence[FilmScore], *, seed: int = 0) -> list[Count]:
    """Count over films.

    Args:
        scores: Scores of at least one film.
        seed: Seed of the intervals over films.

    Returns:
        Recall of legible boxes: of all, of hard and of other cases, by kind, mark, size (px),
        contrast (gray levels), polarity and source; recall of arrows by annotation regions; text
        regions that lie on text; excess area and area of needless regions (mean and worst share of
        a film); text-free films touched. A share is NaN where nothing could be counted.
    """
    rows = [_count_boxes("all", "legible", [score.boxes for score in scores], seed)]
    groups = {key for score in scores for box in score.boxes for key in groups_of(box)}
    for key in sorted(groups, key=lambda key: (GROUPS.index(key[0]), key[1])):
        mine = [[box for box in score.boxes if key in groups_of(box)] for score in scores]
        rows.append(_count_boxes(*key, mine, seed))
    if any(score.arrows for score in scores):
        rows.append(_count_boxes("arrows", "found", [score.arrows for score in scores], seed))
    regions = [[one.is_needed for one in score.regions if one.is_text] for score in scores]
    touched = [[score.is_touched] if score.is_text_free else [] for score in scores]
    return [
        *rows,
        count_hits("regions", "on text", regions, seed),
        *count_areas("excess area", [score.excess_share for score in scores], seed),
        *count_areas("needless area", [score.needless_share for score in scores], seed),
        count_hits("text-free films", "touched", touched, seed),
    ]


def count_areas(group: str, shares: Sequence[float], seed: int = 0) -> list[Count]:
    """Return the mean and the largest of the films' shares."""
    values, n = np.array(shares, np.float64), len(shares)
    worst = float(values.max())
    return [
        Count(group, "mean", 0, n, _no_interval(), _mean(values, seed)),
        Count(group, "worst film", 0, n, _no_interval(), _alone(worst)),
    ]


def by_key(counts: Iterable[Count]) -> dict[tuple[str, str], Count]:
    """Return the counts by group and value."""
    return {(one.group, one.value): one for one in counts}


def groups_of(box: BoxScore) -> set[tuple[str, str]]:
    """Return all groups that a box is counted under, as ``(group, value)``."""
    return {
        ("case", "hard" if box.is_hard else "other"),
        ("kind", box.box.kind),
        *(("mark", mark) for mark in box.box.marks or ("plain",)),
        ("size px", _interval(box.box.size_px, SIZE_EDGES_PX)),
        ("contrast", _interval(box.contrast, CONTRAST_EDGES)),
        ("polarity", box.box.polarity),
        ("source", box.source),
    }


def _interval(value: float, edges: tuple[float, float]) -> str:
    low, high = edges
    if value < low:
        return f"below {low:g}"
    return f"{low:g} to {high:g}" if value < high else f"from {high:g}"


def _count_boxes(group: str, value: str, boxes: Sequence[Sequence[BoxScore]], seed: int) -> Count:
    return count_hits(group, value, [[box.is_found for box in mine] for mine in boxes], seed)


def count_hits(group: str, value: str, hits: Sequence[Sequence[bool]], seed: int = 0) -> Count:
    """Count hits that come film by film.

    Args:
        group: See :class:`Count`.
        value: See :class:`Count`.
        hits: For each film what happened to each of its boxes.
        seed: Seed of the interval over films.

    Returns:
        The count; its shares are undefined without boxes.
    """
    n_found, n_total = sum(map(sum, hits)), sum(map(len, hits))
    if not n_total:
        nothing = Estimate.undefined(0, "nothing to count")
        return Count(group, value, 0, 0, nothing, nothing)
    sums = np.array([(sum(mine), len(mine)) for mine in hits if mine])
    over_films = _widen(_estimate(sums, seed), len(sums))
    return Count(group, value, n_found, n_total, wilson_interval(n_found, n_total), over_films)


def _widen(drawn: Estimate, n_films: int) -> Estimate:
    """Return the estimate with an interval that holds Wilson's over as many trials as films."""
    z2, p = _NORMAL_95**2, drawn.value
    middle = (p + z2 / (2 * n_films)) / (1 + z2 / n_films)
    reach = math.sqrt(z2 * (p * (1 - p) / n_films + z2 / (4 * n_films**2))) / (1 + z2 / n_films)
    low, high = max(min(drawn.low, middle - reach), 0.0), min(max(drawn.high, middle + reach), 1.0)
    return replace(drawn, low=low, high=high)


def _mean(values: NDArray[np.float64], seed: int) -> Estimate:
    return _estimate(np.stack([values, np.ones_like(values)], axis=1), seed)


def _estimate(sums: NDArray[np.float64], seed: int) -> Estimate:
    """Return the first column's sum over the second's, with its interval over the rows."""
    rows = [f"{number:06d}" for number in range(len(sums))]
    replicates = cluster_bootstrap(
        sums, rows, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=seed, n_resamples=_N_RESAMPLES
    )
    value, n = float(sums[:, 0].sum() / sums[:, 1].sum()), int(sums[:, 1].sum())
    return summarise_replicates(value, replicates, n=n, n_clusters=len(sums), bounds=(0.0, 1.0))


def _no_interval() -> Estimate:
    return Estimate.undefined(0, "an area, not a count")


def _alone(value: float) -> Estimate:
    return Estimate(value, float("nan"), float("nan"), 1, "the largest of all films")
