"""Small versions of `bench plants`: dealing, burning, truth, scores, and the whole on phantoms."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks.plants import command
from benchmarks.plants.command import PlantBench, bench_plants
from benchmarks.plants.dealing import PlantParams, PlantRequest, deal, load_plants
from benchmarks.plants.glyphs import FONT_NAMES, Look, Plant, burn, draw_glyphs, find_place
from benchmarks.plants.overlap import draw_rows
from benchmarks.plants.scores import Judged, choose_threshold, score_judged
from benchmarks.plants.tables import is_counted
from benchmarks.plants.truth import Truth, find_truth, render_twins
from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import TRUTH_REGIONS_NAME
from covid_debug.data.phantom.generate import generate_phantom
from covid_debug.data.views import load_views
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec, compute_geometry
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions, regions_to_mask
from covid_debug.models.classifier import Classifier
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole
from covid_debug.text.stage import RegionsRequest, TextParams
from tests.films import CLASS_NAMES, make_film

SIZE = 32


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plants") / "phantom"
    generate_phantom(out, n_train=16, n_test=8, seed=0)
    return out


@pytest.mark.parametrize("font", FONT_NAMES)
@pytest.mark.parametrize("content", ["R", "PORTABLE"])
def test_glyphs_have_the_asked_height_and_touch_all_four_sides(font, content):
    ink = draw_glyphs(content, font, 19)

    assert ink.shape[0] == 19
    assert ink.min() >= 0
    assert ink.max() <= 1
    edges = (ink[0], ink[-1], ink[:, 0], ink[:, -1])
    assert all(edge.max() > 0 for edge in edges)


def test_burn_changes_pixels_inside_the_plants_box_only():
    film = np.full((80, 90), 50, np.uint8)
    wide = draw_glyphs("R", "hershey", 16).shape[1]
    plant = Plant("learned", "R", "hershey", 0.2, 10, 20, 16, wide, 250)

    burned = burn(film, [plant])

    inside = np.zeros(film.shape, bool)
    inside[plant.window] = True
    assert (film == 50).all()
    assert (burned[~inside] == 50).all()
    assert burned[plant.window].max() == 250


def test_find_place_stays_in_the_view_off_taken_pixels_and_gives_up_on_a_bright_film():
    geometry = compute_geometry(120, 100, ViewSpec(SIZE))
    film, taken = np.zeros((100, 120), np.uint8), np.zeros((100, 120), bool)
    taken[:, 60:] = True
    look = Look("harmless", "L", "pillow", 0.1, 220)

    plants = [find_place(look, film, taken, geometry, np.random.default_rng(k)) for k in range(30)]

    for plant in plants:
        assert plant is not None
        assert geometry.y0 <= plant.top
        assert plant.top + plant.high <= geometry.y0 + geometry.side
        assert geometry.x0 <= plant.left
        assert plant.left + plant.wide <= 60
    assert find_place(look, film + 200, taken, geometry, np.random.default_rng(0)) is None


def test_deal_gives_the_plant_to_the_share_of_its_class_and_to_no_other_class():
    params = PlantParams(plant_class="pneumonia")
    films = [make_film(k) for k in range(900)]

    def bearing(correlation):
        looks = {film.image_id: deal(film, params, correlation, 0) for film in films}
        return {name for name, found in looks.items() if any(x.role == "learned" for x in found)}

    own = {film.image_id for film in films if film.label == "pneumonia"}
    half, all_of_it, probe = bearing(0.5), bearing(1.0), bearing(None)
    assert all_of_it == own
    assert half < own
    assert 110 < len(half) < 190  # 300 films; 5 standard deviations are 43
    assert bearing(0.75) > half
    for name in CLASS_NAMES:
        members = {film.image_id for film in films if film.label == name}
        assert 107 < len(probe & members) < 193


def test_deal_gives_harmless_plants_to_all_classes_alike():
    films = [make_film(k) for k in range(900)]
    looks = [deal(film, PlantParams(), 1.0, 0) for film in films]

    for name in CLASS_NAMES:
        own = [found for film, found in zip(films, looks, strict=True) if film.label == name]
        assert 107 < sum(any(x.role == "harmless" for x in found) for found in own) < 193


def test_params_refuse_a_harmless_plant_that_is_the_learned_one():
    with pytest.raises(InputContractError, match="other than the learned 'R'"):
        PlantParams(learned="R", harmless=("R",))


def test_planting_refuses_an_unknown_class(phantoms, tmp_path):
    request = PlantRequest(
        phantoms, phantoms / TRUTH_REGIONS_NAME, 1.0, PlantParams(plant_class="pneumonai")
    )

    with pytest.raises(InputContractError, match="did you mean 'pneumonia'"):
        request.make(tmp_path / "out", Means())


def test_planted_copy_keeps_native_text_and_its_twin_is_the_film_as_it_was(phantoms, tmp_path):
    regions = read_regions(phantoms / TRUTH_REGIONS_NAME)
    request = PlantRequest(phantoms, phantoms / TRUTH_REGIONS_NAME, None)

    probe = request.make(tmp_path / "probe", Means(n_workers=1))

    before = {film.image_id: film for film in load_filmset(phantoms).films}
    plants, original = load_plants(tmp_path / "probe"), load_filmset(phantoms)
    assert {film.split for film in probe.films} == {"val", "test"}
    for film in probe.films:
        was = read_film(original.file_of(before[film.image_id])).to_uint8()
        now = read_film(probe.file_of(film)).to_uint8()
        native = regions[film.image_id].regions
        text = regions_to_mask(native, film.width, film.height)
        assert (was[text] == now[text]).all()
        assert bool((was != now).any()) == bool(plants[film.image_id].plants)
    twins = render_twins(original, probe.select("test"), plants, ViewSpec(SIZE))
    seen = load_views(original, original.select("test"), ViewSpec(SIZE), tmp_path / "views")
    np.testing.assert_array_equal(twins.views["without_both"], seen)


class _Brightest(nn.Module):
    """Calls a view the last class when its brightest pixel is above a level."""

    def forward(self, planes):
        peak = planes.amax(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(peak), torch.zeros_like(peak) - 1, peak], dim=1)


def test_truth_is_that_the_class_changes_with_the_plant(phantoms, tmp_path):
    request = PlantRequest(phantoms, phantoms / TRUTH_REGIONS_NAME, None)
    probe = request.make(tmp_path / "probe", Means(n_workers=1))
    plants = load_plants(tmp_path / "probe")
    twins = render_twins(load_filmset(phantoms), probe.select("test"), plants, ViewSpec(SIZE))
    for kind in twins.views:  # the plant alone decides how bright a view is
        lit = [
            any(p.role == "learned" for p in item.plants)
            and kind not in {"without_learned", "without_both"}
            for item in twins.plants
        ]
        twins.views[kind][:] = np.where(np.array(lit)[:, None, None], 255, 0)
    model = Classifier(_Brightest(), class_names=CLASS_NAMES, image_size=(SIZE, SIZE))

    truth = find_truth(model, twins)

    assert any(item.has_learned for item in truth)
    assert all(item.is_driven == item.has_learned for item in truth)
    assert all(item.is_undriven != item.has_learned for item in truth)


def test_is_counted_leaves_out_what_only_the_harmless_plant_changes():
    clear = Truth(make_film(0), False, True, "a", "a", "a", "a")

    assert is_counted(clear)
    assert not is_counted(replace(clear, without_harmless="b"))
    assert not is_counted(replace(clear, without_both="b"))
    assert is_counted(replace(clear, has_learned=True, without_learned="b"))


def test_choose_threshold_takes_the_best_f1():
    # At .8: 2 of 2 right, F1 = 4/5; at .4: 3 of 5 right, F1 = 6/8; at .9: 1 of 1, F1 = 2/4.
    scores, driven = [0.9, 0.8, 0.7, 0.6, 0.4], [True, True, False, False, True]

    assert choose_threshold(scores, driven) == 0.8
    assert choose_threshold([0.5], [False]) == float("inf")


def test_score_counts_flags_and_compares_scores_within_a_model():
    judged = [
        Judged("a", "p1", True, 0.9, True),
        Judged("a", "p2", True, 0.2, False),
        Judged("a", "p3", False, 0.5, True),
        Judged("b", "p4", True, 5.0, True),
        Judged("b", "p5", False, 4.0, False),
    ]

    score = score_judged(judged, seed=0)

    assert (score.n, score.n_driven) == (5, 3)
    assert score.precision.value == pytest.approx(2 / 3)
    assert score.recall.value == pytest.approx(2 / 3)
    assert score.false_alarms.value == pytest.approx(1 / 2)
    assert score.auroc.value == pytest.approx(2 / 3)  # pairs of a: won, lost; of b: won


def test_intervals_count_patients_and_not_films():
    films = [Judged("a", f"p{k}", k < 8, float(k < 6), k < 6) for k in range(16)]
    repeated = [replace(item, model=f"{m}") for m in range(5) for item in films]

    once, often = score_judged(films, seed=0), score_judged(repeated, seed=0)

    assert often.recall.high - often.recall.low >= 0.9 * (once.recall.high - once.recall.low)


def test_draw_rows_depends_on_no_other_film():
    films = [make_film(k) for k in range(20)]

    few, more = draw_rows(films, 5, 0), draw_rows(films[::-1], 9, 0)

    assert few == sorted(few)
    assert {films[row].image_id for row in few} < {films[::-1][row].image_id for row in more}


def test_bench_plants_measures_every_method_on_phantoms(phantoms, tmp_path, monkeypatch):
    quick = partial(RegionsRequest, text=TextParams("strokes"))
    monkeypatch.setattr(command, "RegionsRequest", quick)
    console = RunConsole()
    console.rich = Console(file=io.StringIO())
    means = Means(console, tmp_path / "views", n_workers=1)
    bench = PlantBench(
        phantoms,
        phantoms / TRUTH_REGIONS_NAME,
        correlations=(1.0,),
        archs=("covidnet",),
        seeds=(0,),
        image_size=SIZE,
        n_epochs=1,
        methods=("gradient",),
        n_maps=4,
    )

    text = bench_plants(bench, tmp_path / "out", means)

    assert "covidnet rho 1 seed 0" in text
    assert "audit (score: fall of p)" in text
    assert (tmp_path / "out/plants.md").read_text() == text
    assert (tmp_path / "out/plants.csv").read_text().startswith("method,predictions,driven")
    monkeypatch.setattr(command.TrainRequest, "make", None)  # a second start trains nothing
    assert bench_plants(bench, tmp_path / "out", means) == text
