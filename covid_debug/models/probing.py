"""Does a network return logits? Evidence from its graph and from extreme images.

Owns the probe images and the rules; what happens with a network that is found out is the
classifier's business.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import Node

_SQUASHING = {"Sigmoid": "sigmoid", "Softmax": "softmax", "Hardsigmoid": "hard sigmoid"}
_RANGE_KEEPING = {
    "Alias", "AsStrided", "Cat", "Clamp", "Clone", "Expand", "Gather", "Index", "IndexSelect",
    "Mean", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze", "Stack", "T",
    "ToCopy", "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View",
}  # fmt: skip
"""Steps of the graph behind which numbers in [0, 1] stay there (given that the results do)."""
_EXTREMES = (1e3, -1e3, 1e6, -1e6)
_NEAR = 1e-3


def make_probes(height: int, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return two different canonical images, ``(2, 1, height, width)``."""
    ramp = torch.linspace(0, 1, height * width, dtype=dtype, device=device)
    return torch.stack([ramp, ramp.flip(0).square()]).view(2, 1, height, width)


def find_probabilities(
    outputs: Tensor, probes: Tensor, run: Callable[[Tensor], Tensor]
) -> str | None:
    """Say why a network's outputs are probabilities, or None where nothing shows it.

    Outputs must lie in [0, 1], and one of these must hold: they come straight from a sigmoid or a
    softmax; their rows differ and sum to 1; or they stay in [0, 1] and touch both ends on images
    thousands of times as strong. A network without negative logits on the probes alone is not
    accused: an untrained one often has none.

    Args:
        outputs: Of the probes, ``(N, K)``, with their graph where there is one.
        probes: Images that they belong to.
        run: Returns the outputs of further images.

    Returns:
        A clause that continues "the network", or None.
    """
    if not _in_unit_interval(outputs):
        return None
    ending = _find_squashing(outputs.grad_fn)
    if ending is not None:
        return f"ends in a {ending}"
    row_sums = outputs.sum(dim=1)
    is_distribution = bool(torch.isclose(row_sums, torch.ones_like(row_sums)).all())
    if is_distribution and not torch.equal(outputs[0], outputs[1]):
        return "has outputs that sum to 1"
    extremes = run(torch.cat([factor * probes for factor in _EXTREMES]))
    extremes = extremes[extremes.isfinite().all(dim=1)]
    if len(extremes) == 0 or not _in_unit_interval(extremes):
        return None
    if extremes.min() < _NEAR and extremes.max() > 1 - _NEAR:
        return "saturates at 0 and 1"
    return None


def _in_unit_interval(outputs: Tensor) -> bool:
    return bool(((outputs >= 0) & (outputs <= 1)).all())


def _find_squashing(node: Node | None) -> str | None:
    """Return what every path of the graph ends in before anything that can leave [0, 1]."""
    endings: set[str] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        name = re.sub(r"Backward\d*$", "", current.name()) if current is not None else ""
        if name in _SQUASHING:
            endings.add(_SQUASHING[name])
        elif name in _RANGE_KEEPING and current is not None:
            waiting += [parent for parent, _ in current.next_functions if parent is not None]
        else:
            return None
    return " and a ".join(sorted(endings)) or None
