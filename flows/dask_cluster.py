"""Shards on the workers of a Dask cluster; importing this needs the extra ``dask``.

Prefect's own runner for Dask sends each task with the context of its flow, and every worker must
reach Prefect's server, which listens on this machine alone. Here a worker gets plain functions.
"""

import functools
import json
import os
import sys
import tempfile
import time
import uuid
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from covid_debug.config.schema import ComputeParams
from covid_debug.errors import ArtifactError
from covid_debug.shards import Shard
from covid_debug.stages import Means, Request
from covid_debug.tether import HOST, tethered
from flows.engines import Engine, WorkerDiedError
from flows.workers import Terms, WorkerRefusedError, make_part

_MAX_WAITING: Final = 1000  # shards that are handed out
_PATIENCE_S: Final = 300.0
_GPU: Final = {"GPU": 1}


@contextmanager
def open_scheduler(compute: ComputeParams) -> Iterator[Callable[[], str]]:
    """Yield what tells the scheduler's address.

    Where none is given, a cluster is started here when it is first asked for, and kept: its workers
    take seconds to import what they work with.
    """
    with ExitStack() as stack:
        on_gpu = compute.device.startswith("cuda")

        @functools.cache
        def find() -> str:
            return compute.address or stack.enter_context(_start_here(compute.n_workers, on_gpu))

        yield find


@contextmanager
def open_dask(
    compute: ComputeParams,
    find_scheduler: Callable[[], str],
    places: tuple[Path, ...],
    request: Request,
    target: Path,
    means: Means,
) -> Iterator[Engine]:
    """Make shards on the workers of a Dask cluster.

    Args:
        compute: Where the scheduler is, or how many workers are started here.
        find_scheduler: Of :func:`open_scheduler`.
        places: What the work reads, besides what earlier stages made.
        request: What is asked for.
        target: Place of the artifact.
        means: How it is carried out.

    Yields:
        The engine; every worker has been found fit.

    Raises:
        ArtifactError: If the scheduler does not answer, or has no worker that could do the work.
        WorkerRefusedError: If a worker is not fit.
    """
    pinned = _GPU if request.uses_device and means.device.startswith("cuda") else None
    token = target.parent / f".run-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        client = _connect(stack, find_scheduler())
        token.touch()
        stack.callback(token.unlink, missing_ok=True)
        terms = Terms.of_this_process(token, places)
        cluster = _Cluster(client, terms, compute.address or "this machine")
        stack.callback(cluster.stop)
        n_fit = cluster.wait_for_workers(pinned)
        cluster.refuse_unfit()
        work = partial(make_part, terms, request, target, means)
        make = partial(cluster.make, work, pinned)
        n_workers = n_fit if compute.address else compute.n_workers
        yield Engine(n_workers, _MAX_WAITING, make, cluster.check, cluster.stop)


def _connect(stack: ExitStack, address: str) -> Client:
    try:
        return stack.enter_context(Client(address, set_as_default=False))
    except OSError as error:
        raise ArtifactError(
            f"compute.address {address}: Dask's scheduler does not answer ({error}); start it, or"
            " correct the address"
        ) from error


