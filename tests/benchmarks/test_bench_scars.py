import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.clean.network_probe import N_TEXTURES, cut_patch, score_by_network
from benchmarks.clean.scars import (
    FILM_LIST,
    ScarBench,
    bench_scars,
    choose_films,
    parse_fill,
)
from covid_debug.cleaning.scar import ProbeParams, estimate_auc
from covid_debug.data.filmset import (
    FilmSet,
)
from covid_debug.errors import CatalogError, DataIntegrityError, InputContractError
from covid_debug.records import FilmRegions
from covid_debug.terminal import RunConsole
from tests.films import make_marked_films

QUICK = ProbeParams(n_folds=2, n_trees=10, n_resamples=20)


@pytest.fixture
def films(tmp_path: Path) -> tuple[FilmSet, dict[str, FilmRegions]]:
    return make_marked_films(tmp_path / "set", 128)


def test_a_smooth_fill_is_seen_by_both_probes_and_every_fill_has_its_row(films, tmp_path):
    quiet = RunConsole()
    quiet.rich = Console(file=io.StringIO())
    request = ScarBench(*films, fills=(("telea", 1), ("transplant", 1)), probe=QUICK)

    rows = bench_scars(request, tmp_path / "out", quiet)

    assert [(row["fill"], row["dilation"], row["films"]) for row in rows] == [
        ("telea", "1", "12"),
        ("transplant", "1", "12"),
    ]
    assert float(rows[0]["forest: filled"][:5]) > 0.9
    assert float(rows[0]["network: filled"][:5]) > 0.9
    with (tmp_path / "out" / "scars.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == rows
    assert "telea" in (tmp_path / "out" / "scars.md").read_text()


def test_the_network_sees_what_the_forest_is_not_told():
    # A fill with the film's own texture, turned upside down: no texture number differs.
    generator = np.random.default_rng(3)
    rows, positive, patients = [], [], []
    mask = np.zeros((96, 96), np.bool_)
    mask[38:58, 38:58] = True
    for index in range(80):
        ramp = np.tile(np.arange(96.0), (96, 1)).T % 8 * 6
        film = np.clip(100 + ramp + generator.normal(0, 2, (96, 96)), 0, 255)
        if index % 2:
            film[38:58, 38:58] = film[57:37:-1, 38:58]
        patch = cut_patch(film.astype(np.uint8), mask)
        assert patch is not None
        rows.append(patch[N_TEXTURES:])
        positive.append(bool(index % 2))
        patients.append(f"p{index // 2}")

    auc = estimate_auc(rows, positive, patients, QUICK, score_by_network)

    assert auc.value > 0.8


def test_the_network_probe_is_the_same_twice():
    rows = np.random.default_rng(0).normal(size=(40, 3 * 64 * 64))
    labels = np.arange(40) % 2 == 0

    first, second = (score_by_network(rows, labels, rows[:5], QUICK) for _ in range(2))

    assert np.array_equal(first, second)


def test_the_listed_films_are_two_sets_without_overlap():
    with FILM_LIST.open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    assert len({row["image_id"] for row in rows}) == len(rows) == 423
    assert [sum(row["set"] == name for row in rows) for name in ("chosen_on", "held_out")] == [
        219,
        204,
    ]


def test_films_that_are_not_those_of_the_list_are_refused(films):
    with pytest.raises(DataIntegrityError, match="none of the 204 films 'held_out'"):
        choose_films(films[0], "held_out")
    with pytest.raises(InputContractError, match="--films: 'test'; expected chosen_on or held_out"):
        choose_films(films[0], "test")


def test_a_fill_is_a_method_and_a_dilation():
    assert parse_fill("telea=3") == ("telea", 3)
    for wrong in ("telea", "telea=", "telea=-1", "telea:3"):
        with pytest.raises(InputContractError, match="METHOD=PX"):
            parse_fill(wrong)
    with pytest.raises(CatalogError, match=r"'telae'.*did you mean 'telea'"):
        parse_fill("telae=3")
