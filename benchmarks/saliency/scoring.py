"""Maps and what they cost become a run: deletion and insertion at a grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.saliency.runs import MAX_BATCH, BenchFilms, MethodRun
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps of all films, before they are scored; the fields are those of :class:`MethodRun`."""

    saliency: Tensor
    void_reason: NDArray[np.int64]
    seconds: NDArray[np.float64]
    cpu_seconds: NDArray[np.float64]
    evaluations: NDArray[np.float64]
    peak_mb: float


def score_maps(
    classifier: Classifier, films: BenchFilms, maps: Maps, method: str, grid: int
) -> MethodRun:
    """Score maps on the probability scale, ranked at a grid.

    Args:
        classifier: The model.
        films: What the maps explain.
        maps: Saliency ``(N, 1, S, S)`` and cost.
        method: Name of the run.
        grid: Cells a side of the ranking; the image size ranks single pixels.

    Returns:
        The run.
    """
    is_pixels = grid == films.images.shape[-1]
    protocol = (
        PerturbationProtocol(resolution="image")
        if is_pixels
        else PerturbationProtocol(grid_size=grid)
    )
    score = TargetScore(classifier, films.targets, max_batch=MAX_BATCH)
    found = compute_deletion_insertion(score, films.images, maps.saliency, protocol)
    return MethodRun(
        method=method,
        grid=grid,
        saliency=maps.saliency[:, 0].cpu().numpy(),
        deletion=found.deletion_score.double().cpu().numpy(),
        insertion=found.insertion_score.double().cpu().numpy(),
        deletion_curve=found.deletion_curve.double().cpu().numpy(),
        insertion_curve=found.insertion_curve.double().cpu().numpy(),
        fraction=found.perturbed_fraction.double().cpu().numpy(),
        void_reason=maps.void_reason,
        seconds=maps.seconds,
        cpu_seconds=maps.cpu_seconds,
        evaluations=maps.evaluations,
        peak_mb=maps.peak_mb,
    )
