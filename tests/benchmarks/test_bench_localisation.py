"""Localisation: which films count, what is kept, and the rule that gives every method a place."""

import csv

import numpy as np
import pytest
import torch

from benchmarks.localisation.command import LocalisationBench, bench_localisation
from benchmarks.localisation.faithful import judge
from benchmarks.localisation.films import Candidates, select_driven
from benchmarks.localisation.lines import REFERENCES, Line, list_lines, make_reference
from benchmarks.localisation.measure import Located, Subject, locate
from benchmarks.localisation.phantoms import PhantomRecipe, find_phantoms
from benchmarks.localisation.sheets import write_sheet
from benchmarks.localisation.tables import list_places, write_results
from benchmarks.saliency.command import PRESETS
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.saliency.catalog import EXPLAINERS
from covid_debug.stages import Means
from tests.toys import SIDE, Patch, SmallNet, wrap

TOP, LEFT, WIDE = 4, 6, 5


def make_candidates(n=6):
    """Return films with a bright square that a model reads; every third shows it faintly."""
    generator = np.random.default_rng(0)
    twins = generator.integers(20, 60, (n, SIDE, SIDE)).astype(np.uint8)
    views, truth = twins.copy(), np.zeros((n, SIDE, SIDE), bool)
    views[:, TOP : TOP + WIDE, LEFT : LEFT + WIDE] = 240
    views[::3, TOP : TOP + WIDE, LEFT : LEFT + WIDE] = 90
    truth[:, TOP : TOP + WIDE, LEFT : LEFT + WIDE] = True
    harmless = np.zeros_like(truth)
    harmless[:, 12:, :3] = True
    names = [f"film-{i}" for i in range(n)]
    patients = [f"patient-{i // 2}" for i in range(n)]
    return Candidates("plant", names, patients, views, twins, truth, truth, harmless, truth)


def make_subject(n_films=9):
    classifier = wrap(Patch(TOP, LEFT, WIDE))
    films = select_driven(classifier, make_candidates(), n_films=n_films, seed=0)
    return Subject("patch", "key", classifier, films)


def run(subject, line, out, **changes):
    options = {"n_costly": 2, "seed": 0, "again": False, "say": lambda _: None} | changes
    return locate(subject, line, out, **options)


def test_only_driven_films_count_and_the_draw_is_the_seed_s():
    subject = make_subject()
    assert sorted(subject.films.names) == ["film-1", "film-2", "film-4", "film-5"]
    assert (subject.films.n_candidates, subject.films.n_driven) == (6, 4)
    assert subject.films.targets.tolist() == [1] * 4
    fewer = make_subject(n_films=2)
    assert list(fewer.films.names) == list(subject.films.names[:2])


def test_films_that_hang_on_something_else_too_are_left_out():
    found = make_candidates()
    changed = found.views.copy()
    changed[1] = found.twins[1]
    rest = Candidates(*(getattr(found, n) for n in found.__slots__[:-1]), others=(changed,))
    films = select_driven(wrap(Patch(TOP, LEFT, WIDE)), rest, n_films=9, seed=0)
    assert sorted(films.names) == ["film-2", "film-4", "film-5"]


def test_the_catalogue_is_listed_without_the_slow_presets():
    lines = list_lines(wrap(SmallNet(3, 32), 32, 3), ())
    assert {line.method for line in lines if line.method} == set(EXPLAINERS) - set(PRESETS)
    assert [line.name for line in lines[:4]] == list(REFERENCES)


def test_references_see_no_model():
    films = make_subject().films
    for name in REFERENCES:
        saliency = make_reference(name, films)
        assert saliency.shape == films.images.shape
        assert saliency.isfinite().all()
    torch.testing.assert_close(make_reference("film brightness", films), films.images)


def test_maps_are_measured_kept_and_found_again(tmp_path):
    subject, line = make_subject(), Line("integrated_gradients", "integrated_gradients")
    first = run(subject, line, tmp_path)
    assert len(first) == 4
    assert all(one.mass > 0.9 and one.pointing == 1 for one in first)
    assert all(one.harmless_mass < 0.1 and abs(one.completeness) < 0.05 for one in first)
    assert run(subject, line, tmp_path) == first
    lines = (tmp_path / "localisation.jsonl").read_text().splitlines()
    assert len(lines) == 4
    run(subject, line, tmp_path, again=True)
    assert len((tmp_path / "localisation.jsonl").read_text().splitlines()) == 8


def test_only_maps_that_claim_a_sum_have_an_error_of_it(tmp_path):
    for name in ("lime", "kernel_shap", "igos_pp"):
        found = run(make_subject(), Line(name, name), tmp_path)
        assert found
        assert all(one.completeness is None for one in found)


