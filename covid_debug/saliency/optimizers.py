"""How masks move: projected descent with a line search, a fixed step, Nesterov or Adam.

Every rule works per image; one image's steps never depend on another's. What is minimised is the
objective's business.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

OptimizerName = Literal["line_search", "adam", "fixed", "nesterov"]
_ADAM_DECAY, _ADAM_DECAY_SQUARED, _ADAM_EPSILON = 0.9, 0.999, 1e-8
_MOMENTUM = 0.9


@runtime_checkable
class SearchParams(Protocol):
    """The parameters that an optimiser reads; see ``MaskSearchParams``."""

    @property
    def n_iterations(self) -> int: ...  # noqa: D102
    @property
    def optimizer(self) -> OptimizerName: ...  # noqa: D102
    @property
    def step_size(self) -> float | None: ...  # noqa: D102
    @property
    def max_step(self) -> float: ...  # noqa: D102
    @property
    def min_step(self) -> float: ...  # noqa: D102
    @property
    def backtrack_factor(self) -> float: ...  # noqa: D102
    @property
    def armijo_slope(self) -> float: ...  # noqa: D102


@runtime_checkable
class Objective(Protocol):
    """A per-image function of masks; see ``MaskObjective``."""

    def draw(self, generators: Sequence[torch.Generator], noise_std: Tensor) -> None: ...  # noqa: D102
    def value(self, masks: Tensor, rows: Tensor) -> Tensor: ...  # noqa: D102
    def value_and_gradient(self, masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102


def minimise(
    objective: Objective,
    masks: Float[Tensor, "N m h w"],
    generators: Sequence[torch.Generator],
    noise_std: Float[Tensor, " N"],
    params: SearchParams,
) -> tuple[Float[Tensor, "N m h w"], Float[Tensor, "N m h w"], dict[str, Tensor]]:
    """Minimise the objective over masks in [0, 1], each image on its own.

    Fresh noise is drawn once per iteration, so that both sides of a line search's comparison see
    the same draws.

    Args:
        objective: What to minimise.
        masks: Where to start.
        generators: One per image.
        noise_std: Noise size per image.
        params: Which rule, how many steps, and the rule's constants.

    Returns:
        The last masks, the mean of the gradients on the way, and diagnostics:
        ``loss (N, n_iterations)`` before each step and ``n_line_search (N,)``, the trial points
        of the line search.
    """
    rows = torch.arange(len(masks), device=masks.device)
    step_size = 1.0 if params.step_size is None else params.step_size
    masks = masks.clone()
    first, second = torch.zeros_like(masks), torch.zeros_like(masks)
    gradients = torch.zeros_like(masks)
    n_trials = torch.zeros_like(rows)
    losses = []
    for iteration in range(1, params.n_iterations + 1):
        objective.draw(generators, noise_std)
        if params.optimizer == "nesterov":
            ahead = (masks + _MOMENTUM * first).clamp(0, 1)
            loss, gradient = objective.value_and_gradient(ahead, rows)
            first = (ahead - step_size * gradient).clamp(0, 1) - masks
            masks = masks + first
        else:
            loss, gradient = objective.value_and_gradient(masks, rows)
        gradients += gradient
        if params.optimizer == "line_search":
            masks, trials = _line_search_step(objective, masks, rows, loss, gradient, params)
            n_trials = n_trials + trials
        elif params.optimizer == "fixed":
            masks = (masks - step_size * gradient).clamp(0, 1)
        elif params.optimizer == "adam":
            first = _ADAM_DECAY * first + (1 - _ADAM_DECAY) * gradient
            second = _ADAM_DECAY_SQUARED * second + (1 - _ADAM_DECAY_SQUARED) * gradient**2
            mean = first / (1 - _ADAM_DECAY**iteration)
            spread = (second / (1 - _ADAM_DECAY_SQUARED**iteration)).sqrt()
            masks = (masks - step_size * mean / (spread + _ADAM_EPSILON)).clamp(0, 1)
        losses.append(loss)
    trace = {"loss": torch.stack(losses, dim=1), "n_line_search": n_trials}
    return masks, gradients / params.n_iterations, trace


def _line_search_step(
    objective: Objective,
    masks: Tensor,
    rows: Int64[Tensor, " N"],
    loss: Tensor,
    gradient: Tensor,
    params: SearchParams,
) -> tuple[Tensor, Tensor]:
    """Return masks after one projected step per image, and the number of trials.

    Each image backtracks until the revised Armijo condition holds:
    ``J(clip(V - a*TG)) - J(V) <= -a * b * <TG, TG>``; as published, the step is taken also where
    the search gave up at ``a < a_l``.
    """
    step = loss.new_full((len(rows),), params.max_step)
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
        enough = decrease <= -step[pending] * params.armijo_slope * norm[pending]
        pending = pending[~(enough | (step[pending] < params.min_step))]
        step[pending] *= params.backtrack_factor
    return moved, trials
