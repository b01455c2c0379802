"""Score-CAM: one layer's maps, weighted by the score of the film that each of them lets through."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from covid_debug.perturbation.compose import compose
from covid_debug.saliency.base import ImageGroup, Source
from covid_debug.saliency.feature_maps import Features
from covid_debug.saliency.grad_cam import LAYOUT, LayerMaps, enlarge


class ScoreCAM(LayerMaps):
    """Activations of one layer, each weighted by how much of the score it lets through as a mask.

    A channel's map, upsampled and scaled to [0, 1], is a keep mask ``H``; its weight is
    ``f(Phi(I, B, H)) - f(B)``. No gradient is needed, but one evaluation for each channel: 512 for
    ResNet18, 1,024 for DenseNet121, 2,048 for ResNet50. Where no channel lets more through than
    the baseline, the map is constant and says that it is void.
    """

    name: ClassVar[str] = "score_cam"
    source: ClassVar[Source] = Source(
        "wang2020scorecam",
        "channel-wise increase of confidence, positive map",
        "hidden pixels show the baseline instead of the gray that the normalisation makes 0; the"
        " increases are the weights themselves: a softmax over the channels, as in the paper's"
        " Algorithm 1, would cancel the baseline and depend on the unit of the scores; a constant"
        f" map has weight 0; {LAYOUT}",
    )
    uses_baseline: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False

    def _weigh(self, features: Features, group: ImageGroup) -> Float[Tensor, "N C"]:
        score, images, maps = group.score, group.images, features.maps
        n_channels = maps.shape[1]
        cells = maps.flatten(0, 1)[:, None]
        image_of = group.index.repeat_interleave(n_channels)
        scores = []
        n = score.max_batch  # the score may halve its own on the way
        for start in range(0, len(cells), n):
            part = slice(start, start + n)
            rows = image_of[part]
            masks = enlarge(cells[part], images)
            low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
            keep = (masks - low) / torch.where(high > low, high - low, torch.inf)
            scores.append(score(compose(images[rows], group.baseline[rows], keep), rows))
        kept: Tensor = torch.cat(scores).view(-1, n_channels)
        return kept - group.on_baseline[:, None]
