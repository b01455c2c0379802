"""Tracing of a network by torch.fx that other threads do not notice.

Owns nothing of what is done with the graph.
"""

import threading
from collections.abc import Callable
from typing import Any

from torch import fx, nn

_LOCK = threading.Lock()
"""``torch.fx`` replaces ``Module.__call__`` for everybody while it traces: one at a time."""


class _OwnThreadTracer(fx.Tracer):
    """Records the calls of the thread that made it; those of other threads run as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._owner = threading.get_ident()

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        if threading.get_ident() != self._owner:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:  # noqa: ANN401
        if threading.get_ident() != self._owner:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(network: nn.Module) -> fx.GraphModule:
    """Return what ``torch.fx.symbolic_trace`` returns, while other threads may run networks.

    Args:
        network: Left as it is; its parts are shared with the result.

    Raises:
        Exception: Whatever the network's own code raises when it gets no numbers.
    """
    tracer = _OwnThreadTracer()
    with _LOCK:
        graph = tracer.trace(network)
    return fx.GraphModule(tracer.root, graph, type(network).__name__)
