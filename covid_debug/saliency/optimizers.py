"""How masks move: projected descent with a line search, a fixed step or Adam.

Every rule works per image; one image's steps never depend on another's. What is minimised is the
objective's business.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from covid_debug.saliency.mask_params import OptimizerName

_DECAY, _DECAY_SQUARED, _EPSILON = 0.9, 0.999, 1e-8  # of Adam
# The published line search: a_u, a_l, eta, and b of the sufficient decrease.
_MAX_STEP, _MIN_STEP, _BACKTRACK_FACTOR, _ARMIJO_SLOPE = 1000.0, 1e-5, 0.2, 1e-4


class Adam:
    """Adam (Kingma and Ba, 2015); no image takes part in the steps of another.

    Its step is ``mean / scale``; the caller keeps the scale from 0.
    """

    def __init__(self, cells: Float[Tensor, "N m h w"], *, is_even: bool) -> None:
        """Start without memory.

        Args:
            cells: What will move; says shape and device.
            is_even: One scale for all cells of a mask, so that they keep their proportions.
        """
        self._is_even = is_even
        self._first, self._second = torch.zeros_like(cells), cells.new_zeros(1)
        self._n = 0

    def follow(
        self, gradient: Float[Tensor, "N m h w"]
    ) -> tuple[Float[Tensor, "N m h w"], Float[Tensor, "N m ..."]]:
        """Take a gradient; return the running mean, and the root of that of the squares."""
        self._n += 1
        square = gradient.square()
        if self._is_even:
            square = square.mean(dim=(2, 3), keepdim=True)
        self._first = _DECAY * self._first + (1 - _DECAY) * gradient
        self._second = _DECAY_SQUARED * self._second + (1 - _DECAY_SQUARED) * square
        mean = self._first / (1 - _DECAY**self._n)
        return mean, (self._second / (1 - _DECAY_SQUARED**self._n)).sqrt()


@runtime_checkable
class Objective(Protocol):
    """A per-image function of masks; see ``MaskObjective``."""

    unit: Tensor
    """``(N,)``: how large a change of each image's score counts as 1."""

    def draw(self, generators: Sequence[torch.Generator], noise_std: Tensor) -> None: ...  # noqa: D102
    def value(self, masks: Tensor, rows: Tensor) -> Tensor: ...  # noqa: D102
    def value_and_gradient(self, masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102


def minimise(
    objective: Objective,
    masks: Float[Tensor, "N m h w"],
    generators: Sequence[torch.Generator],
    noise_std: Float[Tensor, " N"],
    *,
    rule: OptimizerName,
    n_iterations: int,
    step_size: float,
    is_sigmoid: bool = False,
) -> tuple[Float[Tensor, "N m h w"], Float[Tensor, "N m h w"], dict[str, Tensor]]:
    """Minimise the objective over masks in [0, 1], each image on its own.

    Fresh noise is drawn once per iteration, so that both sides of a line search's comparison see
    the same draws.

    Args:
        objective: What to minimise.
        masks: Where to start; under ``is_sigmoid`` the numbers whose sigmoids are the masks.
        generators: One per image.
        noise_std: Noise size per image.
        rule: How the masks move.
        n_iterations: How many steps.
        step_size: Step of Adam and of the fixed rule; the line search finds its own.
        is_sigmoid: Move numbers whose sigmoids are the masks, instead of masks cut to [0, 1]; not
            for the line search.

    Returns:
        The last masks (or numbers), the mean of the gradients by masks on the way, and diagnostics:
        ``loss (N, n_iterations)`` before each step and ``n_line_search (N,)``, the trial points
        of the line search.
    """
    rows = torch.arange(len(masks), device=masks.device)
    cells = masks.clone()
    adam = Adam(masks, is_even=rule == "even_adam")
    gradients = torch.zeros_like(masks)
    n_trials = torch.zeros_like(rows)
    losses = []
    for _ in range(n_iterations):
        objective.draw(generators, noise_std)
        masks = cells.sigmoid() if is_sigmoid else cells
        loss, gradient = objective.value_and_gradient(masks, rows)
        gradients += gradient
        losses.append(loss)
        if is_sigmoid:
            gradient = gradient * masks * (1 - masks)
        if rule == "line_search":
            cells, trials = _line_search_step(objective, masks, rows, loss, gradient)
            n_trials = n_trials + trials
        elif rule == "fixed":
            cells = cells - step_size * gradient
        else:
            mean, scale = adam.follow(gradient)
            least = _EPSILON * objective.unit[rows].view(-1, 1, 1, 1)
            cells = cells - step_size * mean / (scale + least)
        if not is_sigmoid:
            cells = cells.clamp(0, 1)
    trace = {"loss": torch.stack(losses, dim=1), "n_line_search": n_trials}
    return cells, gradients / n_iterations, trace


def _line_search_step(
    objective: Objective,
    masks: Tensor,
    rows: Int64[Tensor, " N"],
    loss: Tensor,
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return masks after one projected step per image, and the number of trials.

    Each image backtracks until the revised Armijo condition holds:
    ``J(clip(V - a*TG)) - J(V) <= -a * b * <TG, TG>``; as published, the step is taken also where
    the search gave up at ``a < a_l``.
    """
    step = torch.full_like(loss, _MAX_STEP)
    norm = gradient.flatten(1).square().sum(dim=1)
    trials = torch.zeros_like(rows)
    moved = masks.clone()
    pending = rows
    while len(pending):
        trial = masks[pending] - step[pending].view(-1, 1, 1, 1) * gradient[pending]
        trial = trial.clamp(0, 1)
        moved[pending] = trial
        decrease = objective.value(trial, pending) - loss[pending]
        trials[pending] += 1
        enough = decrease <= -step[pending] * _ARMIJO_SLOPE * norm[pending]
        pending = pending[~(enough | (step[pending] < _MIN_STEP))]
        step[pending] *= _BACKTRACK_FACTOR
    return moved, trials
