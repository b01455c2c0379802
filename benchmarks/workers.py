"""How much faster two workers are than one, by the clock: `python -m benchmarks.workers --out DIR`.

Text detection and interventions, which the processor bounds, are done by one and by two workers in
turns. Two numbers of films tell what a film costs from what starting costs. Beside it stands what
the machine allows: one and two processes that do the same and know nothing of each other. Nothing
else may be at work; the load is printed.
"""

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch

from benchmarks.tables import to_markdown
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import AuditRequest
from covid_debug.clock import now
from covid_debug.config.loader import build_config
from covid_debug.config.schema import RunConfig
from covid_debug.data.filmset import load_filmset
from covid_debug.data.stage import PhantomData
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, build_backbone
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.stages import Means, Request, Runner, find_or_make
from covid_debug.text.stage import RegionsRequest
from flows.server import configure_environment, prefect_server

RunnerName = Literal["alone", "processes", "dask"]
_RUNNERS: tuple[RunnerName, ...] = ("alone", "processes", "dask")
_STAGES = ("text detection", "interventions")
_SIDE = 112


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--films", type=int, nargs=2, default=(80, 320))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stage", choices=_STAGES, nargs="+", default=_STAGES)
    parser.add_argument("--runner", choices=_RUNNERS, nargs="+", default=_RUNNERS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    configure_environment(asked.out)
    torch.set_num_threads(1)
    config = _configure(asked.out)
    stages = _prepare(config, asked.films)
    _say(f"load {os.getloadavg()[0]:.1f} at the start")
    rows = []
    with prefect_server():
        for title, runner in product(asked.stage, asked.runner):
            rows.append(_compare(title, runner, stages[title], config, asked.repeats))
            _say(f"load {os.getloadavg()[0]:.1f} after {title}, {runner}")
    _say(to_markdown(rows))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _configure(out: Path) -> RunConfig:
    tree = {
        "name": "workers",
        "data": {"kind": "phantom", "n_train": 30, "n_test": 6},
        "data_dir": str(out),
        "reports_dir": str(out),
    }
    return build_config(tree, where="benchmarks.workers")


def _prepare(config: RunConfig, sizes: Sequence[int]) -> Mapping[str, Mapping[int, Request]]:
    """Make films, their text and a model; return title -> number of films -> what is timed."""
    place = config.data_dir
    requests: dict[str, dict[int, Request]] = {stage: {} for stage in _STAGES}
    for n in sizes:
        data = PhantomData(kind="phantom", n_train=30, n_test=n)
        films = find_or_make(data, place, Means())
        text = RegionsRequest(films, split="test")
        requests["text detection"][n] = text
    for n in (n // 4 for n in sizes):  # a film of these takes so much longer
        films = find_or_make(replace(data, n_test=n), place, Means())
        regions = find_or_make(replace(text, filmset=films), place, Means())
        model, params = write_model(films, place, _SIDE), AuditParams(max_explained=0)
        requests["interventions"][n] = AuditRequest(model, films, regions, params)
    return requests


def write_model(films: Path, place: Path, side: int) -> Path:
    """Write a checkpoint of an untrained network for these films.

    Args:
        films: Their classes are the model's.
        place: Folder to write it into.
        side: Of its view, in pixels.

    Returns:
        The checkpoint; the one that is there already.
    """
    out = place / "checkpoint"
    if not out.exists():
        torch.manual_seed(0)
        names = load_filmset(films).class_names
        model = Classifier(
            build_backbone("resnet18_half", len(names)),
            class_names=names,
            image_size=(side, side),
            mean=GRAY_MEAN,
            std=GRAY_STD,
        )
        view = ViewSpec(image_size=side)
        save_checkpoint(out, model, arch="resnet18_half", arch_params={}, view=view)
    return out


def _compare(
    title: str, runner: RunnerName, requests: Mapping[int, Request], config: RunConfig, repeats: int
) -> dict[str, object]:
    """Time one and two workers in turns; a row of the table."""
    few, many = requests
    taken: dict[tuple[int, int], list[float]] = {}
    for _ in range(repeats):
        for n in requests:
            for n_workers in (1, 2):
                seconds = _time(requests[n], runner, n_workers, config)
                taken.setdefault((n, n_workers), []).append(seconds)
                _say(f"{title}, {runner}, {n} films, {n_workers} workers: {seconds:.1f} s")
    whole = [first / second for first, second in zip(taken[many, 1], taken[many, 2], strict=True)]
    times = {key: statistics.median(values) for key, values in taken.items()}
    one, two = (times[many, k] - times[few, k] for k in (1, 2))
    if runner == "alone":  # two have done twice the work
        whole, two = [2 * ratio for ratio in whole], two / 2
    return {
        "stage": title,
        "workers": runner,
        "films": many,
        "1 worker, s": f"{times[many, 1]:.1f}",
        "2 workers, s": f"{times[many, 2]:.1f}",
        "faster": f"{statistics.median(whole):.2f} ({min(whole):.2f} to {max(whole):.2f})",
        "faster, without the start": f"{one / two:.2f}",
    }


def _time(request: Request, runner: RunnerName, n_workers: int, config: RunConfig) -> float:
    if runner == "alone":
        with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(_warm, range(n_workers * 4)))
            places = [config.data_dir / f"alone-{i}" for i in range(n_workers)]
            return max(pool.map(_make_alone, [request] * n_workers, places))
    from flows.runners import open_runner  # noqa: PLC0415 - Prefect reads its settings first

    compute = replace(config.compute, runner=runner, n_workers=n_workers)
    start = now()
    with open_runner(replace(config, compute=compute)) as chosen:
        _make(request, config.data_dir / "timed", n_workers, chosen)
    return (now() - start).clock_s


def _warm(_: int) -> None:
    torch.set_num_threads(1)


def _make_alone(request: Request, place: Path) -> float:
    torch.set_num_threads(1)
    return _make(request, place, 1, None)


def _make(request: Request, place: Path, n_workers: int, runner: Runner | None) -> float:
    place.mkdir()
    start = now()
    find_or_make(request, place, Means(n_workers=n_workers, cache_dir=place / "views"), runner)
    seconds = (now() - start).clock_s
    shutil.rmtree(place)
    return seconds


if __name__ == "__main__":
    main()
