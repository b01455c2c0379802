"""Deletion and insertion scores of saliency maps under a named protocol.

Owns ranking, curves and areas; where the maps come from and how scores are averaged over films is
not known here.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.models.scoring import OutputScale, TargetScore
from covid_debug.perturbation.baselines import BaselineSpec, make_baseline
from covid_debug.perturbation.compose import compose
from covid_debug.perturbation.upsampling import GridUpsampler
from covid_debug.ranges import check_choices, check_range
from covid_debug.shapes import Images, Saliency

Direction = Literal["lower_is_better", "higher_is_better"]
_DELETION_DIRECTION: Direction = "lower_is_better"
_INSERTION_DIRECTION: Direction = "higher_is_better"
Resolution = Literal["image", "grid"]
Ties = Literal["expected", "raster"]

_LEVELS = 2**19
"""Values of a projected map that are told apart: the projection's rounding must not order ties."""
_ROUNDING = 2.0**-21
"""Of a map's largest value: smaller differences are the projection's own, single precision."""


@dataclass(frozen=True, slots=True)
class PerturbationProtocol:
    """Everything that two scores must share to stand in one table.

    Attributes:
        n_steps: Equal fractions in which units are removed or inserted; the curve has one point
            more.
        deletion_baseline: What replaces removed units.
        insertion_baseline: What the insertion starts from.
        scale: What is read from the model.
        resolution: Rank and perturb single pixels (``"image"``), or the nodes of a grid that is
            upsampled bilinearly (``"grid"``).
        grid_size: Cells in both directions, for ``"grid"``.
        ties: How units of equal saliency are ordered. ``"expected"``: the score is the mean over
            random orders of them; ``"raster"``: by rows, top first, which favours whatever lies
            at the top of a film.
        n_order_pairs: For ``"expected"``: random orders, the same for every film; each is taken
            forwards and backwards. A model that adds its units has the exact expected area from
            one pair where a fraction is one unit, and nearly so (within a fraction) where it is
            several; for any other model the mean over the pairs estimates it.
    """

    n_steps: int = 50
    deletion_baseline: BaselineSpec = field(default_factory=BaselineSpec)
    insertion_baseline: BaselineSpec = field(default_factory=BaselineSpec)
    scale: OutputScale = "probability"
    resolution: Resolution = "grid"
    grid_size: int = 28
    ties: Ties = "expected"
    n_order_pairs: int = 2

    def __post_init__(self) -> None:
        """Check the fields."""
        check_choices(self, "evaluation.deletion_insertion")
        check_range(
            self,
            "[1, inf)",
            "n_steps",
            "grid_size",
            "n_order_pairs",
            where="evaluation.deletion_insertion",
        )


@dataclass(frozen=True, slots=True)
class DeletionInsertion:
    """Curves and their areas.

    Attributes:
        deletion_curve: Target score while the most salient units are replaced by the baseline.
        insertion_curve: Target score while the most salient units are revealed on the baseline.
        perturbed_fraction: True share of units perturbed at each point, from 0 to 1.
        deletion_score: Area under the deletion curve, lower is better.
        insertion_score: Area under the insertion curve, higher is better.
        is_scored: False where the map or a score was not finite; such films carry NaN.
        protocol: How this was measured.
    """

    deletion_curve: Float[Tensor, "N T"]
    insertion_curve: Float[Tensor, "N T"]
    perturbed_fraction: Float[Tensor, " T"]
    deletion_score: Float[Tensor, " N"]
    insertion_score: Float[Tensor, " N"]
    is_scored: Bool[Tensor, " N"]
    protocol: PerturbationProtocol
    directions: ClassVar[dict[str, Direction]] = {
        "deletion_score": _DELETION_DIRECTION,
        "insertion_score": _INSERTION_DIRECTION,
    }

    @property
    def n_total(self) -> int:
        """Films asked for."""
        return len(self.is_scored)

    @property
    def n_scored(self) -> int:
        """Films with a score."""
        return int(self.is_scored.sum())


def rank_units(saliency: Float[Tensor, "N U"]) -> Float[Tensor, "N U"]:
    """Return each unit's rank, 0 = most salient; ties in raster order, as floats."""
    return _rank(saliency, torch.arange(saliency.shape[1], device=saliency.device))


def average_ranks(saliency: Float[Tensor, "N U"]) -> Float[Tensor, "N U"]:
    """Return each unit's rank, 0 = most salient; tied units share their mean rank."""
    ordered = (-saliency).sort(dim=1).values
    first = torch.searchsorted(ordered, -saliency)
    last = torch.searchsorted(ordered, -saliency, right=True) - 1
    return (first + last).double() / 2


