"""How much penultimate features tell of a film's source beyond its class.

The best of the losses compared in [muller2026mitigating] is a distance correlation between
features and confounder, together with a rebalanced sampling. Here it is taken within each class,
on the features that the last layer reads, so that what class and source share is not forbidden.
"""

import torch
from torch import Tensor

_FEWEST = 4  # films of which the unbiased form exists


def compute_source_dependence(features: Tensor, classes: Tensor, sources: Tensor) -> Tensor:
    """Return the distance correlation of features and source within classes.

    The bias-corrected squared form [szekely2013distance]: 0 on average where nothing is told, also
    in many dimensions and few films (and then below 0 half of the time), 1 at most. The distance
    of two sources is 1, or 0 for the same. Free of the features' scale.

    Args:
        features: ``(N, D)``.
        classes: ``(N,)`` class index.
        sources: ``(N,)`` number of the source.

    Returns:
        Mean over the classes that have four films and two sources in the batch; 0 without any.
    """
    found = []
    for label in torch.unique(classes):
        mine = classes == label
        if int(mine.sum()) < _FEWEST or len(torch.unique(sources[mine])) < 2:
            continue
        points = features[mine].float()
        # The other modes of cdist lose small distances.
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        apart = (sources[mine][:, None] != sources[mine][None, :]).to(distances)
        a, b = _centre(distances), _centre(apart)
        norm = ((a * a).sum() * (b * b).sum()).sqrt()
        if norm > 0:
            found.append((a * b).sum() / norm)
    return torch.stack(found).mean() if found else features.new_zeros(())


def _centre(distances: Tensor) -> Tensor:
    """Return the U-centred distances; the diagonal is 0."""
    n = len(distances)
    rows = distances.sum(dim=1) / (n - 2)
    total = distances.sum() / ((n - 1) * (n - 2))
    centred = distances - rows[:, None] - rows[None, :] + total
    return centred * (1 - torch.eye(n, device=distances.device, dtype=distances.dtype))
