"""Maps of audited films and what they say about the text.

Owns the numbers read from a map. How a map is made belongs to :mod:`covid_debug.saliency`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.audit.artifact import SaliencyEvidence
from covid_debug.evaluation.deletion_insertion import rank_units
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.perturbation.compose import compose
from covid_debug.saliency.base import Explainer, Explanation, explain_void_reason
from covid_debug.saliency.ranking import Ranking
from covid_debug.shapes import Saliency

INSERTED_SHARE = 0.06
"""Most salient pixels that restore the class in the case study's Fig. 6."""
DELETED_SHARE = 0.12
"""Most salient pixels whose removal loses the class in the case study's Fig. 6."""
REGION_RANKING: Ranking = "mask_then_gradient"
"""What chooses these pixels where more cells of a mask are equal than the larger region holds.

Many masks move fewer than 12 % of them. The rest of the region is then taken where the search's
gradient is largest: raster order would take it from the top of the film, where markers stand. Mass
and enrichment measure the map alone.
"""


def explain_films(
    explainer: Explainer[Any],
    classifier: Classifier,
    views: NDArray[np.uint8],
    baseline_views: NDArray[np.uint8],
    text_masks: NDArray[np.bool_],
    targets: Sequence[int],
    seeds: Sequence[int],
    *,
    max_batch: int,
) -> list[tuple[SaliencyEvidence, NDArray[np.float16]]]:
    """Explain a group of films and compare their maps with their text.

    Args:
        explainer: The method.
        classifier: The audited model.
        views: ``(n, S, S)`` uint8.
        baseline_views: ``(n, S, S)`` uint8, the films with everything removed.
        text_masks: ``(n, S, S)``, True where text leaks into the view.
        targets: Index of the explained class, one a film.
        seeds: One a film.
        max_batch: Most images in one model call.

    Returns:
        For each film its evidence and its map ``(S, S)``, larger = more evidence for its target.
    """
    images = to_canonical(views, classifier.device)
    classes = torch.tensor(targets, dtype=torch.int64, device=images.device)
    baseline = to_canonical(baseline_views, classifier.device)
    explanation = explainer.explain(
        classifier, images, classes, seeds=seeds, baseline=baseline, max_batch=max_batch
    )
    ranks = rank_units(_order_pixels(explanation).flatten(1)).view(images.shape)
    n_pixels = images.shape[-2] * images.shape[-1]
    is_top6 = (ranks < round(INSERTED_SHARE * n_pixels)).to(images.dtype)
    is_top12 = (ranks < round(DELETED_SHARE * n_pixels)).to(images.dtype)
    perturbed = torch.cat(
        [compose(images, baseline, is_top6), compose(images, baseline, 1 - is_top12)]
    )
    as_views = (perturbed[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
    probabilities = predict_probabilities(classifier, as_views, max_batch=max_batch)
    inserted, deleted = np.split(probabilities, 2)
    maps = explanation.saliency[:, 0].cpu().numpy()
    void = explanation.diagnostics["void"].cpu().numpy()
    n_evaluations = explanation.n_evaluations // len(images)
    results = []
    for i, (saliency, target) in enumerate(zip(maps, targets, strict=True)):
        mass, enrichment = measure_enrichment(saliency, text_masks[i])
        evidence = SaliencyEvidence(
            enrichment=enrichment,
            mass_in_text=mass,
            insertion_top6=float(inserted[i, target]),
            deletion_top12=float(deleted[i, target]),
            insertion_restores=int(inserted[i].argmax()) == target,
            deletion_loses=int(deleted[i].argmax()) != target,
            void=bool(void[i]),
            void_reason=explain_void_reason(explanation, i),
            n_evaluations=n_evaluations,
        )
        results.append((evidence, saliency.astype(np.float16)))
    return results


def _order_pixels(explanation: Explanation) -> Saliency:
    mask = explanation.keep_mask
    if mask is None or explanation.path_gradient is None:
        return explanation.saliency
    is_tied = mask.flatten(1).sort(dim=1).values.diff(dim=1) == 0
    has_ties = is_tied.float().mean(dim=1) > DELETED_SHARE
    by_both = explanation.rank(REGION_RANKING)
    return torch.where(has_ties.view(-1, 1, 1, 1), by_both, explanation.saliency)


def measure_enrichment(
    saliency: NDArray[np.floating[Any]], text_mask: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Return the share of positive saliency in text, and that share over the area share.

    Both are None for a map without positive values; the second also without text.
    """
    positive = np.clip(saliency.astype(np.float64), 0, None)
    total = positive.sum()
    if total <= 0:
        return None, None
    mass = float(positive[text_mask].sum() / total)
    area = float(text_mask.mean())
    return mass, mass / area if area > 0 else None
