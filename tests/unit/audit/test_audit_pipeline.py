"""The audit finds exactly the films whose prediction the text makes."""

import json
import math
import os
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.artifacts import find_damage
from covid_debug.audit import auditor, pipeline, planning
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams
from covid_debug.data.views import render_film
from covid_debug.errors import ArtifactError, ExplanationError, FilmChangedError, InputContractError
from covid_debug.progress import SILENT
from covid_debug.stages import Means

PARAMS = AuditParams(
    target_class="COVID-19",
    grid_size=8,
    radius_px=3.0,
    dilation_px=1,
    max_explained=3,
    control_share=0.4,
    igos={"n_iterations": 5},
)


def _audit(world, out, *, params=PARAMS, cache_dir=None, n_workers=2, listener=SILENT, **changes):
    means = Means(listener, cache_dir or world.cache, n_workers)
    return audit_filmset(world.subject(params, 3, **changes), out, means)


class _Events:
    """Writes down the plans of an audit and every step of its progress."""

    def __init__(self, monkeypatch):
        self.plans, self.steps = [], []

        def plan_audit(*args, **options):
            self.plans.append(planning.plan_audit(*args, **options))
            return self.plans[-1]

        monkeypatch.setattr(pipeline, "plan_audit", plan_audit)

    def say(self, text):
        self.steps.append(text)

    @contextmanager
    def progress(self, title):
        yield lambda done, total: self.steps.append((title, done, total))


def _by_id(result):
    return {film.image_id: film for film in result.films}


def test_exactly_the_films_whose_patch_carries_text_are_flagged(world, tmp_path):
    result = _audit(world, tmp_path / "audit")

    verdicts = {name: film.verdict for name, film in _by_id(result).items()}
    assert verdicts == {
        "driven0": "text_driven",
        "driven1": "text_driven",
        "sign0": "not_text_driven",
        "sign1": "not_text_driven",
    }
    driven = _by_id(result)["driven0"]
    assert driven.cleaned_class == "normal"
    assert driven.direction == "towards"
    assert driven.text_suffices
    assert driven.interventions.text_removed < 0.05
    assert driven.probability > 0.95
    assert len(driven.interventions.null_removed) == PARAMS.n_nulls
    assert driven.q_value <= 0.05


def test_text_outside_the_view_is_recorded_and_not_audited(world, tmp_path):
    result = _audit(world, tmp_path / "audit")

    lines = (tmp_path / "audit" / "not_audited.jsonl").read_text().splitlines()
    reasons = {line["image_id"]: line["reason"] for line in map(json.loads, lines)}
    assert reasons == {
        "cropped": "text lies outside the model's view and cannot matter",
        "plain": "no text found",
    }
    assert result.summary.n_predicted_target == 6
    assert result.summary.n_audited == 4


def test_maps_point_at_the_text_and_controls_are_explained_too(world, tmp_path):
    result = _audit(world, tmp_path / "audit")

    records = _by_id(result)
    assert records["driven0"].explained_because == "suspected"
    assert records["driven0"].maps["igos_pp"].enrichment > 3
    assert [r.explained_because for r in result.films].count("control") == 1
    explained = [r.image_id for r in result.films if r.explained_because is not None]
    for method in result.map_methods:
        folder = tmp_path / "audit" / "maps" / method
        assert sorted(path.stem for path in folder.iterdir()) == sorted(explained)
        saliency = np.load(folder / "driven0.npy")
        assert saliency.shape == (96, 96)
        assert saliency.dtype == np.float16
        assert records["driven0"].maps[method].insertion_restores
    assert list(records["driven0"].maps) == ["igos_pp", "path_gradient"]
    assert [reason.split(":")[0] for reason in records["driven0"].reasons[-2:]] == [
        "iGOS++",
        "path gradient",
    ]
    counts = result.summary.maps
    assert {method: each["suspected"].n_explained for method, each in counts.items()} == {
        "igos_pp": 2,
        "path_gradient": 2,
    }


def test_each_method_draws_by_its_own_seed_and_changes_no_other(world, tmp_path):
    both = _audit(world, tmp_path / "both")
    alone = _audit(world, tmp_path / "alone", params=replace(PARAMS, map_methods=("igos_pp",)))

    for first, second in zip(both.films, alone.films, strict=True):
        assert first.maps.get("igos_pp") == second.maps.get("igos_pp")
    assert alone.load_map("driven0", "path_gradient") is None
    np.testing.assert_array_equal(
        both.load_map("driven0", "igos_pp"), alone.load_map("driven0", "igos_pp")
    )
    assert [film.verdict for film in both.films] == [film.verdict for film in alone.films]


