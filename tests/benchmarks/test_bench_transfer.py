"""Random networks lay markers, too; an effect that is added is found."""

import json

import pytest

from benchmarks.transfer import bench_transfer
from covid_debug.errors import InputContractError
from covid_debug.imaging.regions import write_regions
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.terminal import RunConsole
from tests.films import build_filmset, make_film

BOX = ((8.0, 20.0), (24.0, 20.0), (24.0, 28.0), (8.0, 28.0))


def bench(folder, n_films):
    films = [
        make_film(i, split="test", source="ab"[i % 2], patient_id=f"{i}", label="normal")
        for i in range(n_films)
    ]
    filmset = build_filmset(folder / "films", films)
    text = [
        FilmRegions(film.image_id, 64, 70, (TextRegion(BOX, 0.9, None, "made"),))
        for film in filmset.films
    ]
    write_regions(folder / "regions.jsonl", text)
    bench_transfer(
        filmset.root,
        folder / "regions.jsonl",
        folder / "out",
        n_networks=3,
        n_seeds=3,
        image_size=32,
        n_films=20,
        seed=0,
        console=RunConsole(),
    )


def test_an_added_effect_is_found_and_none_is_not(tmp_path):
    bench(tmp_path, 20)

    rows = json.loads((tmp_path / "out" / "size.json").read_text())
    by_effect = {row["effect added (sd of a laying)"]: row for row in rows[:-1]}
    assert by_effect[0.0]["intervals"] > 0
    assert float(by_effect[0.0]["exclude 0"].rstrip("%")) <= 50
    assert rows[-1]["networks in an interval"] == 1


def test_too_few_patients_are_one_clear_error(tmp_path):
    with pytest.raises(InputContractError, match="6 films with text are too few for an interval"):
        bench(tmp_path, 6)
    assert not (tmp_path / "out").exists()
