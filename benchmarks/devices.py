"""What an epoch costs where several processes of the CPU share a training.

``python -m benchmarks.devices N FILMS`` trains four epochs on a data set, N processes of one thread
each; the differences between the lines are what an epoch costs.
"""

import multiprocessing
import sys
import tempfile
from pathlib import Path

import psutil
import torch

from covid_debug.imaging.geometry import ViewSpec
from covid_debug.stages import Means
from covid_debug.training.params import EpochMetrics, TrainingParams
from covid_debug.training.stage import TrainRequest


def tell(epoch: EpochMetrics) -> None:
    """Print the epoch, the processor seconds of all processes so far and the epoch's pace."""
    children = [child.pid for child in multiprocessing.active_children() if child.pid]
    ranks = [psutil.Process(pid) for pid in children] or [psutil.Process()]
    spent_s = sum(sum(rank.cpu_times()[:2]) for rank in ranks)
    print(f"{epoch.epoch}: {spent_s:.1f} processor s, {epoch.films_per_s:.1f} films/s", flush=True)


if __name__ == "__main__":
    n_devices, films = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    request = TrainRequest(films, TrainingParams(n_epochs=4), ViewSpec(), 0, tell)
    with tempfile.TemporaryDirectory() as folder:
        request.make(Path(folder, "model"), Means(cache_dir=Path(folder), n_devices=n_devices))
