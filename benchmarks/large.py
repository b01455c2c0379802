"""Many films through the stages that go film by film: `python -m benchmarks.large --out DIR`.

Phantoms are made first and listed in a table. Then each stage runs in a process of its own, as its
command does, with two workers; every second it is noted how many films are finished, what processor
time the processes have used, and what they hold in memory. A second start goes on. `--draw` makes
table and figure of the notes alone.
"""

import argparse
import csv
import itertools
import math
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import psutil
from matplotlib.figure import Figure

from benchmarks.tables import to_markdown
from benchmarks.workers import write_model
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import AuditRequest
from covid_debug.cleaning.stage import CleanRequest
from covid_debug.clock import Cost, now
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.stage import PhantomData, TableData
from covid_debug.progress import Progress, Silent
from covid_debug.reporting.figures import COLOURS, figure_style
from covid_debug.stages import Means, Request, find_or_make
from covid_debug.text.stage import RegionsRequest

_SAMPLES = "samples.csv"
_FIGURE = "large.png"
_PERIOD_S = 1.0
_MEGABYTE = 2**20
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """What was noted at one moment of a stage.

    Attributes:
        films: Finished.
        clock_s: Since the stage began.
        processor_s: Used by all its processes.
        main_mb: Resident memory of its first process, MiB.
        worker_mb: Of its largest worker.
        all_mb: Of all of them; pages that they share count in each.
    """

    films: int
    clock_s: float
    processor_s: float
    main_mb: float
    worker_mb: float
    all_mb: float


def main() -> None:
    """Run the stages, then print the table and draw the figure; or do the second alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--films", type=int, default=30_000)
    parser.add_argument("--nulls", type=int, default=8)
    parser.add_argument("--draw", action="store_true", help="Of an earlier run.")
    asked = parser.parse_args()
    if not asked.draw:
        asked.out.mkdir(parents=True, exist_ok=True)
        _run(asked.out, asked.films, asked.nulls)
    samples = _read(asked.out / _SAMPLES)
    sys.stdout.write(to_markdown([describe_stage(*item) for item in samples.items()]))
    _draw(samples, asked.out / _FIGURE)


def _run(out: Path, n_films: int, n_nulls: int) -> None:
    made = find_or_make(PhantomData(kind="phantom", n_train=30, n_test=n_films), out, Means())
    table = _write_table(load_filmset(made), out / "films.csv")
    films = _make("ingest", TableData("table", table, split="test"), out)
    text = _make("text detection", RegionsRequest(films), out)
    _make("cleaning", CleanRequest(films, text), out)
    params = AuditParams(max_explained=0, n_nulls=n_nulls)
    model = write_model(films, out, _SIDE)
    _make("audit", AuditRequest(model, films, text, params), out)


def _write_table(made: FilmSet, path: Path) -> Path:
    """List the test films, as somebody would who has a folder of films."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "patient"])
        for film in made.select("test"):
            place = (made.root / film.path).relative_to(path.parent)
            rows.writerow([place, film.label, film.patient_id])
    return path


def _make(title: str, request: Request, out: Path) -> Path:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_make_watched, title, request, out).result()


def _make_watched(title: str, request: Request, out: Path) -> Path:
    counter = _Counter()
    with _watched(title, counter, out / _SAMPLES):
        return find_or_make(request, out, Means(listener=counter, cache_dir=out / "views"))


class _Counter(Silent):
    """Knows which loop a stage is in, and how many films are finished in it."""

    def __init__(self) -> None:
        self.loop, self.n_done = "films", 0

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        self.loop, self.n_done = title, 0

        def count(n_done: int, _: int) -> None:
            self.n_done = n_done

        yield count


@contextmanager
def _watched(title: str, counter: _Counter, path: Path) -> Iterator[None]:
    """Note the state every second in a file, until the body has ended."""
    stop, start = threading.Event(), now()
    end = threading.Thread(target=_watch, args=(title, counter, path, start, stop))
    end.start()
    try:
        yield
    finally:
        stop.set()
        end.join()


