"""The same shards on real clusters of processes, through the deaths of workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra dask is not installed")

import dask
import psutil
from distributed import Client, LocalCluster

from covid_debug.artifacts import hash_file
from covid_debug.errors import ArtifactError
from covid_debug.pool import DIED
from covid_debug.preflight.sharing import count_workers, describe_sharing
from covid_debug.stages import Means, find_or_make
from flows import dask_cluster
from flows.runners import open_runner
from flows.workers import Terms, WorkerRefusedError
from tests.conftest import REPOSITORY
from tests.flows.shard_toys import OnDevice, Toy
from tests.flows.test_preflight import make_config
from tests.flows.test_runners import Told, make, worked_on

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]


@contextmanager
def start_cluster(n_workers: int = 2, **options):
    """Start workers that come back however often they are killed, as those of `dask worker` do."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(
            n_workers=n_workers,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            **{"threads_per_worker": 1, "memory_limit": 0} | options,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def address():
    """Of a cluster of two workers that others started; it tries a shard twice by itself."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        start_cluster() as cluster,
    ):
        yield cluster.scheduler_address


def wait_for_two(address: str) -> None:
    """Wait until workers that a test before this one killed are there again."""
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)


def children() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [child for child in found if "resource_tracker" not in " ".join(child.cmdline())]


def workers_of(toy) -> set[str]:
    return {line.split()[1] for line in toy.log.read_text().splitlines()}


def test_a_cluster_of_two_processes_works_on_each_film_once_and_leaves_nothing(tmp_path) -> None:
    before = {child.pid for child in children()}
    toy = Toy(tmp_path / "log", film_s=0.05)
    (tmp_path / "alone").mkdir()
    alone = find_or_make(replace(toy, log=tmp_path / "other"), tmp_path / "alone", Means())

    made = make(toy, tmp_path, runner="dask")

    assert set(worked_on(toy).values()) == {1}
    assert len(workers_of(toy)) == 2
    assert sorted(Counter(toy.begun.read_text().split()).values()) == [1, 1, 1]
    assert hash_file(made / "films.txt") == hash_file(alone / "films.txt")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [made.name]
    assert {child.pid for child in children()} <= before


def test_one_cluster_works_for_all_stages_of_a_run(tmp_path) -> None:
    before = {child.pid for child in children()}
    config = make_config(tmp_path, compute={"n_workers": 1, "runner": "dask"})
    toys = [Toy(tmp_path / f"log-{n}", n_films=n) for n in (4, 5)]

    with open_runner(config) as runner:
        assert {child.pid for child in children()} <= before
        for toy in toys:
            find_or_make(toy, tmp_path, Means(), runner)

    (pid,) = workers_of(toys[0])
    assert workers_of(toys[1]) == {pid}
    assert {child.pid for child in children()} <= before


def test_a_worker_that_is_killed_costs_the_film_that_it_was_at(tmp_path, address) -> None:
    toy = Toy(tmp_path / "log", n_films=60, film_s=0.1)
    killed = []

    def kill() -> None:
        while not toy.log.exists() or len(toy.log.read_text().splitlines()) < 30:
            time.sleep(0.05)
        pid = int(toy.log.read_text().splitlines()[-1].split()[1])
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    made = make(toy, tmp_path, runner="dask", address=address)
    killer.join(timeout=30)

    assert killed
    assert sum(worked_on(toy).values()) <= len(toy.names) + 1
    assert "worker" not in (made / "films.txt").read_text()


def test_a_film_that_kills_every_worker_is_recorded_and_the_run_goes_on(tmp_path) -> None:
    toy, told = Toy(tmp_path / "log", n_films=40, deadly=("film0017",)), Told()

    made = make(toy, tmp_path, listener=told, runner="dask")

    lines = (made / "films.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines if DIED in line] == ["film0017"]
    assert told.warnings == [f"film0017: {DIED}; it is recorded as unusable"]
    assert worked_on(toy)["film0017"] == 2
    assert sum(worked_on(toy).values()) == 41


def test_the_same_on_a_cluster_that_tries_again_by_itself(tmp_path, address) -> None:
    toy = Toy(tmp_path / "log", n_films=40, deadly=("film0017",))

    made = make(toy, tmp_path, runner="dask", address=address)

    lines = (made / "films.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines if DIED in line] == ["film0017"]
    assert sum(count for name, count in worked_on(toy).items() if name != "film0017") == 39


def test_a_plan_counts_the_workers_of_the_cluster(tmp_path, address) -> None:
    compute = {"runner": "dask", "address": address, "n_workers": 7}
    wait_for_two(address)

    counted = count_workers(make_config(tmp_path, compute=compute))

    assert counted.compute.n_workers == 2
    assert next(describe_sharing(counted)).startswith("Dask: planned for 2 workers")


def test_an_error_on_a_worker_is_the_runs(tmp_path, address) -> None:
    toy = Toy(tmp_path / "log", failing="film0003")

    with pytest.raises(ValueError, match="film0003 cannot be"):
        make(toy, tmp_path, runner="dask", address=address)

    assert list((tmp_path / "data").glob(".run-*")) == []


def test_a_worker_of_another_version_is_refused_before_work(tmp_path, address, monkeypatch) -> None:
    toy = Toy(tmp_path / "log")
    other = lambda token, places: Terms(token, Path.cwd(), places, "0123", {})  # noqa: E731
    monkeypatch.setattr(Terms, "of_this_process", other)

    with pytest.raises(
        WorkerRefusedError, match=r"^worker tcp://127.* has another covid_debug .code \w+, .* 0123"
    ):
        make(toy, tmp_path, runner="dask", address=address)

    assert not toy.log.exists()


def test_a_worker_with_threads_is_refused(tmp_path) -> None:
    with (
        start_cluster(1, threads_per_worker=2) as cluster,
        pytest.raises(WorkerRefusedError, match="has 2 threads; start it with --nthreads 1"),
    ):
        make(Toy(tmp_path / "log"), tmp_path, runner="dask", address=cluster.scheduler_address)


def test_work_on_a_device_goes_to_the_workers_that_offer_one(tmp_path, address) -> None:
    toy = OnDevice(tmp_path / "log")
    wait_for_two(address)
    with pytest.raises(ArtifactError, match=r"none of 2 Dask workers offers a GPU; .*--resources"):
        find_on_device(toy, tmp_path, address)

    with start_cluster(1, resources={"GPU": 1}) as cluster:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        plain = subprocess.Popen(
            [*command, "--nthreads", "1", "--no-dashboard"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client(cluster) as client:
                client.wait_for_workers(2, timeout=60)
            find_on_device(toy, tmp_path, cluster.scheduler_address)
        finally:
            plain.terminate()
            plain.wait()

    assert len(workers_of(toy)) == 1


def find_on_device(toy, folder, address):
    compute = {"runner": "dask", "address": address, "device": "cpu"}
    config = make_config(folder, compute=compute)
    store = folder / "data"
    store.mkdir(exist_ok=True)
    with open_runner(config) as runner:
        return find_or_make(toy, store, Means(device="cuda"), runner)


def test_a_cluster_without_workers_is_not_waited_for_for_ever(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dask_cluster, "_PATIENCE_S", 1.0)

    with (
        start_cluster(0) as cluster,
        pytest.raises(ArtifactError, match=r"no Dask worker for .* start workers"),
    ):
        make(Toy(tmp_path / "log"), tmp_path, runner="dask", address=cluster.scheduler_address)


def test_a_scheduler_that_does_not_answer_is_named(tmp_path) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ArtifactError, match=r"compute.address tcp://127.0.0.1:9: .* not answer"),
    ):
        make(Toy(tmp_path / "log"), tmp_path, runner="dask", address="tcp://127.0.0.1:9")


SCRIPT = """
import sys
from pathlib import Path
from covid_debug.pool import DIED
from covid_debug.stages import Means, find_or_make
from flows.runners import open_runner
from flows.server import configure_environment, prefect_server
from tests.flows.shard_toys import Toy
from tests.flows.test_preflight import make_config

