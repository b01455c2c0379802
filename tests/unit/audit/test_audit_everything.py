"""Every film is audited for its own class, and a killed audit ends with the same bytes."""

import json

import numpy as np
import pytest

from covid_debug.audit import auditor
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.baselines import choose_baselines
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.groups import Prediction, group_predictions, read_contents
from covid_debug.audit.interventions import make_baseline_views
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.verdicts import (
    Answer,
    Evidence,
    compute_margins,
    judge_significance,
    log_odds,
)
from covid_debug.data.views import render_film
from covid_debug.models.inference import predict_probabilities
from covid_debug.records import TextRegion
from covid_debug.stages import Means

PARAMS = AuditParams(
    grid_size=8, radius_px=3.0, dilation_px=1, max_explained=3, igos={"n_iterations": 2}
)
FILES = ("verdicts.jsonl", "summary.json", "not_audited.jsonl", "manifest.json")


def _audit(world, out, params=PARAMS, n_workers=2, **changes):
    means = Means(cache_dir=world.cache, n_workers=n_workers)
    return audit_filmset(world.subject(params, 3, **changes), out, means)


def test_every_film_is_audited_for_the_class_that_it_is_predicted_as(world, tmp_path):
    result = _audit(world, tmp_path / "audit")

    targets = {film.image_id: film.target_class for film in result.films}
    assert targets.pop("negative") == "normal"
    assert set(targets.values()) == {"COVID-19"}
    assert (result.summary.target_class, result.summary.n_predicted_target) == (None, 7)
    groups = result.summary.groups
    assert list(groups.by_class) == ["COVID-19", "normal"]
    covid = groups.by_class["COVID-19"]
    assert (covid.n_predicted, covid.n_audited, covid.n_driven, covid.n_resting) == (6, 4, 2, 2)
    assert covid.share_driven == pytest.approx(1 / 3)
    assert 0.63 < covid.upper < 0.8  # Clopper and Pearson for 2 of 6: 0.729
    assert groups.by_class["normal"].n_resting == 0
    assert sum(group.n_predicted for group in groups.by_source.values()) == 7
    assert groups.by_text["R"].n_predicted == 5


def test_an_audit_of_one_class_says_the_same_of_its_films(world, tmp_path):
    every = {film.image_id: film for film in _audit(world, tmp_path / "all").films}
    params = AuditParams(
        target_class="normal", grid_size=8, radius_px=3.0, dilation_px=1, max_explained=0
    )

    (one,) = _audit(world, tmp_path / "one", params).films

    assert one.interventions == every["negative"].interventions


def test_p_is_computed_again_from_the_file(world, tmp_path):
    _audit(world, tmp_path / "audit")
    films = load_audit(tmp_path / "audit").films

    found = judge_significance([_to_evidence(film) for film in films])

    assert [one.p for one in found] == pytest.approx([f.p_value for f in films], abs=1e-6)
    assert [one.q for one in found] == pytest.approx([f.q_value for f in films], abs=1e-6)


def _to_evidence(film):
    odds = film.interventions.log_odds

    def answer(log_odds):
        return Answer(0.0, log_odds, film.target_class)

    return Evidence(
        target=film.target_class,
        film=answer(odds.film),
        text_removed=answer(odds.text_removed),
        text_revealed=answer(odds.text_revealed),
        baseline=answer(odds.blurred),
        null_removed=tuple(answer(value) for value in odds.null_removed),
        margin=odds.margin,
    )


def _one_by_one(monkeypatch):
    monkeypatch.setattr("covid_debug.audit.pipeline.GROUP", 1)
    monkeypatch.setattr(auditor, "GROUP", 1)


@pytest.mark.parametrize("n_before", [0, 3])
def test_an_audit_that_is_cut_off_goes_on_and_writes_the_same_bytes(
    world, tmp_path, monkeypatch, n_before
):
    _one_by_one(monkeypatch)
    undisturbed = _audit(world, tmp_path / "first" / "audit")
    made = auditor.Auditor._make_views
    seen = []

    def die(self, case):
        if len(seen) == n_before:
            raise KeyboardInterrupt
        seen.append(case.film.image_id)
        return made(self, case)

    out = tmp_path / "second" / "audit"
    with monkeypatch.context() as patch:
        patch.setattr(auditor.Auditor, "_make_views", die)
        with pytest.raises(KeyboardInterrupt):
            _audit(world, out, n_workers=1)
    kept = list(out.parent.glob(".audit.interventions-*.films"))
    again = []
    with monkeypatch.context() as patch:
        patch.setattr(
            auditor.Auditor,
            "_make_views",
            lambda self, case: again.append(case.film.image_id) or made(self, case),
        )
        _audit(world, out)

    assert len(kept) == 1
    assert sorted(seen + again) == sorted(film.image_id for film in undisturbed.films)
    assert list(out.parent.iterdir()) == [out]
    for name in FILES:
        assert (out / name).read_bytes() == (undisturbed.path / name).read_bytes(), name


