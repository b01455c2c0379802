"""Films of the coming batches, read by a thread while the network works."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from covid_debug.training.checks import Labels

_N_PREFETCHED = 2


def prefetch(
    read: Callable[[Labels], Tensor], batches: Iterable[Labels]
) -> Iterator[tuple[Labels, Tensor]]:
    """Yield film indices and what is read of them while a thread reads the next ones.

    Args:
        read: Called in the order of the batches.
        batches: Film indices.

    Yields:
        The indices and what was read.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[Labels, Future[Tensor]]] = deque()
        for films in batches:
            waiting.append((films, pool.submit(read, films)))
            if len(waiting) > _N_PREFETCHED:
                first, planes = waiting.popleft()
                yield first, planes.result()
        while waiting:
            first, planes = waiting.popleft()
            yield first, planes.result()