def test_two_audits_write_the_same_bytes(world, tmp_path):
    _audit(world, tmp_path / "first")
    _audit(world, tmp_path / "second")

    for name in ("verdicts.jsonl", "summary.json", "not_audited.jsonl", "manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert find_damage(tmp_path / "first", kind="audit") == []


def test_an_audit_is_read_back_as_it_was(world, tmp_path):
    found = world.regions["sign1"]
    regions = {**world.regions, "sign1": type(found)("sign1", 50, 50, found.regions)}

    result = _audit(world, tmp_path / "audit", regions=regions)

    assert repr(load_audit(tmp_path / "audit")) == repr(result)  # NaN is not equal to itself
    assert load_audit(tmp_path / "audit").load_map("driven0", "path_gradient").shape == (96, 96)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"verdict": "maybe"}, r"line 1, verdict: Input should be 'text_driven'"),
        ({"probability": None}, r"line 1, probability: Input should be a valid number"),
        ({"label": ...}, r"line 1, label: Field required"),
    ],
)
def test_a_line_with_a_wrong_or_missing_key_is_named(world, tmp_path, change, complaint):
    _audit(world, tmp_path / "audit")
    path = tmp_path / "audit" / "verdicts.jsonl"
    line = json.loads(path.read_text().splitlines()[0]) | change | {"unknown": 1}
    kept = {key: value for key, value in line.items() if value is not ...}
    path.write_text(json.dumps(kept) + "\n")

    with pytest.raises(ArtifactError, match=rf"verdicts.jsonl: .*{complaint}.*make the audit"):
        load_audit(tmp_path / "audit")


def test_an_audit_of_one_film_does_not_depend_on_the_others_seeds(world, tmp_path):
    both = _by_id(_audit(world, tmp_path / "all"))
    films = [film for film in world.filmset.films if film.image_id == "sign0"]

    alone = _by_id(_audit(world, tmp_path / "one", films=films))

    one, all_ = alone["sign0"].interventions, both["sign0"].interventions
    # Only the margin is of all films: a share of the spread of their log-odds.
    assert replace(one, log_odds=replace(one.log_odds, margin=all_.log_odds.margin)) == all_


def test_plan_is_announced_before_and_progress_ends_at_the_total(world, tmp_path, monkeypatch):
    events = _Events(monkeypatch)

    _audit(world, tmp_path / "audit", listener=events)

    plans = [(plan.stage, plan.n_audited, plan.n_explained) for plan in events.plans]
    assert plans == [("interventions", 4, 3), ("explanations", 4, 3)]
    first, second = (list(plan.describe()) for plan in events.plans)
    steps = [("predictions", n, 7) for n in range(1, 8)]
    steps += first + [("interventions", n, 4) for n in range(1, 5)]
    assert events.steps == [*steps, *second, *[("groups of maps", n, 2) for n in (1, 2)]]


def test_a_broken_film_is_a_record_and_the_others_are_judged(world, tmp_path):
    found = world.regions["sign1"]
    regions = {**world.regions, "sign1": type(found)("sign1", 50, 50, found.regions)}

    result = _audit(world, tmp_path / "audit", regions=regions)

    record = _by_id(result)["sign1"]
    assert record.verdict == "inconclusive"
    assert "detect the text again" in record.error
    assert record.text_suffices is None
    assert math.isnan(record.interventions.text_removed)
    assert _by_id(result)["driven0"].verdict == "text_driven"
    assert result.summary.n_failed == 1


