"""iGOS+: one mask for both losses, the naive sum that iGOS++ is compared with."""

from dataclasses import dataclass
from typing import ClassVar

from covid_debug.saliency.base import Source
from covid_debug.saliency.mask_search import SHARED_DEVIATIONS
from covid_debug.saliency.single_mask import Losses, SingleMaskExplainer, SingleMaskParams


@dataclass(frozen=True)
class IGOSPlusParams(SingleMaskParams):
    """Parameters of iGOS+; ``losses="insertion"`` is the insertion-only ablation."""

    losses: Losses = "both"


class IGOSPlus(SingleMaskExplainer[IGOSPlusParams]):
    """Find a small smooth region whose removal loses the class and whose retention keeps it.

    Minimises ``f(Phi(I, B, M)) - f(Phi(I, B, 1 - M)) + g(M)`` over one mask, with integrated
    gradients and bilateral total variation.
    """

    name: ClassVar[str] = "igos_plus"
    source: ClassVar[Source] = Source(
        paper="khorram2021igospp",
        equations="the naive extension of section 3.2: an insertion loss added to I-GOS",
        deviations="Default: Adam on one rotating path point, fifty iterations, bilateral total"
        " variation alone, noise only as large as the scores survive. Preset igos_plus_published"
        " has the search of igos_pp_published; losses='insertion' is the insertion-only row."
        f" {SHARED_DEVIATIONS}",
    )
    params: IGOSPlusParams