def test_maps_of_a_cut_off_audit_are_kept(world, tmp_path, monkeypatch):
    _one_by_one(monkeypatch)
    undisturbed = _audit(world, tmp_path / "first" / "audit")
    real, calls = auditor.explain_films, []

    def die(*args, **options):
        if len(calls) == 6:  # three to time both methods, both maps of a film and one of the next
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **options)

    out = tmp_path / "second" / "audit"
    with monkeypatch.context() as patch:
        patch.setattr(auditor, "explain_films", die)
        with pytest.raises(KeyboardInterrupt):
            _audit(world, out)
    calls.clear()
    monkeypatch.setattr(auditor, "explain_films", lambda *a, **o: calls.append(1) or real(*a, **o))
    _audit(world, out)

    assert len(calls) == 3
    names = [*FILES, *(str(path.relative_to(out)) for path in out.glob("maps/*/*.npy"))]
    assert len(names) == len(FILES) + 2 * 3
    for name in names:
        assert (out / name).read_bytes() == (undisturbed.path / name).read_bytes(), name


def test_what_another_model_finished_is_not_taken(world, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("covid_debug.audit.pipeline.judge_significance", die)
        with pytest.raises(KeyboardInterrupt):
            _audit(world, tmp_path / "audit")
    (before,) = tmp_path.glob(".audit.interventions-*.films")
    world.loaded.classifier.module.slope.data += 1.0

    with monkeypatch.context() as patch:
        patch.setattr("covid_debug.audit.pipeline.judge_significance", die)
        with pytest.raises(KeyboardInterrupt):
            _audit(world, tmp_path / "audit")

    after = set(tmp_path.glob(".audit.interventions-*.films"))
    assert len(after - {before}) == 1


def test_each_class_gets_the_first_baseline_that_its_films_leave():
    views = np.repeat(np.array([[10], [200]], np.uint8), 5, axis=0)[:, :, None] * np.ones(
        (1, 16, 16), np.uint8
    )

    def predict(images):  # dark is class 0, bright is class 1, whatever is on it
        bright = images.mean(axis=(1, 2)) / 255
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)

    def choose(part, *kinds):
        said = {kind: predict(make_baseline_views(part, kind)) for kind in kinds}
        return choose_baselines(said, predict(part), ("a", "b"))

    found = choose(views, "blur", "black", "white")

    assert found.by_class == {0: "white", 1: "black"}
    assert found.answers["blur"].kept == {"a": 1.0, "b": 1.0}
    assert found.answers["blur"].predicted == {"a": 5, "b": 5}
    assert found.answers["black"].explainable == {"a": 0.0, "b": 1.0}
    assert found.answers["white"].n_films == 5
    empty = np.empty((0, 2), np.float32)
    nothing = choose_baselines({"blur": empty}, empty, ("a", "b"))
    assert (nothing.by_class, nothing.answers) == ({}, {})
    # Where none will do, and none is better, the first one stays.
    kept = choose(views[5:], "blur", "white")
    assert kept.by_class == {1: "blur"}


def test_a_model_that_names_a_class_for_nothing_is_named_once(world, tmp_path):
    summary = _audit(world, tmp_path / "audit").summary

    lines = describe_audit(summary)

    assert summary.baseline_answers["blur"].kept["normal"] == 1.0
    assert [line.startswith("Warning: blurred until nothing") for line in lines] == [
        True,
        False,
        False,
    ]
    assert "100 % of normal predictions stay" in lines[0]


def test_films_that_could_not_be_tested_count_as_resting_on_text():
    groups = group_predictions(
        [
            Prediction("a", "s", "p1", rests_on_text=True, verdict="text_driven", contents=("AP",)),
            Prediction("a", "s", "p2", rests_on_text=True, reason="text scan failed: torn"),
            Prediction("a", "t", "p3", rests_on_text=False, reason="no text found"),
        ]
    )

    group = groups.by_class["a"]
    assert (group.n_driven, group.n_resting, group.n_patients) == (1, 2, 3)
    assert group.not_audited == {"no text found": 1, "text scan failed": 1}
    assert groups.by_text == {}  # one film is no group
    assert list(groups.by_source) == ["s", "t"]


def test_the_bound_of_a_group_counts_patients_and_not_films():
    film = Prediction("a", "s", "p", rests_on_text=False, verdict="not_text_driven")

    (group,) = group_predictions([film] * 40).by_source.values()

    assert (group.n_predicted, group.n_patients) == (40, 1)
    assert group.upper == pytest.approx(0.95)


def test_contents_are_normalised():
    def region(content):
        return TextRegion(((0, 0), (1, 0), (1, 1), (0, 1)), 1.0, content, "made")

    regions = [region(content) for content in (" portable\n ap ", "Portable AP", None, "  ", "l")]

    assert read_contents(regions) == ("L", "PORTABLE AP")


def test_lines_of_the_file_hold_log_odds(world, tmp_path):
    _audit(world, tmp_path / "audit")

    line = json.loads((tmp_path / "audit" / "verdicts.jsonl").read_text().splitlines()[0])

    odds = line["interventions"]["log_odds"]
    p = line["probability"]
    assert odds["film"] == pytest.approx(np.log(p / (1 - p)), abs=1e-2)
    assert len(odds["null_removed"]) == len(line["interventions"]["null_removed"])


def test_the_margin_is_of_all_films_that_the_model_saw(world, tmp_path):
    films = world.filmset.select("test")
    views = np.stack([render_film(world.filmset.path_of(f), world.loaded.view) for f in films])
    rows = predict_probabilities(world.loaded.classifier, views, max_batch=64)
    expected = compute_margins(np.stack([log_odds(rows, k) for k in (0, 1)], axis=1))

    found = [film.interventions.log_odds for film in _audit(world, tmp_path / "audit").films]

    assert expected[0] == pytest.approx(expected[1])
    assert [odds.margin for odds in found] == pytest.approx([expected[0]] * 5, abs=1e-6)
