"""Films of the coming batches, read by a thread while the network works."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from covid_debug.training.checks import Labels, Views

_N_PREFETCHED = 2


def prefetch(views: Views, batches: Iterable[Labels]) -> Iterator[tuple[Labels, Tensor]]:
    """Yield film indices and their planes while a thread reads the next ones."""

    def read(films: Labels) -> tuple[Labels, Tensor]:
        return films, torch.from_numpy(np.asarray(views[films]))

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[tuple[Labels, Tensor]]] = deque()
        for films in batches:
            waiting.append(pool.submit(read, films))
            if len(waiting) > _N_PREFETCHED:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