def _rank(values: Tensor, tie_order: Int64[Tensor, " U"]) -> Tensor:
    """Return ranks, most salient first; ties in the order in which ``tie_order`` lists units."""
    order = tie_order[values[:, tie_order].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(values.shape[1], device=values.device, dtype=torch.float64)
    ranks = torch.empty_like(order, dtype=torch.float64)
    return ranks.scatter_(1, order, places.expand_as(ranks))


def _tie_orders(protocol: PerturbationProtocol, n_units: int) -> list[Tensor]:
    if protocol.ties == "raster":
        return [torch.arange(n_units, device="cpu")]
    generator = torch.Generator("cpu").manual_seed(0)
    forwards = [
        torch.randperm(n_units, generator=generator, device="cpu")
        for _ in range(protocol.n_order_pairs)
    ]
    return [order for forward in forwards for order in (forward, forward.flip(0))]


def _cuts_ties(values: Tensor, n_perturbed: Int64[Tensor, " T"]) -> Bool[Tensor, "N T"]:
    """Return where the units before a cut and after it are of equal value at the cut."""
    ordered = values.sort(dim=1, descending=True).values
    inside = (n_perturbed > 0) & (n_perturbed < values.shape[1])
    last = (n_perturbed - 1).clamp(min=0)
    following = n_perturbed.clamp(max=values.shape[1] - 1)
    return inside & (ordered[:, last] == ordered[:, following])


def _round_to_levels(values: Tensor) -> Tensor:
    least, most = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    largest = torch.maximum(-least, most).double()
    step = torch.maximum((most - least).double() / _LEVELS, _ROUNDING * largest)
    return ((values - least) / step.clamp(min=torch.finfo(torch.float64).tiny)).round()


def area_under_curve(
    curve: Float[Tensor, "N T"], perturbed_fraction: Float[Tensor, " T"]
) -> Float[Tensor, " N"]:
    """Return the trapezoid area over the true fractions, both end points included."""
    widths = perturbed_fraction.diff().to(curve.dtype)
    return ((curve[:, 1:] + curve[:, :-1]) / 2 * widths).sum(dim=1)


@torch.no_grad()
def compute_deletion_insertion(
    score: TargetScore, images: Images, saliency: Saliency, protocol: PerturbationProtocol
) -> DeletionInsertion:
    """Measure how fast the score falls when salient units go and rises when they come.

    Units are ranked by saliency, most salient first, and perturbed in ``n_steps`` equal
    fractions. Where a fraction ends among units of equal saliency, the score there is the mean
    over random orders of them (``protocol.ties``). On a grid, the saliency of a node is its
    least-squares value (exact for maps that were upsampled from that grid). For an additive model
    with one baseline, ``deletion_score + insertion_score = f(I) + f(B)`` exactly; for a constant
    model both scores are the constant.

    Args:
        score: Reads the model, on the protocol's scale.
        images: Canonical images.
        saliency: Larger = more evidence.
        protocol: How to perturb.

    Returns:
        Curves and scores per film.

    Raises:
        InputContractError: If the scales differ, shapes differ, or the grid is finer than the
            images.
    """
    if score.scale != protocol.scale:
        raise InputContractError(
            f"evaluation.deletion_insertion: score is on the {score.scale} scale, the protocol on"
            f" {protocol.scale}; build both with the same scale"
        )
    if saliency.shape != images.shape:
        raise InputContractError(
            f"evaluation.deletion_insertion: saliency has shape {tuple(saliency.shape)}; expected"
            f" the images' {tuple(images.shape)}"
        )
    n_images, image_size = len(images), (images.shape[-2], images.shape[-1])
    on_grid = protocol.resolution == "grid"
    units = (protocol.grid_size, protocol.grid_size) if on_grid else image_size
    upsampler = GridUpsampler(units, image_size, images)
    finite = saliency.flatten(1).isfinite().all(dim=1)
    clean = torch.where(finite.view(-1, 1, 1, 1), saliency, torch.zeros_like(saliency))
    values = upsampler.project(clean).flatten(1)
    if on_grid:
        values = _round_to_levels(values)
    n_units = units[0] * units[1]
    steps = torch.arange(protocol.n_steps + 1, device=images.device, dtype=torch.float64)
    n_perturbed = (steps * n_units / protocol.n_steps).round()
    orders = _tie_orders(protocol, n_units)
    ranks = torch.stack([_rank(values, order.to(values.device)) for order in orders])
    is_open = _cuts_ties(values, n_perturbed.long()) & finite[:, None]
    n_orders = torch.where(is_open, len(orders), 1)
    whole = torch.ones_like(is_open)  # the first order at every point, the others where they count
    places = torch.stack([whole, *[is_open] * (len(orders) - 1)]).nonzero()
    deletion_baseline = make_baseline(images, protocol.deletion_baseline)
    insertion_baseline = (
        deletion_baseline
        if protocol.insertion_baseline == protocol.deletion_baseline
        else make_baseline(images, protocol.insertion_baseline)
    )

    def curve(start: Tensor, end: Tensor) -> Tensor:
        """Return scores on the way from ``start`` to ``end``, most salient units first."""
        total = images.new_zeros(n_images, len(n_perturbed))
        for part in torch.split(places, score.max_batch):
            order, image, point = part.T
            is_kept = ranks[order, image] >= n_perturbed[point][:, None]
            keep = is_kept.to(images.dtype).view(-1, 1, *units)
            perturbed = compose(start[image], end[image], upsampler.upsample(keep))
            total.index_put_((image, point), score(perturbed, image), accumulate=True)
        return total / n_orders

    deletion_curve = curve(images, deletion_baseline)
    insertion_curve = curve(insertion_baseline, images)
    finite = finite & deletion_curve.isfinite().all(1) & insertion_curve.isfinite().all(1)
    fraction = (n_perturbed / n_units).to(images.dtype)
    missing = torch.where(finite, 0.0, torch.nan).to(images.dtype)
    return DeletionInsertion(
        deletion_curve=deletion_curve,
        insertion_curve=insertion_curve,
        perturbed_fraction=fraction,
        deletion_score=area_under_curve(deletion_curve, fraction) + missing,
        insertion_score=area_under_curve(insertion_curve, fraction) + missing,
        is_scored=finite,
        protocol=protocol,
    )
