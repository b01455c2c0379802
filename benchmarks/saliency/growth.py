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

N_FILMS = 32
# (films, max_batch), from little to much memory: what a process once took it may not give back.
SETTINGS = ((32, 1), (32, 4), (32, 16), (1, 16), (4, 16), (16, 16), (32, 64))


def bench_growth(checkpoint: Path, data: Path, grid: int, say: Callable[[str], None]) -> None:
    """Explain more films, and more at once; one line per setting.

    Args:
        checkpoint: Checkpoint folder.
        data: Data set folder; its first test films are explained, again where there are few.
        grid: Cells a side.
        say: Receives the lines.
    """
    model, filmset = load_checkpoint(checkpoint), load_filmset(data)
    views = load_views(filmset, filmset.select("test")[:N_FILMS], model.view, data / "views")
    images = to_canonical(views[[i % len(views) for i in range(N_FILMS)]])
    targets = model.classifier(images).argmax(dim=1)
    explainer = build_explainer("igos_pp", grid_size=grid)
    explainer.explain(model.classifier, images[:1], targets[:1], seeds=[0])
    device = torch.device("cpu")
    say("films  max_batch  cpu seconds/film  evaluations/film  MiB above the start")
    for n_films, max_batch in SETTINGS:
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
