import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.clean.fills import bench_fills
from benchmarks.clean.throughput import measure_throughput
from benchmarks.clean.variants import CleanBench, bench_clean
from benchmarks.tables import to_markdown
from covid_debug.cleaning.build import clean_filmset, placebo_regions
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.data.filmset import (
    FilmSet,
)
from covid_debug.records import FilmRegions
from covid_debug.terminal import RunConsole
from tests.films import make_marked_films


@pytest.fixture
def films(tmp_path: Path) -> tuple[FilmSet, dict[str, FilmRegions]]:
    return make_marked_films(tmp_path / "set", 96)


@pytest.fixture
def console() -> RunConsole:
    quiet = RunConsole()
    quiet.rich = Console(file=io.StringIO())
    return quiet


def test_bench_clean_compares_variants_in_one_table(films, tmp_path, console):
    filmset, regions = films
    variants = {"telea": CleaningParams(), "blur": CleaningParams(method="blur")}

    request = CleanBench(
        filmset,
        regions,
        variants,
        ProbeParams(n_trees=5, n_resamples=20, n_folds=3),
        n_workers=1,
    )
    results = bench_clean(request, tmp_path / "out", console)

    assert [result.name for result in results] == ["telea", "blur"]
    assert all(result.n_films == 12 for result in results)
    # Mean |fill - film| in noise of 5 grey levels: at least the film's own mean deviation, 4.
    assert all(3 < result.fill_error < 12 for result in results)
    with (tmp_path / "out/clean.csv").open() as stream:
        assert [row["variant"] for row in csv.DictReader(stream)] == ["telea", "blur"]
    assert (tmp_path / "out/clean.md").read_text() == to_markdown([r.to_row() for r in results])
    assert [path.name for path in tmp_path.iterdir()] in (["set", "out"], ["out", "set"])


def test_bench_fills_compares_placebo_with_cleaning(films, tmp_path, console):
    filmset, regions = films
    clean_filmset(filmset, regions, CleaningParams(), tmp_path / "cleaned")
    places = placebo_regions(filmset, regions, 0)
    clean_filmset(filmset, places, CleaningParams(), tmp_path / "placebo", shapes_from=regions)

    rows = bench_fills(
        filmset,
        {"cleaned": tmp_path / "cleaned", "placebo": tmp_path / "placebo"},
        tmp_path / "out",
        console,
        n_workers=1,
        params=ProbeParams(n_trees=5, n_resamples=20, n_folds=3),
    )

    cleaned, placebo = rows
    assert (cleaned["regions filled"], placebo["regions filled"]) == ("12", "12")
    assert placebo["without a place"] == "0"
    # Text of 255 on noise around 100 changes more than noise; the places are those of the text.
    assert float(cleaned["mean squared change"]) > 5 * float(placebo["mean squared change"])
    assert (cleaned["AUC against first"], cleaned["central 60 %"]) == ("", "100.0%")
    assert (tmp_path / "out/fills.md").read_text() == to_markdown(rows)


@pytest.mark.slow
def test_measure_throughput_memory_does_not_grow_with_the_number_of_films(tmp_path):
    found = measure_throughput(2000, 256, 2, tmp_path)

    for tenth, *_, end in zip(*found.memory_mb, strict=True):
        assert end < tenth + 10
