"""`covid-debug bench growth`: is the cost of iGOS++ linear in the films, its memory bounded?"""

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.cost import MemoryPeak, Stopwatch
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.inference import to_canonical
from covid_debug.saliency.catalog import build_explainer


def bench_growth(
    checkpoint: Path, data: Path, n_most: int, grid: int, say: Callable[[str], None]
) -> None:
    """Explain more films, and more at once; one line per setting.

    Args:
        checkpoint: Checkpoint folder.
        data: Data set folder; its first test films are explained, again where there are few.
        n_most: Most films.
        grid: Cells a side.
        say: Receives the lines.
    """
    model, filmset = load_checkpoint(checkpoint), load_filmset(data)
    views = load_views(filmset, filmset.select("test")[:n_most], model.view, data / "views")
    images = to_canonical(views[[i % len(views) for i in range(n_most)]])
    targets = model.classifier(images).argmax(dim=1)
    explainer = build_explainer("igos_pp", grid_size=grid)
    explainer.explain(model.classifier, images[:1], targets[:1], seeds=[0])
    device = torch.device("cpu")
    say("films  max_batch  cpu seconds/film  evaluations/film  MiB above the start")
    # From little to much memory: what a process once took it does not always give back.
    few = [(n, 16) for n in (1, 4, 16) if n < n_most]
    for n_films, max_batch in [*((n_most, b) for b in (1, 4, 16)), *few, (n_most, 64)]:
        with MemoryPeak(device) as peak, Stopwatch(device) as watch:
            result = explainer.explain(
                model.classifier,
                images[:n_films],
                targets[:n_films],
                seeds=list(range(n_films)),
                max_batch=max_batch,
            )
        say(
            f"{n_films:5d}  {max_batch:9d}  {watch.cpu_seconds / n_films:16.2f}"
            f"  {result.n_evaluations / n_films:16.0f}  {peak.megabytes:19.0f}"
        )
