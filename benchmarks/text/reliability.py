"""Whether a confidence is a probability: how often regions of each confidence lie on text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from benchmarks.text.scoring import FilmScore
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.reporting.figures import figure_style

N_BINS = 10


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Text regions of about the same confidence.

    Attributes:
        low: Least confidence, inclusive.
        high: Largest confidence, exclusive; 1 is in the last bin.
        n: Text regions.
        confidence: Their mean confidence; NaN without regions.
        needed: Share of them on annotated text, with Wilson's interval.
    """

    low: float
    high: float
    n: int
    confidence: float
    needed: Estimate


def bin_confidences(scores: Sequence[FilmScore], *, n_bins: int = N_BINS) -> list[ConfidenceBin]:
    """Sort the text regions of all films into bins of equal width.

    Args:
        scores: Scores of at least one film.
        n_bins: Bins between 0 and 1, at least 1.

    Returns:
        All bins, from the least confidence upwards.
    """
    regions = [one for score in scores for one in score.regions if one.is_text]
    confidences = np.array([one.region.confidence for one in regions], np.float64)
    needed = np.array([one.is_needed for one in regions], np.bool_)
    places = np.minimum((confidences * n_bins).astype(int), n_bins - 1)
    bins = []
    for number in range(n_bins):
        mine = places == number
        n = int(mine.sum())
        bins.append(
            ConfidenceBin(
                number / n_bins,
                (number + 1) / n_bins,
                n,
                float(confidences[mine].mean()) if n else float("nan"),
                wilson_interval(int(needed[mine].sum()), n),
            )
        )
    return bins


def calibration_error(bins: Sequence[ConfidenceBin]) -> float:
    """Return the expected calibration error [naeini2015obtaining].

    Args:
        bins: From :func:`bin_confidences`.

    Returns:
        Mean distance of confidence and share on text, weighted by regions, in [0, 1]; NaN without
        regions.
    """
    n = sum(one.n for one in bins)
    if not n:
        return float("nan")
    return sum(one.n * abs(one.confidence - one.needed.value) for one in bins if one.n) / n


def draw_reliability(curves: Sequence[tuple[str, Sequence[ConfidenceBin]]]) -> Figure:
    """Draw the share of regions on text over their confidence.

    Args:
        curves: Name and bins of each detector.

    Returns:
        The figure: a panel a detector, Wilson's intervals as bars, and the number of regions.
    """
    with figure_style():
        figure = Figure(figsize=(3.4 * len(curves) + 0.6, 3.9), layout="constrained")
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for axes, (name, bins) in zip(panels, curves, strict=True):
            full = [one for one in bins if one.n]
            shares = [one.needed.value for one in full]
            below = [one.needed.value - one.needed.low for one in full]
            above = [one.needed.high - one.needed.value for one in full]
            axes.plot((0, 1), (0, 1), color="0.6", lw=0.8, ls=":")
            axes.errorbar(
                [one.confidence for one in full], shares, yerr=(below, above), fmt="o-", ms=4, lw=1
            )
            for one in full:
                axes.annotate(
                    str(one.n),
                    (one.confidence, -0.065),
                    ha="center",
                    fontsize=7,
                    color="0.4",
                )
            axes.set(xlim=(0, 1.03), ylim=(-0.08, 1.03), xlabel="confidence; number of regions")
            axes.set_title(f"{name}: error {calibration_error(bins):.3f}")
        panels[0].set_ylabel("share of regions on text")
    return figure