def _watch(title: str, counter: _Counter, path: Path, start: Cost, stop: threading.Event) -> None:
    main, used = psutil.Process(), dict[int, float]()
    with path.open("a", newline="") as file:
        rows = csv.writer(file)
        over = False
        while not over:
            over = stop.wait(_PERIOD_S)
            held = [0.0]
            for child in main.children(recursive=True):
                try:
                    times, memory = child.cpu_times(), child.memory_info()
                except psutil.NoSuchProcess:
                    continue
                used[child.pid] = times.user + times.system  # of one that ended, the last
                held.append(memory.rss / _MEGABYTE)
            own = main.memory_info().rss / _MEGABYTE
            clock_s = (now() - start).clock_s
            processor_s = sum(main.cpu_times()[:2]) + sum(used.values())
            numbers = (clock_s, processor_s, own, max(held), own + sum(held))
            name = title if counter.loop == "films" else counter.loop
            rows.writerow([name, counter.n_done, *(f"{number:.1f}" for number in numbers)])
            file.flush()


def _read(path: Path) -> Mapping[str, Sequence[Sample]]:
    """Read the notes; times of a start that went on are added to those of the start before."""
    samples: dict[str, list[Sample]] = {}
    starts: dict[str, Sample] = {}  # the last sample of the start before
    clocks: dict[str, float] = {}
    with path.open(newline="") as file:
        for title, films, *numbers in csv.reader(file):
            one, noted = Sample(int(films), *map(float, numbers)), samples.setdefault(title, [])
            if noted and not one.films:  # begun again, or found finished
                continue
            if noted and one.clock_s < clocks[title]:
                starts[title] = noted[-1]
            clocks[title] = one.clock_s
            if title in starts:
                clock_s = starts[title].clock_s + one.clock_s
                processor_s = starts[title].processor_s + one.processor_s
                one = replace(one, clock_s=clock_s, processor_s=processor_s)
            noted.append(one)
    return {title: noted for title, noted in samples.items() if noted[-1].films}


def describe_stage(title: str, samples: Sequence[Sample]) -> dict[str, object]:
    """Return a row of the table; tenths are of the films, from the first sample with any."""
    first, last = samples[0], samples[-1]
    clock_s, processor_s = last.clock_s - first.clock_s, last.processor_s - first.processor_s
    tenths = [_at(samples, last.films * i // 10) for i in range(11)]
    costs = [
        (after.processor_s - before.processor_s) / max(after.films - before.films, 1)
        for before, after in itertools.pairwise(tenths)
    ]
    early = tenths[1]
    return {
        "stage": title,
        "films": f"{last.films:,}",
        "min": f"{clock_s / 60:.1f}",
        "films/s": f"{last.films / clock_s if clock_s else math.nan:.1f}",
        "processor s a film": f"{processor_s / last.films:.4f}",
        "of the tenths": f"{min(costs[1:]):.4f} to {max(costs[1:]):.4f}",
        "last tenth / second": f"{costs[-1] / costs[1] if costs[1] else math.nan:.2f}",
        "MiB after a tenth (main, worker)": f"{early.main_mb:.0f}, {early.worker_mb:.0f}",
        "at the end": f"{last.main_mb:.0f}, {tenths[-1].worker_mb:.0f}",
        "most of all together": f"{max(one.all_mb for one in samples):.0f}",
    }


def _at(samples: Sequence[Sample], films: int) -> Sample:
    return next(one for one in samples if one.films >= films)


def _draw(stages: Mapping[str, Sequence[Sample]], path: Path) -> None:
    """Draw processor time and memory over finished films."""
    with figure_style():
        figure = Figure(figsize=(8.4, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (title, samples), colour in zip(stages.items(), COLOURS, strict=False):
            films = [one.films / 1000 for one in samples]
            spent = [(one.processor_s - samples[0].processor_s) / 60 for one in samples]
            left.plot(films, spent, color=colour, label=title)
            right.plot(films, [one.main_mb for one in samples], color=colour)
            workers = [one.worker_mb or math.nan for one in samples]
            right.plot(films, workers, color=colour, linestyle=":")
        left.set_ylabel("processor minutes")
        left.legend(frameon=False)
        right.set_ylabel("MiB; dotted: largest worker")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("thousand films finished")
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
