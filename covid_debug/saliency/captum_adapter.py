"""What Captum's methods share under the explainer contract: parameters, sign, quiet.

Batching of evaluations follows ``max_batch``; Captum's own defaults are never relied on. The
methods themselves are in ``captum_gradients``, ``captum_occlusion`` and ``captum_layers``.
"""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar, get_type_hints

import torch
from torch import Tensor

from covid_debug.models.scoring import TargetScore
from covid_debug.ranges import check_choices, check_range, list_kinds
from covid_debug.saliency.base import Explainer, ImageGroup, RawExplanation

Sign = Literal["signed", "positive", "absolute"]


@dataclass(frozen=True)
class AttributionParams:
    """What every signed attribution needs.

    Attributes:
        sign: How the signed map becomes saliency: as it is (negative = evidence against), its
            positive part, or its absolute value. ``diagnostics["signed"]`` always keeps it.
    """

    sign: Sign = "absolute"

    def __post_init__(self) -> None:
        """Check the choices, and that every number is above 0."""
        check_choices(self)
        hints = get_type_hints(type(self))
        numbers = [name for name, hint in hints.items() if {int, float} & list_kinds(hint)]
        check_range(self, "(0, inf)", *numbers)


@dataclass(frozen=True)
class ContributionParams(AttributionParams):
    """Attributions whose sign says for or against the target."""

    sign: Sign = "signed"


Q = TypeVar("Q", bound=AttributionParams)


class CaptumExplainer(Explainer[Q], Generic[Q]):
    """A signed attribution by Captum; the leaf computes it, this class applies the sign."""

    needs_gradient: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    uses_baseline: ClassVar[bool] = False

    @abstractmethod
    def _attribute(self, group: ImageGroup) -> Tensor:
        """Return the signed map ``(N, 1, H, W)``."""

    def _explain(self, group: ImageGroup) -> RawExplanation:
        with torch.set_grad_enabled(self.needs_gradient), _quiet():
            signed = self._attribute(group)
        return self._show(signed, group)

    def _show(self, signed: Tensor, group: ImageGroup) -> RawExplanation:
        signed = signed.detach().to(group.images.dtype)
        saliency = {
            "signed": signed,
            "positive": signed.clamp(min=0),
            "absolute": signed.abs(),
        }[self.params.sign]
        return RawExplanation(saliency.clone(), None, {"signed": signed})


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Captum's notes about hooks and gradients that this module sets on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def score_of(score: TargetScore, index: int) -> Callable[[Tensor], Tensor]:
    """Return the score as a function of perturbed copies of one image."""
    return lambda perturbed: score(
        perturbed, torch.full((len(perturbed),), index, device=perturbed.device)
    )
