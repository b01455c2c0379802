"""Parameters of every mask method, and what is executed where they leave it open."""

from dataclasses import dataclass
from typing import Literal

from covid_debug.errors import InputContractError
from covid_debug.perturbation.upsampling import GridSize, as_grid
from covid_debug.ranges import check_choices, check_range
from covid_debug.saliency.ranking import Ranking

Quadrature = Literal["riemann", "rotating", "end"]
Smoothness = Literal["plain", "bilateral", "both"]
NoiseRule = Literal["fixed", "survive"]
NoisePlace = Literal["perturbed", "film"]
SearchObjective = Literal["path", "mask"]
TermOrder = Literal["joint", "alternating"]
OptimizerName = Literal["line_search", "adam", "fixed", "even_adam"]
MaskForm = Literal["clamped", "sigmoid"]


@dataclass(frozen=True)
class MaskSearchParams:
    """Parameters of every mask method; the leaves override defaults.

    Attributes:
        grid_size: Cells of the mask in both directions, or rows and columns; the image size for a
            pixel mask.
        n_iterations: Steps of the optimiser.
        n_steps: Points of the integrated gradient's path.
        quadrature: ``"riemann"``: ``s/S`` for s = 1..S (published); ``"rotating"``: one point in
            each of S equal parts, moved on by the golden ratio in every iteration, so that few
            points an iteration cover the whole path over a few iterations; ``"end"``: the mask
            itself, the ordinary gradient.
        term_order: ``"joint"``: every iteration takes all terms (published); ``"alternating"``:
            the terms of single masks and those of their product in turn, at twice the weight.
            Methods with terms of one kind only are not affected.
        optimizer: ``"line_search"`` (published), ``"adam"``, ``"even_adam"`` (Adam with one scale
            for all cells of a mask, so that their moves keep their proportions) or ``"fixed"``
            (one constant step, the published ablation).
        step_size: Step of Adam and of the fixed rule; None: for Adam 0.3 for a pixel mask and 0.1
            for any other, 1 for a fixed step.
        mask_form: ``"clamped"``: cells are moved themselves and cut to [0, 1] (published), so that
            many end at exactly 1; ``"sigmoid"``: each is the sigmoid of a number that is moved, so
            that no two cells with different gradients become equal.
        n_start: For ``"sigmoid"``: points of the integrated gradient at the mask of ones from which
            the search starts; 0 starts from equal cells.
        area_weight: ``l1`` of the search; None: 10 for a pixel mask, 1 for any other (published).
            The area of a ``"sigmoid"`` mask is chosen at 1 whatever it is.
        tv_weight: ``l2``.
        tv_power: Exponent ``b`` of the mask differences.
        smoothness: Plain TV of the grid, bilateral TV of the upsampled mask, or their mean.
        edge_sigma: Edge scale of the bilateral term, squared intensity units.
        noise_std: Standard deviation of the noise added at each path point, in [0, 1]
            intensities; 0.045 is the published 0.2 of ImageNet-normalised images.
        noise_on: What it is added to: the ``"perturbed"`` image (iGOS++), or the ``"film"`` before
            it is perturbed (I-GOS), where it vanishes with what the mask removes.
        noise_rule: ``"fixed"`` uses ``noise_std`` (published); ``"survive"`` halves it per image,
            down to none, until noise moves neither the film's nor the baseline's score by more
            than a tenth of their gap.
        ranking: What ranks the cells of the map: ``"mask"`` (published), ``"mask_then_gradient"``
            or ``"gradient"``; see :func:`covid_debug.saliency.ranking.rank_cells`. Mask and
            gradient are results of their own whatever is chosen here.
        search_objective: Line search: measure the decrease over the path (iGOS++) or at the mask
            itself (I-GOS).
    """

    grid_size: GridSize = 28
    n_iterations: int = 50
    n_steps: int = 1
    quadrature: Quadrature = "rotating"
    term_order: TermOrder = "alternating"
    optimizer: OptimizerName = "adam"
    step_size: float | None = None
    area_weight: float | None = None
    tv_weight: float = 20.0
    tv_power: float = 2.0
    smoothness: Smoothness = "bilateral"
    edge_sigma: float = 5e-4
    noise_std: float = 0.045
    noise_on: NoisePlace = "perturbed"
    noise_rule: NoiseRule = "survive"
    ranking: Ranking = "mask"
    search_objective: SearchObjective = "path"
    mask_form: MaskForm = "clamped"
    n_start: int = 0

    def __post_init__(self) -> None:
        """Check the choices and the ranges.

        Raises:
            InputContractError: If a number is out of range or a choice is unknown.
        """
        check_choices(self)
        as_grid(self.grid_size)
        check_range(self, "[1, inf)", "grid_size", "n_iterations", "n_steps")
        check_range(self, "(0, inf)", "step_size", "edge_sigma", "tv_power")
        check_range(self, "[0, inf)", "tv_weight", "noise_std", "area_weight", "n_start")
        if self.mask_form == "clamped" and self.n_start:
            raise InputContractError(
                f"{type(self).__name__}: n_start is {self.n_start}, but only mask_form 'sigmoid'"
                " starts from a gradient; choose it or n_start 0"
            )
        if self.mask_form == "sigmoid" and self.optimizer == "line_search":
            raise InputContractError(
                f"{type(self).__name__}: the line search moves clamped masks only; choose mask_form"
                " 'clamped' or another optimizer"
            )
        if self.search_objective == "mask" and self.quadrature == "rotating":
            raise InputContractError(
                f"{type(self).__name__}: search_objective 'mask' needs a path that ends at the"
                " mask; choose quadrature 'riemann' or 'end'"
            )


def resolve_step_size(params: MaskSearchParams, *, is_pixel_mask: bool) -> float:
    """Return the step that is executed where the parameters leave it open."""
    if params.step_size is not None:
        return params.step_size
    if params.optimizer == "adam":
        return 0.3 if is_pixel_mask else 0.1
    return 1.0
