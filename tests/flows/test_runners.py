"""Films are worked on elsewhere, each once, and the artifact is the same whoever did it."""

import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from covid_debug.artifacts import hash_file
from covid_debug.errors import ArtifactError, ConfigError
from covid_debug.pool import DIED
from covid_debug.progress import Silent
from covid_debug.shards import Records, Shard, ShardFinished
from covid_debug.stages import Means, find_or_make
from flows import workers
from flows.engines import Engine, WorkerDiedError, open_threads
from flows.runners import cut, open_runner, run_shards
from flows.workers import Terms
from tests.flows.shard_toys import Toy
from tests.flows.test_preflight import make_config
from tests.unit.test_sharded_stages import QUIET, STAGES, content, place, whole  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]


class Told(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def make(toy, folder, *, listener=None, **compute):
    means = Means(listener=listener or Told(), max_failed_share=0.2)
    config = make_config(folder, compute={"n_workers": 2} | compute)
    store = folder / "data"
    store.mkdir(exist_ok=True)
    with open_runner(config) as runner:
        return find_or_make(toy, store, means, runner)


def worked_on(toy) -> Counter:
    return Counter(line.split()[0] for line in toy.log.read_text().splitlines())


@pytest.mark.parametrize(
    ("n_films", "n_workers", "expected"),
    [(3, 2, 3), (40, 2, 8), (30_000, 2, 60), (30_000, 40, 160), (10_000_000, 8, 1000)],
)
def test_films_are_cut_into_few_shards(n_films: int, n_workers: int, expected: int) -> None:
    assert cut(n_films, n_workers) == expected


def test_processes_make_no_shards(tmp_path: Path) -> None:
    with open_runner(make_config(tmp_path)) as runner:
        assert runner is None


def test_threads_work_on_each_film_once_and_write_the_same(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log")
    (tmp_path / "alone").mkdir()
    alone = find_or_make(toy, tmp_path / "alone", Means())
    toy.log.unlink()
    toy.begun.unlink()

    made = make(toy, tmp_path, runner="threads")

    assert worked_on(toy) == Counter(toy.names)
    assert len(toy.begun.read_text().splitlines()) == 1 + 2  # for the run, and in each thread
    assert hash_file(made / "films.txt") == hash_file(alone / "films.txt")


@pytest.mark.parametrize("stage", STAGES)
def test_threads_write_the_bytes_of_one_process_in_every_stage(
    stage,
    place,  # noqa: F811
    whole,  # noqa: F811
    tmp_path,
) -> None:
    request, out = STAGES[stage](place), tmp_path / stage
    threads = partial(run_shards, partial(open_threads, 2), request, out, QUIET)

    request.make(out, replace(QUIET, elsewhere=threads))

    assert content(out) == content(whole(stage))
    assert [path.name for path in tmp_path.iterdir()] == [stage]


def test_what_an_earlier_start_finished_is_not_worked_on_again(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log")
    target = tmp_path / "data" / toy.key()
    target.parent.mkdir()
    with pytest.raises(ShardFinished):
        toy.make(target, Means(shard=Shard(1, 2)))
    toy.log.unlink()

    make(toy, tmp_path, runner="threads")

    assert worked_on(toy) == Counter(toy.names[12:])


def test_an_error_in_a_shard_is_the_runs_and_ends_the_others(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log", n_films=200, failing="film0003", film_s=0.05)

    with pytest.raises(ValueError, match="film0003 cannot be"):
        make(toy, tmp_path, runner="threads")

    assert len(worked_on(toy)) < 40
    assert [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name] == []


class Deaths:
    """An engine whose workers die on some films, here."""

    def __init__(self, *deadly: str, innocent: str = "", blamed: str = "") -> None:
        self.deadly = deadly
        self.innocent = innocent  # dies once, in company
        self.deaths_of_blamed = {blamed: ["worker 1", "worker 0"]}  # once beside a deadly one
        self.n_deaths = 0

    @contextmanager
    def __call__(self, toy, target, means):
        def make(shard):
            with_names = shard.of(toy.names)
            records = Records(target.with_name(f".{target.name}.part-0.films"))
            for name in with_names:
                if name in self.deadly or (name == self.innocent and self.n_deaths == 0):
                    self.n_deaths += 1
                    raise WorkerDiedError(f"worker {self.n_deaths}")
                if workers := self.deaths_of_blamed.get(name):
                    raise WorkerDiedError(workers.pop(0))
                if name not in records:
                    records.add({"name": name, "value": int(name[4:])})

        yield Engine(2, 1, make, check=lambda: None, stop=lambda: None)


def lose(toy, tmp_path, engine, share=0.2):
    told = Told()
    means = Means(listener=told, max_failed_share=share)
    return find_or_make(toy, tmp_path, means, partial(run_shards, engine)), told.warnings


def test_a_deadly_film_is_found_in_few_deaths_and_recorded(tmp_path: Path) -> None:
    engine, toy = Deaths("film0777"), Toy(tmp_path / "log", n_films=2000)

    made, warnings = lose(toy, tmp_path, engine)

    lines = (made / "films.txt").read_text().splitlines()
    assert [line for line in lines if "worker" in line] == [f"film0777 {DIED}"]
    assert warnings == [f"film0777: {DIED}; it is recorded as unusable"]
    assert engine.n_deaths == 2


def test_a_film_that_does_its_work_alone_is_not_lost(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log")

    made, warnings = lose(toy, tmp_path, Deaths(innocent="film0003"))

    assert "worker" not in (made / "films.txt").read_text()
    assert warnings == []


def test_a_film_that_waited_where_another_killed_may_die_once_more(tmp_path: Path) -> None:
    toy, engine = Toy(tmp_path / "log"), Deaths("film0001", blamed="film0020")

    made, warnings = lose(toy, tmp_path, engine)

    lines = (made / "films.txt").read_text().splitlines()
    assert [line for line in lines if "worker" in line] == [f"film0001 {DIED}"]
    assert warnings == [f"film0001: {DIED}; it is recorded as unusable"]
    assert engine.n_deaths == 3  # the first is no proof: film0020 was at that worker, too


def test_workers_that_die_on_many_films_end_the_stage(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log", n_films=100)
    engine = Deaths(*toy.names)

    with pytest.raises(ArtifactError, match=r"toy: workers died on \d+ films .*start again"):
        lose(toy, tmp_path, engine)

    assert engine.n_deaths < 60


def test_more_lost_films_than_allowed_end_the_stage(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log", n_films=100)

    with pytest.raises(ArtifactError, match=r"workers died on 2 films .first: film0005"):
        lose(toy, tmp_path, Deaths("film0005", "film0060"), share=0.01)


def test_a_stage_that_can_refuse_no_film_names_it(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log", can_refuse=False)

    with pytest.raises(ArtifactError, match=r"film0005: a worker process died .*; what is"):
        lose(toy, tmp_path, Deaths("film0005"))


def test_an_address_without_dask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is tcp://h:1 .*'threads'; expected dask"):
        make_config(tmp_path, compute={"runner": "threads", "address": "tcp://h:1"})


def test_the_runner_is_named(tmp_path: Path) -> None:
    def name(**compute) -> str:
        return make_config(tmp_path, compute=compute).compute.describe_runner()

    assert name() == "2 processes on this machine"
    assert name(runner="dask", n_workers=3) == "3 Dask workers on this machine"
    assert name(runner="dask", address="tcp://h:1") == "the Dask cluster at tcp://h:1"


def test_a_worker_is_not_fit_where_it_differs_or_does_not_see(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(workers, "SEEN_WITHIN_S", 0.0)
    monkeypatch.setattr(workers, "limit_threads", lambda: None)
    monkeypatch.chdir(tmp_path)
    token = tmp_path / "token"
    token.touch()
    same = Terms.of_this_process(token, ())

    assert same.find_breach() is None
    assert "has another covid_debug" in replace(same, code="0123").find_breach()
    others = same.packages | {"torch": "1.0"}
    assert re.fullmatch(
        r"has torch \S+, the run has 1.0; .*", replace(same, packages=others).find_breach()
    )
    films = tmp_path / "films"
    assert f"does not see {films} as" in replace(same, places=(films,)).find_breach()
    absent = tmp_path / "data" / "token"
    assert f"does not see {absent.parent} as" in replace(same, token=absent).find_breach()


def test_records_that_a_drive_shows_late_are_waited_for(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "log")
    aside = tmp_path / "aside"

    @contextmanager
    def slow_drive(toy, target, means):
        def make(shard):
            with pytest.raises(ShardFinished):
                toy.make(target, replace(means, shard=shard))
            folder = target.with_name(f".{target.name}.part-0.films")
            aside.mkdir(exist_ok=True)
            for path in folder.glob("*.jsonl"):
                hidden = path.rename(aside / path.name)
                threading.Timer(1.0, hidden.rename, [path]).start()

        yield Engine(1, 1, make, check=lambda: None, stop=lambda: None)

    find_or_make(toy, tmp_path, Means(), partial(run_shards, slow_drive))

    assert worked_on(toy) == Counter(toy.names)