def test_a_film_that_changed_since_ingest_stops_the_audit(world, tmp_path):
    _audit(world, tmp_path / "before")  # the views are in the cache
    folder = world.filmset.root / "test"
    facts = (folder / "sign0.png").stat()
    (folder / "sign0.png").write_bytes((folder / "driven0.png").read_bytes())

    for _ in range(2):
        with pytest.raises(FilmChangedError, match=r"sign0\.png: film changed since ingest"):
            _audit(world, tmp_path / "audit")
        os.utime(folder / "sign0.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_missing_file_is_listed_and_the_others_are_judged(world, tmp_path):
    (world.filmset.root / "test" / "sign0.png").unlink()

    result = _audit(world, tmp_path / "audit")

    assert "sign0" not in _by_id(result)
    assert "sign0" in (tmp_path / "audit" / "not_audited.jsonl").read_text()
    assert result.summary.n_unreadable == 1
    assert _by_id(result)["driven0"].verdict == "text_driven"


def test_no_candidate_gives_an_empty_audit(world, tmp_path):
    films = [film for film in world.filmset.films if film.image_id == "plain"]

    result = _audit(world, tmp_path / "audit", films=films)

    assert result.films == ()
    assert result.summary.n_audited == 0
    assert not result.summary.mean_drop.is_defined


def test_unknown_target_class_is_refused_with_a_suggestion(world, tmp_path):
    with pytest.raises(InputContractError, match="did you mean 'COVID-19'"):
        _audit(world, tmp_path / "audit", params=AuditParams(target_class="COVID19"))
    with pytest.raises(InputContractError, match="films is empty"):
        _audit(world, tmp_path / "audit", films=[])


def test_grid_finer_than_the_view_is_refused_before_any_film(world, tmp_path):
    with pytest.raises(InputContractError, match=r"grid_size is 500 .* [0-9]+ pixels"):
        _audit(world, tmp_path / "audit", params=replace(PARAMS, grid_size=500))


def test_a_map_that_fails_is_a_reason_and_the_others_are_explained(world, tmp_path, monkeypatch):
    real = auditor.explain_films

    def fail_on_driven0(explainer, classifier, views, *rest, **options):
        if explainer.name == "igos_pp" and (views == world_view).all(axis=(1, 2)).any():
            raise ExplanationError("igos_pp: saliency of image 0 is not finite")
        return real(explainer, classifier, views, *rest, **options)

    film = world.filmset.films[0]
    world_view = render_film(world.filmset.path_of(film), world.loaded.view)
    monkeypatch.setattr(auditor, "explain_films", fail_on_driven0)

    result = _audit(world, tmp_path / "audit")

    records = _by_id(result)
    assert list(records["driven0"].maps) == ["path_gradient"]
    assert records["driven0"].no_maps == {"igos_pp": "igos_pp: saliency of image 0 is not finite"}
    assert records["driven0"].reasons[-2].startswith("no iGOS++ map: igos_pp: saliency")
    assert list(records["driven1"].maps) == ["igos_pp", "path_gradient"]
    assert records["driven0"].verdict == "text_driven"


def test_a_method_that_the_network_refuses_leaves_the_audit_whole(world, tmp_path, monkeypatch):
    plans = _Events(monkeypatch).plans

    result = _audit(
        world, tmp_path / "audit", params=replace(PARAMS, map_methods=("igos_pp", "grad_cam"))
    )

    record = _by_id(result)["driven0"]
    assert record.maps["igos_pp"].enrichment > 3
    assert record.no_maps["grad_cam"].startswith("grad_cam: the network has no layer with")
    assert record.reasons[-1] == f"no Grad-CAM map: {record.no_maps['grad_cam']}"
    assert result.summary.maps["grad_cam"]["suspected"].n_explained == 0
    assert list((tmp_path / "audit" / "maps" / "grad_cam").iterdir()) == []
    assert plans[-1].n_evaluations > 0
    assert repr(load_audit(tmp_path / "audit")) == repr(result)


def test_no_map_is_made_without_a_budget_and_one_iteration_is_priced(world, tmp_path, monkeypatch):

    none = _audit(world, tmp_path / "none", params=replace(PARAMS, max_explained=0))
    plans = _Events(monkeypatch).plans
    one = replace(PARAMS, map_methods=("igos_pp",), igos={"n_iterations": 1})
    _audit(world, tmp_path / "one", params=one)
    _audit(world, tmp_path / "two", params=replace(one, map_methods=("igos_pp", "gradient")))

    assert all(record.maps == {} for record in none.films)
    assert list((tmp_path / "none").glob("maps/*/*")) == []
    assert plans[0].duration_s > 0
    assert plans[1].n_evaluations > 0
    assert plans[3].n_evaluations - plans[1].n_evaluations == 3 * 3  # f(I), f(B) and a gradient


def test_void_map_is_named_in_the_reasons(world, tmp_path):
    params = replace(PARAMS, baselines=("white",))

    result = _audit(world, tmp_path / "audit", params=params)

    record = _by_id(result)["driven0"]
    assert record.baseline == "white"
    assert record.maps["igos_pp"].void
    assert record.reasons[-2].startswith("the iGOS++ map is void: the score does not fall")
    assert record.reasons[-1].startswith("the path gradient map is void: the score does not fall")
    assert result.summary.maps["igos_pp"]["suspected"].n_void == 2


def test_verdicts_do_not_depend_on_the_workers(world, tmp_path):
    written = [
        _audit(world, tmp_path / str(n), n_workers=n, cache_dir=tmp_path / f"views-{n}").films
        for n in (1, 3)
    ]

    assert written[0] == written[1]
