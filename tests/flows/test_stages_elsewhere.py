"""Stages that go film by film: on threads, and on a cluster whose workers are killed in them."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra dask is not installed")

import dask

from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import AuditRequest
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.cleaning.stage import CleanRequest, PlaceboRequest, ProofRequest
from covid_debug.data.filmset import load_filmset
from covid_debug.data.stage import CovidxData
from covid_debug.explaining import ExplainRequest
from covid_debug.pool import DIED
from covid_debug.stages import Means, find_or_make
from covid_debug.text.stage import RegionsRequest, TextParams
from flows.runners import open_runner
from tests.cli import call
from tests.flows.shard_toys import Deadly
from tests.flows.test_dask_cluster import start_cluster
from tests.flows.test_preflight import make_config
from tests.flows.test_runners import Told

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]
FEW = AuditParams(grid_size=8, max_explained=2, control_share=0.5, igos={"n_iterations": 2})
PROBE = ProbeParams(max_films=4, n_trees=5, n_resamples=20)
STAGES = {
    "ingest": lambda at: CovidxData(
        "covidx", at / "films", at / "train.txt", at / "test.txt", val_share=0.3
    ),
    "scan": lambda at: RegionsRequest(at / "films", TextParams("strokes")),
    "cleaning": lambda at: CleanRequest(at / "films", at / "films/truth_regions.jsonl"),
    "placebo": lambda at: PlaceboRequest(at / "films", at / "films/truth_regions.jsonl"),
    "proof": lambda at: ProofRequest(at / "films", at / "cleaned", PROBE, "strokes"),
    "audit": lambda at: AuditRequest(
        at / "model", at / "films", at / "films/truth_regions.jsonl", FEW
    ),
    "explain": lambda at: ExplainRequest(at / "model", data=at / "films", method="gradient"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Phantoms, lists that name them, a cleaned copy, a model."""
    at = tmp_path_factory.mktemp("stages")
    assert call("phantom", "--n-train", 12, "--n-test", 12, "--out", at / "films").code == 0
    films = load_filmset(at / "films").films
    for split in ("train", "test"):
        lines = [
            f"p{i} {Path(film.path).name} {film.label} sirm\n"
            for i, film in enumerate(films)
            if Path(film.path).parts[0] == split
        ]
        (at / f"{split}.txt").write_text("".join(lines))
    STAGES["cleaning"](at).make(at / "cleaned", Means(n_workers=1))
    small = ("--arch", "resnet18_half", "--image-size", 32, "--epochs", 1)
    assert call("train", "--data", at / "films", *small, "--out", at / "model").code == 0
    return at


@pytest.fixture(scope="module")
def address():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        start_cluster() as cluster,
    ):
        yield cluster.scheduler_address


def choose(stage: str, place: Path) -> tuple[str, str]:
    """Return the names of the film that kills always, and of the one that kills once."""
    if stage == "explain":
        return "00000", "00008"  # groups of eight
    films = load_filmset(place / "films").select("test")[2:4]
    if stage == "ingest":
        films = [place / "films" / film.path for film in films]
        return str(films[0]), str(films[1])
    return films[0].image_id, films[1].image_id


def read(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_workers_leave_the_bytes_of_one_process_and_the_deadly_film_is_recorded(
    stage, place, address, tmp_path
) -> None:
    request, (deadly, once) = STAGES[stage](place), choose(stage, place)
    means = Means(listener=Told(), cache_dir=tmp_path / "views", max_failed_share=0.5)
    seen, alone, store = (tmp_path / name for name in ("seen", "alone", "data"))
    for folder in (seen, alone, store):
        folder.mkdir()
    known = lambda *a: {deadly: DIED} if deadly in a[3] else {}  # noqa: E731
    expected = find_or_make(request, alone, means, known)
    config = make_config(tmp_path, compute={"runner": "dask", "address": address})

    told = Told()
    means = replace(means, listener=told)
    with open_runner(config) as runner:
        found = find_or_make(Deadly(request, deadly, once, seen), store, means, runner)

    deaths = [len(path.read_text().splitlines()) for path in seen.iterdir()]
    assert 1 in deaths
    assert max(deaths) in {2, 3}  # one more where another shard was at the worker
    assert read(found) == read(expected)
    assert f"{deadly}: {DIED}; it is recorded as unusable" in told.warnings
    assert [path.name for path in store.iterdir()] == [found.name]


@pytest.mark.parametrize("stage", ["audit", "explain"])  # the others: test_runners
def test_threads_that_ask_a_model_write_the_bytes_of_one_process(stage, place, tmp_path) -> None:
    request = STAGES[stage](place)
    means = Means(cache_dir=tmp_path / "views")
    config = make_config(tmp_path, compute={"runner": "threads", "n_workers": 2})
    stores = [tmp_path / name for name in ("alone", "data")]
    for store in stores:
        store.mkdir()

    alone = find_or_make(request, stores[0], means)
    with open_runner(config) as runner:
        found = find_or_make(request, stores[1], means, runner)

    assert read(found) == read(alone)
