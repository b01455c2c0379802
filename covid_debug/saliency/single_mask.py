"""What the methods with one keep mask share: terms from losses, search, upsampling."""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation
from covid_debug.saliency.mask_objective import Term
from covid_debug.saliency.mask_params import MaskSearchParams
from covid_debug.saliency.mask_search import search_masks

Losses = Literal["deletion", "insertion", "both"]
_TERMS: dict[str, tuple[Term, ...]] = {
    "deletion": (Term("deletion", (0,), 1.0),),
    "insertion": (Term("insertion", (0,), 1.0),),
    "both": (Term("deletion", (0,), 1.0), Term("insertion", (0,), 1.0)),
}


@dataclass(frozen=True)
class SingleMaskParams(MaskSearchParams):
    """Parameters of the one-mask methods.

    Attributes:
        losses: Which scores are optimised: the deletion's, the insertion's, or their plain sum.
    """

    losses: Losses = "deletion"


Q = TypeVar("Q", bound=SingleMaskParams)


class SingleMaskExplainer(Explainer[Q], Generic[Q]):
    """Search one keep mask ``M``; saliency is ``1 - M``, upsampled, in [0, 1]."""

    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    repeats_model: ClassVar[bool] = True

    def _explain(self, group: ImageGroup) -> RawExplanation:
        terms = _TERMS[self.params.losses]
        return search_masks(self.params, terms, 1, group).explain(0)
