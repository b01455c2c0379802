"""How a linear layer hands its relevance to its inputs.

Owns the rules of layer-wise relevance propagation. A rule returns a *stand-in* of the layer's
outputs whose gradient, times an input, is that input's relevance: ``R_j = a_j dt/da_j``
[montavon2019]. What the layers are, and in which order, is nobody's business here.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes the sums of an output's positive and of its negative contributions, and the output."""
GAMMA = 0.25
"""How much more contributions of the output's sign count in the gamma rule [montavon2019]."""
ALPHA = 2.0
"""Weight of the positive contributions in the alpha-beta rule; beta is ``ALPHA - 1``."""


def share(by: Tensor, output: Tensor) -> Tensor:
    """Share an output in proportion to the parts that ``by`` is the sum of.

    Args:
        by: A sum of contributions; its graph is kept.
        output: What is shared, of the same shape; where ``by`` is 0, it is lost.

    Returns:
        The stand-in.
    """
    factor = torch.where(by == 0, 0.0, output / torch.where(by == 0, 1.0, by))
    return by * factor.detach()


def stand_in(rule: Tensor, output: Tensor) -> Tensor:
    """Return the output with the derivative of the rule."""
    return rule + (output - rule).detach()


def epsilon(positive: Tensor, negative: Tensor, output: Tensor) -> Tensor:  # noqa: ARG001
    """Let every contribution count, negative ones against [bach2015, (58), epsilon to 0]."""
    return positive + negative


def plus(positive: Tensor, negative: Tensor, output: Tensor) -> Tensor:
    """Let positive contributions count, or the negative ones where there is no other [bach2015]."""
    return share(torch.where(positive > 0, positive, negative), output)


def alpha_beta(positive: Tensor, negative: Tensor, output: Tensor) -> Tensor:
    """Give ``ALPHA`` to positive contributions, take the rest from negative ones [bach2015, (60)].

    Args:
        positive: Sum.
        negative: Sum.
        output: What is shared.

    Returns:
        The stand-in; where contributions are of one sign, they share all, so nothing is lost.
    """
    alpha = torch.where(negative == 0, 1.0, torch.where(positive == 0, 0.0, ALPHA))
    return alpha * share(positive, output) + (1 - alpha) * share(negative, output)


def gamma(positive: Tensor, negative: Tensor, output: Tensor) -> Tensor:
    """Count contributions of the output's own sign ``1 + GAMMA`` times [andeol2021]."""
    by = positive + negative + GAMMA * torch.where(output >= 0, positive, negative)
    return share(by, output)


def excitation(positive: Tensor, negative: Tensor, output: Tensor) -> Tensor:
    """Count contributions of the output's own sign by their shares [zhang2018excitation, (2)]."""
    return share(torch.where(output >= 0, positive, negative), output)