def test_costly_methods_explain_fewer_films(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.localisation.measure.COSTLY_EVALUATIONS", 10)
    assert len(run(make_subject(), Line("igos_pp", "igos_pp", {"grid_size": 4}), tmp_path)) == 2
    assert len(run(make_subject(), Line("gradient", "gradient"), tmp_path)) == 4


def test_a_refusal_is_kept_with_its_sentence(tmp_path):
    found = run(make_subject(), Line("grad_cam", "grad_cam", {"target_layer": "no.such"}), tmp_path)
    assert all("no.such" in one.refused and one.mass is None for one in found)
    assert judge(
        make_subject(), Line("grad_cam", "grad_cam"), found, tmp_path, n_films=2, n_sensitive=1,
        seed=0, again=False, say=lambda _: None,
    ) == []  # fmt: skip


def test_kept_maps_are_judged_once(tmp_path):
    subject, line = make_subject(), Line("input_x_gradient", "input_x_gradient")
    located = run(subject, line, tmp_path)
    options = {"n_films": 3, "n_sensitive": 1, "seed": 0, "again": False, "say": lambda _: None}
    found = judge(subject, line, located, tmp_path, **options)
    assert len(found) == 3
    assert found[0].max_sensitivity > 0
    assert found[1].max_sensitivity is None
    for one in found:
        assert one.deletion < one.insertion
        assert one.deletion_gray is not None
        assert 0 <= one.road <= 1
        assert 0 <= one.infidelity <= 1
    assert judge(subject, line, located, tmp_path, **options) == found


def test_tables_and_sheet_hold_every_line(tmp_path):
    subject = make_subject()
    lines = [Line("film edges"), Line("gradient", "gradient"),
             Line("igos_pp 4", "igos_pp", {"grid_size": 4})]  # fmt: skip
    done = [run(subject, line, tmp_path) for line in lines]
    found = [one for some in done for one in some]
    text = write_results(tmp_path, found, {}, "### Films\n", seed=0)
    for line in lines:
        assert f"| {line.name} |" in text
    with (tmp_path / "localisation.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(found)
    write_sheet(tmp_path / "sheet.png", subject.films, done, tmp_path, n_films=2)
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def make_record(line, mass, film="f", kind="plant", **changes):
    values = dict.fromkeys(Located.__slots__)
    values |= {"key": f"{line}{film}{kind}", "model": "m", "kind": kind, "line": line,
               "film": film, "patient": film, "mass": mass, "rank_accuracy": mass,
               "pointing": mass, "area": 0.1, "void_reason": 0, "refused": ""}  # fmt: skip
    return Located(**(values | changes))


def test_places_follow_the_rule():
    found = [
        make_record("igos_pp 28", 0.5), make_record("igos_pp 28", 0.9, "g"),
        make_record("better", 0.6), make_record("better", 1.0, "g"),
        make_record("fewer films", 0.55),  # better on its film, though its mean is low
        make_record("void", None), make_record("void", None, "g"),
    ]  # fmt: skip
    places = list_places(found)
    assert [row["method"] for row in places] == ["better", "fewer films", "igos_pp 28", "void"]
    assert [row["place"] for row in places] == ["0.000", "0.333", "0.667", "1.000"]


def test_a_place_is_the_mean_over_kinds_of_truth():
    found = [
        make_record("igos_pp 28", 0.5), make_record("a", 0.6), make_record("b", 0.4),
        make_record("igos_pp 28", 0.5, kind="sign"), make_record("a", 0.1, kind="sign"),
        make_record("b", 0.4, kind="sign"),
    ]  # fmt: skip
    places = {row["method"]: row for row in list_places(found)}
    assert places["a"]["place"] == places["b"]["place"].replace("0.750", "0.500")
    assert (places["a"]["plant"], places["a"]["sign"]) == ("0.00", "1.00")
    assert places["igos_pp 28"]["place"] == "0.250"


def test_phantoms_bear_what_their_truth_says():
    recipe = PhantomRecipe(n_probe=6)
    mark, sign = find_phantoms(recipe, ViewSpec(image_size=64), "test")
    assert len(mark.names) >= 4
    assert len(sign.names) == 4  # every third film is normal
    for found in (mark, sign):
        assert found.truth.any(axis=(1, 2)).all()
        changed = found.views != found.twins
        # A mark changes nothing outside itself.
        if found is mark:
            assert not (changed & ~found.truth).any()
        else:
            difference = np.abs(found.views.astype(int) - found.twins).astype(float)
            inside = [d[t].mean() for d, t in zip(difference, found.truth, strict=True)]
            outside = [d[~t].mean() for d, t in zip(difference, found.truth, strict=True)]
            assert np.mean(inside) > 5 * np.mean(outside)
    other, _ = find_phantoms(recipe, ViewSpec(image_size=64), "val")
    assert not set(other.names) & set(mark.names)


def test_real_films_need_their_text(tmp_path):
    with pytest.raises(InputContractError, match="give --data DIR and --regions DIR together"):
        bench_localisation(LocalisationBench(data=tmp_path), tmp_path, Means())
    with pytest.raises(InputContractError, match="--kind 'plants': expected one of plant, mark"):
        bench_localisation(LocalisationBench(kinds=("plants",)), tmp_path, Means())
