"""I-GOS: one deletion mask, moved along integrated gradients."""

from dataclasses import dataclass
from typing import ClassVar

from covid_debug.saliency.base import Source
from covid_debug.saliency.mask_params import Smoothness
from covid_debug.saliency.single_mask import SingleMaskExplainer, SingleMaskParams


@dataclass(frozen=True)
class IGOSParams(SingleMaskParams):
    """Parameters of I-GOS, with the paper's plain total variation."""

    smoothness: Smoothness = "plain"


class IGOS(SingleMaskExplainer[IGOSParams]):
    """Find a small smooth region whose removal loses the class.

    Minimises ``f(Phi(I, B, M)) + l1 * mean|1 - M| + l2 * TV(M)`` with integrated gradients.
    """

    name: ClassVar[str] = "igos"
    source: ClassVar[Source] = Source(
        paper="qi2020igos",
        equations="objective (2), integrated gradient (4), total gradient (6), revised Armijo (8)",
        deviations="default optimiser is Adam on one rotating path point; preset igos_published is"
        " the paper's",
    )
    params: IGOSParams
