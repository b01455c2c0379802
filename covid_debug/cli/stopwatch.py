"""Wall time and peak memory of this process and its children."""

import resource
import time


class Stopwatch:
    """Starts counting when it is made."""

    def __init__(self) -> None:
        """Start."""
        self._start = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def peak_memory_gb(self) -> float:
        """Largest resident memory of this process or of any single child so far, in GB."""
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return max(own, child) * 1024 / 1e9
