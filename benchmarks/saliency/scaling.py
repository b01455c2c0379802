"""Does the cost of iGOS++ grow linearly with the films, and does memory stay under its bound?

    python -m benchmarks.saliency.scaling --checkpoint DIR --data DIR

Prints one line per number of films and per ``max_batch``: processor seconds and model evaluations
a film, and the most memory above that before the call.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.saliency.measure import MemoryPeak
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.inference import to_canonical
from covid_debug.saliency.catalog import build_explainer


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--grid", type=int, default=28)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = load_checkpoint(chosen.checkpoint)
    filmset = load_filmset(chosen.data)
    views = load_views(filmset, filmset.select("test")[:32], model.view, chosen.data / "views")
    images = to_canonical(views)
    targets = model.classifier(images).argmax(dim=1)
    explainer = build_explainer("igos_pp", grid_size=chosen.grid)
    explainer.explain(model.classifier, images[:1], targets[:1], seeds=[0])
    print("films  max_batch  cpu seconds/film  evaluations/film  MiB above the start")
    # From little to much memory: what a process once took it does not always give back.
    settings = [(32, b) for b in (1, 4, 16)] + [(n, 16) for n in (1, 4, 16)] + [(32, 64)]
    for n_films, max_batch in settings:
        with MemoryPeak(torch.device("cpu")) as peak:
            started = time.process_time()
            result = explainer.explain(
                model.classifier, images[:n_films], targets[:n_films],
                seeds=list(range(n_films)), max_batch=max_batch,
            )  # fmt: skip
            seconds = (time.process_time() - started) / n_films
        print(
            f"{n_films:5d}  {max_batch:9d}  {seconds:16.2f}"
            f"  {result.n_evaluations / n_films:16.0f}  {peak.megabytes:19.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
