"""I-GOS: one deletion mask, moved along integrated gradients."""

from dataclasses import dataclass
from typing import ClassVar

from covid_debug.saliency.base import Source
from covid_debug.saliency.mask_params import NoisePlace, Smoothness
from covid_debug.saliency.mask_search import SHARED_DEVIATIONS
from covid_debug.saliency.single_mask import SingleMaskExplainer, SingleMaskParams


@dataclass(frozen=True)
class IGOSParams(SingleMaskParams):
    """Parameters of I-GOS, with the paper's plain total variation and noise on the film."""

    smoothness: Smoothness = "plain"
    noise_on: NoisePlace = "film"


class IGOS(SingleMaskExplainer[IGOSParams]):
    """Find a small smooth region whose removal loses the class.

    Minimises ``f(Phi(I, B, M)) + l1 * mean|1 - M| + l2 * TV(M)`` with integrated gradients.
    """

    name: ClassVar[str] = "igos"
    source: ClassVar[Source] = Source(
        paper="qi2020igos",
        equations="objective (2), integrated gradient (4), total gradient (6), revised Armijo (8)",
        deviations="Default: Adam on one rotating path point, fifty iterations, noise only as large"
        f" as the scores survive. Preset igos_published is the paper's search. {SHARED_DEVIATIONS}",
    )
    params: IGOSParams
