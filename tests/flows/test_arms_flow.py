"""A run with arms that change films and recipes, more test sets, and a source left out."""

import csv
from pathlib import Path

import pytest

from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.selection import plan_folds
from covid_debug.terminal import RunConsole
from tests.films import build_filmset, make_film
from tests.flows.test_debug_covidx import make_config

pytestmark = [
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
    pytest.mark.usefixtures("prefect_server"),
]


def leave_one_out(films: FilmSet) -> tuple[tuple[str, ...], dict[str, str]]:
    sources, _ = plan_folds(films)
    return sources[:1], dict.fromkeys(sources[1:], "one is enough here")


def test_every_arm_is_tested_on_every_version_and_on_the_source_it_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.debug_covidx import count_stages, debug_covidx

    monkeypatch.setattr("flows.debug_covidx.plan_folds", leave_one_out)
    other = build_filmset(tmp_path / "other", [make_film(i, split="test") for i in range(6)])
    config = make_config(
        tmp_path,
        arms=["original", "uniform_marker", "random_text"],
        tests=["decoys", "swapped"],
        external={"other": str(other.root)},
        leave_out_sources=True,
        audited_seeds=1,
        proof={"max_films": 0},
        audit={"grid_size": 8, "max_explained": 0, "n_nulls": 4},
    )
    n_stages = count_stages(config)

    debug_covidx(config, RunConsole(n_stages))

    said = capsys.readouterr().out
    assert f"[{n_stages}/{n_stages}] Report" in said
    assert "cannot be left out: one is enough here" in said
    (folder,) = config.data_dir.glob("comparison-*")
    with (folder / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    tests = ["original", "decoys", "swapped", "text_free", "text_swapped", "other", "unseen_source"]
    found = list(dict.fromkeys((row["train_data"], row["test_data"]) for row in rows))
    assert sorted(found) == sorted((arm, test) for arm in config.arms for test in tests)
    (original,) = config.data_dir.glob("filmset-*")
    films = load_filmset(original)
    (source,) = leave_one_out(films)[0]
    for arm in config.arms:
        unseen = [
            row["image_id"]
            for row in rows
            if (row["train_data"], row["test_data"]) == (arm, "unseen_source")
        ]
        assert unseen == [film.image_id for film in films.films if film.source == source]
    # What an arm's models see is made of every version, and once for films as they are.
    kinds = ("uniform-marker", "decoys", "swapped", "without-source")
    counts = {kind: len(list(config.data_dir.glob(f"{kind}-*"))) for kind in kinds}
    assert counts == {"uniform-marker": 6, "decoys": 1, "swapped": 1, "without-source": 2}
