"""What the tasks ask for, without making it."""

from pathlib import Path
from typing import Any

import pytest

from covid_debug.config.loader import build_config
from covid_debug.stages import Means, Request, Runner
from covid_debug.terminal import RunConsole
from flows import tasks

TREE = {
    "name": "tiny",
    "data": {"kind": "phantom", "n_train": 30, "n_test": 12, "seed": 1},
    "seeds": [2, 3],
    "run_seed": 7,
    "compute": {"n_workers": 5, "device": "meta", "max_failed_share": 0.5},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the requests and means of every task of a run, by stage."""
    found: dict[str, Any] = {}

    def note(request: Request, store: Path, means: Means, _: Runner | None) -> Path:
        found[request.stage] = request
        found["means"] = means
        return store / request.stage

    for name in ("describe_regions", "tell_proof"):
        monkeypatch.setattr(tasks, name, lambda *_: ())
    monkeypatch.setattr(tasks, "find_or_make", note)
    run = tasks.Run(build_config(TREE, where="test"), RunConsole())
    films = tasks.ingest.fn(run)
    regions = tasks.find_text.fn(run, films)
    cleaned = tasks.make_version.fn(run, "cleaned", films, regions)
    tasks.prove.fn(run, films, cleaned)
    tasks.make_version.fn(run, "placebo", films, regions)
    tasks.make_version.fn(run, "swapped", films, regions)
    model = tasks.train.fn(run, "original", films, cleaned, 3)
    audited = tasks.audit.fn(run, model, films, regions)
    tasks.calibrate.fn(run, audited, model, films)
    tasks.compare.fn(run, {("original", 3): model}, {"original": films}, {}, {})
    tasks.confounds.fn(run, films, regions)
    tasks.shortcuts.fn(run, [model], films, regions, cleaned)
    return found


def test_run_seed_decides_everything_random_but_films_and_trainings(asked: dict[str, Any]) -> None:
    seeds = {
        "films": asked["filmset"].seed,
        "training": asked["checkpoint"].seed,
        "proof": asked["cleaning-proof"].params.seed,
        "placebo": asked["placebo"].seed,
        "swapped": asked["swapped"].seed,
        "audit": asked["audit"].run_seed,
        "bootstrap": asked["comparison"].seed,
        "confounds": asked["confounds"].seed,
        "shortcuts": asked["shortcuts"].run_seed,
    }

    assert (seeds.pop("films"), seeds.pop("training")) == (1, 3)
    assert set(seeds.values()) == {7}


def test_every_stage_gets_the_means_of_the_configuration(asked: dict[str, Any]) -> None:
    means = asked["means"]

    assert (means.n_workers, means.device, means.max_failed_share) == (5, "meta", 0.5)
    assert means.cache_dir == Path("data/views")
