"""Who works on the films of a stage: threads of the run, or the workers of a Dask cluster.

Owns cutting films into shards, taking every result, and finding the film that kills its workers.
Each shard is a Prefect task of this process; on Dask it hands its films to a worker and waits, so
that a worker needs neither Prefect nor a way to its server.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from prefect.task_runners import ThreadPoolTaskRunner

from covid_debug.config.schema import RunConfig
from covid_debug.errors import ArtifactError
from covid_debug.pool import DIED
from covid_debug.progress import SILENT
from covid_debug.shards import Records, Shard
from covid_debug.stages import Means, Request, Runner
from flows.engines import Engine, WorkerDiedError, open_threads
from flows.stage import stage
from flows.workers import SEEN_WITHIN_S

_PER_WORKER: Final = 4  # shards of a worker where films are few, so that none is idle at the end
_MAX_FILMS: Final = 500  # of a shard
_MAX_SHARDS: Final = 1000  # more of them destabilise schedulers
_PERIOD_S: Final = 5.0


@contextmanager
def open_runner(config: RunConfig) -> Iterator[Runner | None]:
    """Yield who makes the shards of a run's stages; None where it makes no shards."""
    compute = config.compute
    if compute.runner == "processes":
        yield None
    elif compute.runner == "threads":
        yield partial(run_shards, partial(open_threads, compute.n_workers))
    else:
        from flows.dask_cluster import open_dask, open_scheduler  # noqa: PLC0415 - an extra's

        places = tuple(_find_places(config))
        with open_scheduler(compute) as find_scheduler:
            yield partial(run_shards, partial(open_dask, compute, find_scheduler, places))


def _find_places(value: object) -> Iterator[Path]:
    """Yield the files and folders that a configuration names and that are there."""
    if isinstance(value, Path) and value.exists():
        yield value
    parts: list[Any] = []
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif is_dataclass(value):
        parts = [getattr(value, item.name) for item in fields(value)]
    for part in parts:
        yield from _find_places(part)


def cut(n_films: int, n_workers: int) -> int:
    """Return into how many shards films are cut."""
    n_shards = max(_PER_WORKER * n_workers, -(-n_films // _MAX_FILMS))
    return min(n_films, _MAX_SHARDS, n_shards)


@stage()
def _make(make: Callable[[Shard], None], shard: Shard) -> None:
    make(shard)


def run_shards(
    open_engine: Callable[[Request, Path, Means], AbstractContextManager[Engine]],
    request: Request,
    target: Path,
    means: Means,
    names: Sequence[str],
    records: Records,
) -> dict[str, str]:
    """Make the shards of a stage; what an earlier start finished is not made again.

    Args:
        open_engine: Opens an :class:`Engine` for a request, its target and means.
        request: What is asked for.
        target: Place of the artifact.
        means: How it is carried out.
        names: All films.
        records: Of the finished ones.

    Returns:
        Film -> why no worker survived it, even alone.

    Raises:
        ArtifactError: If more films than ``means.max_failed_share`` allows kill their workers, or
            no worker is left.
    """
    bare = replace(means, listener=SILENT, n_workers=1, shard=None, elsewhere=None)
    with open_engine(request, target, bare) as engine:
        n_shards = cut(len(names), engine.n_workers)
        shards = [Shard(index, n_shards) for index in range(1, n_shards + 1)]
        work = _Work(request.stage, engine, means, names, records)
        pool: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(min(n_shards, engine.n_handed_out))
        with pool:
            try:
                return work.run(pool, [shard for shard in shards if work.list_missing(shard)])
            except BaseException:
                engine.stop()  # what waits for it in the pool's threads must end first
                raise


class _Work:
    """Takes the results of one stage's shards."""

    def __init__(
        self, title: str, engine: Engine, means: Means, names: Sequence[str], records: Records
    ) -> None:
        self._title = title
        self._engine = engine
        self._means = means
        self._names = names
        self._records = records
        self._refreshed_s = 0.0

    def list_missing(self, shard: Shard) -> list[str]:
        """Return the films of a shard that are not finished."""
        return [name for name in shard.of(self._names) if name not in self._records]

    def run(self, pool: ThreadPoolTaskRunner[None], shards: Sequence[Shard]) -> dict[str, str]:
        """Make shards; a film on which a worker died is tried alone, when all others are done."""
        alone: dict[Shard, bool] = {}
        lost: list[Shard] = []
        n_allowed = self._means.max_failed_share * len(self._names)
        with self._means.listener.progress("films") as progress:
            left = list(shards)
            while left:
                died = self._take(pool, left, progress)
                left = []
                for shard, is_shared in died.items():
                    suspect, *others = self._split(shard)
                    alone[suspect] = is_shared
                    left += others
                n_tried = max(n_allowed, _PER_WORKER * self._engine.n_workers)
                self._refuse_more(list(alone), n_tried)
            for shard, is_shared in alone.items():
                if self.list_missing(shard):
                    died = self._take(pool, [shard], progress)
                    if died and is_shared:  # the death before may have been another's
                        died = self._take(pool, [shard], progress)
                    lost += died
                    self._refuse_more(lost, n_allowed)
        reasons = {shard.of(self._names)[0]: DIED for shard in lost}
        self._wait_for_records(reasons)
        return reasons

    def _take(
        self,
        pool: ThreadPoolTaskRunner[None],
        shards: Sequence[Shard],
        progress: Callable[[int, int], None],
    ) -> dict[Shard, bool]:
        """Make shards and take every result.

        Returns:
            A shard whose worker died -> whether another was there, whose film may have done it.
        """
        running = {}
        for shard in shards:
            task = _make.with_options(task_run_name=f"{self._title} {shard}")
            future = pool.submit(task, {"make": self._engine.make, "shard": shard})
            running[future.wrapped_future] = (future, shard)
        died: dict[Shard, str] = {}
        while running:
            done, _ = wait(running, _PERIOD_S, FIRST_COMPLETED)
            for each in done:
                future, shard = running.pop(each)
                try:
                    future.result()
                except WorkerDiedError as error:  # Prefect has said which
                    died[shard] = error.worker
            if not done:
                self._engine.check()
            if not running or time.monotonic() > self._refreshed_s + _PERIOD_S:
                self._records.refresh()
                self._refreshed_s = time.monotonic()
                progress(len(self._records), len(self._names))
        n_blamed = Counter(died.values())
        return {shard: n_blamed[worker] > 1 for shard, worker in died.items()}

    def _split(self, shard: Shard) -> list[Shard]:
        """Return pieces of a shard, first the film that is missing first.

        The worker died on it, as films are worked on in order; if not, the others die again.
        """
        pieces: list[Shard] = []
        while len(shard.of(self._names)) > 1:
            first, second = shard.halves()
            if self.list_missing(first):
                pieces.append(second)
                shard = first
            else:
                shard = second
        return [shard, *(piece for piece in pieces if self.list_missing(piece))]

    def _refuse_more(self, shards: Sequence[Shard], n_allowed: float) -> None:
        if len(shards) > n_allowed:
            first = shards[0].of(self._names)[0]
            raise ArtifactError(
                f"{self._title}: workers died on {len(shards)} films (first: {first}), probably for"
                " lack of memory; what is finished is kept; give each worker more and start again"
                " to go on"
            )

    def _wait_for_records(self, lost: Mapping[str, str]) -> None:
        """Wait until a network drive shows here what workers have written elsewhere."""
        deadline = time.monotonic() + SEEN_WITHIN_S
        while time.monotonic() < deadline:
            if all(name in self._records or name in lost for name in self._names):
                return
            time.sleep(0.2)
            self._records.refresh()