def main():
    folder = Path(sys.argv[1])
    configure_environment(folder)
    config = make_config(folder, compute={"n_workers": 2, "runner": "dask"})
    toy = Toy(folder / "log", n_films=400, film_s=float(sys.argv[2]))
    with prefect_server(), open_runner(config) as runner:
        print(find_or_make(toy, folder / "data", Means(), runner))

"""
GUARD = 'if __name__ == "__main__":\n    main()\n'


def start_script(folder: Path, film_s: float, ending: str) -> subprocess.Popen:
    script = folder / "script.py"
    script.write_text(SCRIPT + ending)
    (folder / "data").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(film_s)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_a_run_leaves_no_worker_and_the_next_start_goes_on(tmp_path, end) -> None:
    process = start_script(tmp_path, 0.2, GUARD)
    log = tmp_path / "log"
    while not log.exists() or len(log.read_text().splitlines()) < 8:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)

    if end == signal.SIGINT:
        os.killpg(process.pid, end)  # as a terminal does
    else:
        process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)

    assert alive == []
    before = worked_on(Toy(log))
    process = start_script(tmp_path, 0.0, GUARD)
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    again = [name for name, count in worked_on(Toy(log)).items() if count > 1]
    assert len(again) <= 2  # those that the two workers were at
    assert len(before) > len(again)


def test_a_script_without_a_guard_is_not_run_again_by_workers(tmp_path) -> None:
    process = start_script(tmp_path, 0.0, "main()\n")

    said, error = process.communicate(timeout=300)

    assert process.returncode == 0, error
    assert said.count("toy-") == 1
