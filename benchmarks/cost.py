"""What work costs: seconds, processor seconds, and the most memory above that at the start."""

import threading
import time

import psutil
import torch

MEGABYTE = 2**20


class Stopwatch:
    """Seconds by the clock and of the processor, all threads together.

    Attributes:
        seconds: By the clock; a GPU's work is waited for.
        cpu_seconds: Unlike the clock, independent of what else the machine does.
    """

    def __init__(self, device: torch.device) -> None:
        """Prepare; measuring begins on entry.

        Args:
            device: Whose work is waited for.
        """
        self._device = device
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._started, self._cpu_started = self._now(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._now() - self._started
        self.cpu_seconds = time.process_time() - self._cpu_started

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class MemoryPeak:
    """Most memory above the start: the device's on a GPU, else the process' (every 10 ms).

    Attributes:
        megabytes: In MiB.
    """

    def __init__(self, device: torch.device) -> None:
        """Prepare; measuring begins on entry.

        Args:
            device: Whose memory is watched.
        """
        self._device = device
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.megabytes = 0.0

    def __enter__(self) -> "MemoryPeak":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._start = torch.cuda.memory_allocated(self._device)
        else:
            self._start = self._process.memory_info().rss
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            used = self._process.memory_info().rss - self._start
            self.megabytes = max(self.megabytes, used / MEGABYTE)

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.megabytes = (peak - self._start) / MEGABYTE
        else:
            self._stop.set()
            self._thread.join()
