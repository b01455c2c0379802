"""iGOS++: separate deletion and insertion masks, tied by their product.

Owns the method's terms and result; objective and optimisers are shared with its relatives.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation, Source
from covid_debug.saliency.mask_objective import Term
from covid_debug.saliency.mask_params import MaskForm, MaskSearchParams, OptimizerName, Smoothness
from covid_debug.saliency.mask_search import SHARED_DEVIATIONS, search_masks

Result = Literal["product", "deletion_mask", "insertion_mask"]


@dataclass(frozen=True)
class IGOSPPParams(MaskSearchParams):
    """Parameters of iGOS++; the defaults are the fast configuration, 56 evaluations a map.

    Attributes:
        result: Which keep mask is returned: the product (published), or one mask alone
            (ablation).
    """

    result: Result = "product"
    n_iterations: int = 20
    optimizer: OptimizerName = "even_adam"
    step_size: float | None = 0.2
    mask_form: MaskForm = "sigmoid"
    n_start: int = 8
    tv_weight: float = 2.0
    smoothness: Smoothness = "both"
    noise_std: float = 0.0


class IGOSPP(Explainer[IGOSPPParams]):
    """Find a small smooth region whose removal loses the class and whose retention keeps it.

    Minimises over keep masks ``Mx`` (deletion) and ``My`` (insertion), with ``Mxy = Mx * My``::

        [f(Phi(Mx)) - f(Phi(1 - My)) + f(Phi(Mxy)) - f(Phi(1 - Mxy))] / 2 + g(Mxy)

    with integrated gradients for the four scores. Saliency is ``1 - Mxy``, upsampled; by default
    ``Mxy`` is drawn anew in the order of its cells, with the area that minimises the objective.
    """

    name: ClassVar[str] = "igos_pp"
    source: ClassVar[Source] = Source(
        paper="khorram2021igospp",
        equations="objective (4), integrated gradients of deletion and insertion, bilateral TV,"
        " line search over the path intervals",
        deviations="Default: 56 evaluations. Each mask is a sigmoid, which starts from the"
        " integrated gradient of the objective at masks of ones (eight points) and is moved"
        " twenty times by Adam with one scale for all cells of a mask, on one rotating path"
        " point, with the terms of single masks and of their product in turn at twice the weight;"
        " l2 is 2 instead of 20; no noise. The result has the cells in the order of the product of"
        " both masks, and of the areas .02, .05 and .12 and none the one that minimises the product"
        " terms plus the price of the area. Preset"
        " igos_pp_published is the paper's search"
        " with the mean of plain and bilateral total variation (supplement C). The four scores are"
        " halved, as in the authors' total gradient. The line search compares means over the path"
        " instead of sums, takes the price at the mask instead of along the path, and has the same"
        f" noise draws on both sides. {SHARED_DEVIATIONS}",
    )
    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    repeats_model: ClassVar[bool] = True
    params: IGOSPPParams

    terms: ClassVar[tuple[Term, ...]] = (
        Term("deletion", (0,), 0.5),
        Term("insertion", (1,), 0.5),
        Term("deletion", (0, 1), 0.5),
        Term("insertion", (0, 1), 0.5),
    )

    def _explain(self, group: ImageGroup) -> RawExplanation:
        found = search_masks(self.params, self.terms, 2, group)
        picked = {"product": (0, 1), "deletion_mask": (0,), "insertion_mask": (1,)}
        return found.explain(*picked[self.params.result])