@contextmanager
def _start_here(n_workers: int, on_gpu: bool) -> Iterator[str]:
    """Run a scheduler and workers that end when this process ends, however it does.

    They are commands, as Dask's own local cluster imports the caller's script again in each, and
    hangs when it is closed while a worker starts.

    Yields:
        Address of the scheduler.

    Raises:
        ArtifactError: If it does not start.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        # A shard that killed a worker is split before it is tried again, and no other shard waits
        # at a worker that may die.
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    }
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="covid-debug-")))
        place, log = scratch / "scheduler.json", scratch / "log"
        host = ["--host", HOST, "--dashboard-address", f"{HOST}:0", "--scheduler-file", str(place)]
        worker = ["--nworkers", str(n_workers), "--nthreads", "1", "--memory-limit", "0"]
        worker += ["--local-directory", str(scratch)]
        worker += ["--resources", "GPU=1"] if on_gpu else []
        for command in (["scheduler", "--port", "0"], ["worker", *worker]):
            name, *options = command
            program = [sys.executable, "-m", f"distributed.cli.dask_{name}", *host, *options]
            process = stack.enter_context(
                tethered(program, environment=environment, log=log.with_suffix(f".{name}"))
            )
        while True:
            with suppress(OSError, ValueError):
                address: str = json.loads(place.read_text())["address"]
                break
            if process.poll() is not None:
                said = log.with_suffix(".worker").read_text().strip().splitlines()
                raise ArtifactError(f"a Dask cluster does not start here: {said[-1:]}")
            time.sleep(0.1)
        yield address


class _Cluster:
    """The workers of a scheduler, for one part of a stage."""

    def __init__(self, client: Client, terms: Terms, name: str) -> None:
        self._client = client
        self._terms = terms
        self._name = name
        self._going_on: set[Future[None]] = set()
        self._seen_s = time.monotonic()

    def make(
        self,
        work: Callable[[Shard], None],
        pinned: Mapping[str, int] | None,
        shard: Shard,
    ) -> None:
        """Have a shard made by any worker that is fit; keeps nothing on the cluster."""
        while True:
            future = self._client.submit(work, shard, pure=False, resources=pinned)
            self._going_on.add(future)
            try:
                future.result()
            except KilledWorker as error:
                raise WorkerDiedError(error.last_worker.address) from error
            except WorkerRefusedError as error:  # it joined later than the others
                self._client.retire_workers([error.args[0]], close_workers=True)
            except CancelledError as error:
                raise ArtifactError(
                    f"{self._name}: Dask's scheduler is gone; what is finished is kept; start it"
                    " and start again to go on"
                ) from error
            else:
                return
            finally:
                # While it is held, Dask would make a finished shard again when its worker dies.
                self._going_on.discard(future)
                future.release()

    def refuse_unfit(self) -> None:
        """Ask every worker whether it is fit.

        Raises:
            WorkerRefusedError: Naming the first that is not, and why.
        """
        answers = self._client.run(self._terms.find_breach, on_error="return")
        for address, answer in answers.items():
            breach = answer
            if isinstance(answer, Exception):
                breach = f"cannot load this covid_debug ({answer}); install the same version there"
            if breach is not None:
                raise WorkerRefusedError(address, breach)

    def wait_for_workers(self, pinned: Mapping[str, int] | None) -> int:
        """Return how many workers could do the work, when there is one.

        Raises:
            ArtifactError: If there is none for minutes.
            WorkerRefusedError: If one would work on several films at once.
        """
        while True:
            workers = self._client.scheduler_info()["workers"]
            for address, worker in workers.items():
                if worker["nthreads"] != 1:
                    raise WorkerRefusedError(
                        address,
                        f"has {worker['nthreads']} threads; start it with --nthreads 1, and"
                        " --nworkers N for N processes",
                    )
            fit = [w for w in workers.values() if not pinned or w["resources"].get("GPU", 0) >= 1]
            if fit:
                return len(fit)
            if workers:
                raise ArtifactError(
                    f"{self._name}: compute.device is cuda and none of {len(workers)} Dask workers"
                    " offers a GPU; start each that has one with --resources GPU=1"
                )
            self.check()
            time.sleep(0.5)

    def check(self) -> None:
        """Refuse to wait for ever.

        Raises:
            ArtifactError: If there has been no worker for minutes.
        """
        try:
            if self._client.nthreads():
                self._seen_s = time.monotonic()
        except OSError:
            pass
        if time.monotonic() > self._seen_s + _PATIENCE_S:
            raise ArtifactError(
                f"{self._name}: no Dask worker for {_PATIENCE_S / 60:.0f} minutes; what is finished"
                " is kept; start workers and start again to go on"
            )

    def stop(self) -> None:
        """End what is going on: workers stop after the film that they are at."""
        self._terms.token.unlink(missing_ok=True)
        with suppress(OSError, TimeoutError):
            self._client.cancel(list(self._going_on), force=True)
