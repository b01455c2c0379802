"""How fast cleaning runs and how flat its memory stays: a few phantoms under many names."""

import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import psutil

from benchmarks.cost import MEGABYTE
from covid_debug.artifacts import hash_file, write_artifact
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.film import CleaningParams
from covid_debug.data.filmset import FilmSet, write_films, write_split_lists, write_unusable
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import InputContractError
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.imaging.writing import write_png
from covid_debug.progress import Progress
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole

SUMMARY_NAME: Final = "clean.md"
_N_DISTINCT: Final = 24
_MIN_FILMS: Final = 10


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast films are cleaned and what memory that takes.

    Attributes:
        n_films: Films cleaned.
        side_px: Side of the square films.
        n_workers: Processes.
        films_per_s: Films a second from first to last, start of the processes included.
        processor_s: Processor seconds a film, all processes together: what the speed is on free
            cores, whatever else the machine does.
        memory_mb: Resident memory of this process and of its largest worker, MiB, after each
            tenth of the films.
    """

    n_films: int
    side_px: int
    n_workers: int
    films_per_s: float
    processor_s: float
    memory_mb: tuple[tuple[float, float], ...]

    def describe(self) -> str:
        """Return one line."""
        parent, worker = (
            " ".join(f"{value:.0f}" for value in values)
            for values in zip(*self.memory_mb, strict=True)
        )
        return (
            f"{self.n_films} films of {self.side_px} px on {self.n_workers} processes: "
            f"{self.films_per_s:.1f} films/s, {self.processor_s:.3f} processor seconds a film "
            f"({self.n_workers / self.processor_s:.1f} films/s on free cores); MiB after each "
            f"tenth: this process {parent}; largest worker {worker}"
        )


def bench_throughput(
    n_films: int, side_px: int, n_workers: int, out: Path, console: RunConsole
) -> None:
    """Measure speed and memory, write the line and print it.

    Args:
        n_films: Films that are cleaned, at least 10.
        side_px: Their side in pixels.
        n_workers: Processes.
        out: Folder to write; must not exist.
        console: Terminal.

    Raises:
        InputContractError: If there are fewer than 10 films.
        ArtifactError: If ``out`` exists or cannot be written.
    """
    if n_films < _MIN_FILMS:
        raise InputContractError(f"--films {n_films}: expected at least {_MIN_FILMS}")
    sizes = {"n_films": n_films, "side_px": side_px}
    with write_artifact(out, kind="bench-clean", parameters=sizes) as draft:
        with tempfile.TemporaryDirectory(dir=draft.path.parent, prefix=".bench-") as scratch:
            found = measure_throughput(n_films, side_px, n_workers, Path(scratch))
        (draft.path / SUMMARY_NAME).write_text(found.describe() + "\n", encoding="utf-8")
    console.say(found.describe())
    console.say(f"tables: {out}")


def measure_throughput(n_films: int, side_px: int, n_workers: int, folder: Path) -> Throughput:
    """Clean many phantoms, a few distinct ones under many names, and watch speed and memory.

    Args:
        n_films: Films that are cleaned.
        side_px: Their side in pixels.
        n_workers: Processes.
        folder: Empty or absent folder for the films; the cleaned films are written there too.

    Returns:
        Speed and memory.
    """
    filmset, regions = _multiply_phantoms(folder, n_films, side_px)
    process = psutil.Process()
    memory: list[tuple[float, float]] = []
    period = n_films // 10

    def watch(n_done: int, _n_total: int) -> None:
        if n_done % period == 0:
            workers = [child.memory_info().rss for child in process.children()]
            own = process.memory_info().rss
            memory.append((own / MEGABYTE, max(workers, default=0) / MEGABYTE))

    start, processor_start = time.perf_counter(), _processor_seconds()
    clean_filmset(
        filmset,
        regions,
        CleaningParams(),
        folder / "cleaned",
        means=Means(_Watching(watch), n_workers=n_workers),
    )
    rate = n_films / (time.perf_counter() - start)
    processor_s = (_processor_seconds() - processor_start) / n_films
    return Throughput(n_films, side_px, n_workers, rate, processor_s, tuple(memory))


class _Watching(RunConsole):
    """Passes progress on to a function."""

    def __init__(self, watch: Progress) -> None:
        super().__init__()
        self._watch = watch

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:  # noqa: ARG002
        yield self._watch


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _multiply_phantoms(
    folder: Path, n_films: int, side_px: int
) -> tuple[FilmSet, dict[str, FilmRegions]]:
    phantom = generate_phantom(folder / "phantom", n_train=_N_DISTINCT, n_test=1, seed=0)
    truth = read_regions(phantom.root / "truth_regions.jsonl")
    enlarged = folder / "enlarged"
    with write_artifact(enlarged, kind="filmset") as draft:
        films, regions, digests = [], {}, {}
        for film in phantom.films:
            pixels = read_film(phantom.file_of(film)).to_uint8()
            size = (side_px, side_px)
            path = draft.path / f"{film.image_id}.png"
            write_png(path, cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC))
            digests[film.image_id] = hash_file(path)
        for at, film in zip(range(n_films), itertools.cycle(phantom.films), strict=False):
            key = f"{at:016x}"
            films.append(
                dataclasses.replace(
                    film,
                    image_id=key,
                    path=str(enlarged.resolve() / f"{film.image_id}.png"),
                    width=side_px,
                    height=side_px,
                    sha256=digests[film.image_id],
                )
            )
            regions[key] = _enlarge(truth[film.image_id], key, side_px)
        write_films(draft.path, films)
        write_unusable(draft.path, [])
        write_split_lists(draft.path, films)
        draft.facts.update(
            name="phantoms", class_names=phantom.class_names, n_ok=n_films, n_total=n_films
        )
    return FilmSet(enlarged, "phantoms", phantom.class_names, tuple(films), n_films), regions


def _enlarge(film: FilmRegions, key: str, side_px: int) -> FilmRegions:
    by_x, by_y = side_px / film.width, side_px / film.height
    regions = tuple(
        TextRegion(
            tuple((x * by_x, y * by_y) for x, y in region.polygon),
            region.confidence,
            region.content,
            region.detector,
        )
        for region in film.regions
    )
    return FilmRegions(key, side_px, side_px, regions)
