"""One classifier asked by several threads at once.

Owns the copies. On a processor two threads with one core each answer sooner than one call on two
cores, whose halves wait for one another after every layer.
"""

import copy
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.models.classifier import Classifier
from covid_debug.models.fast_copy import is_known
from covid_debug.models.inference import predict_probabilities


class ParallelPredictor:
    """Predicts for several threads; a result depends on neither their number nor their order.

    Networks of torch's, torchvision's and this package's modules are copied, one for each thread; a
    network of somebody else may keep what it saw in itself, so its threads wait for one another.
    """

    def __init__(self, classifier: Classifier, n_threads: int, *, max_batch: int = 64) -> None:
        """Copy the classifier as often as needed.

        Args:
            classifier: Left as it is; the copies do not follow later changes.
            n_threads: Threads that will ask.
            max_batch: Most images in one model call.
        """
        may_copy = all(map(is_known, classifier.modules()))
        self._free: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        self._max_batch = max_batch
        for i in range(n_threads):
            self._free.put(copy.deepcopy(classifier) if may_copy and i else classifier)

    def __call__(self, views: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return ``(N, K)`` probabilities of ``(N, S, S)`` views."""
        classifier = self._free.get()
        try:
            return predict_probabilities(classifier, views, max_batch=self._max_batch)
        finally:
            self._free.put(classifier)


@contextmanager
def single_core_threads(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Open threads in which torch uses one core each; what is not begun at the end is dropped."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
