"""Films to Label Studio and FiftyOne, and back; the exports are shortened from real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug.audit.artifact import load_audit
from covid_debug.cleaning.decisions import (
    Decision,
    apply_decisions,
    read_decisions,
    render_decisions,
)
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.regions import read_regions
from covid_debug.records import FilmRegions
from covid_debug.reporting.elsewhere import (
    Rectangle,
    choose_reviewer,
    decide_regions,
    gather_films,
)
from covid_debug.reporting.fiftyone import write_fiftyone
from covid_debug.reporting.label_studio import write_label_studio
from covid_debug.reporting.returned import read_export

BOX = (5.0, 20.0, 15.0, 26.0)  # of the made-up films' region; a film is 40 x 50


@pytest.fixture
def films(tmp_path):
    request = fakes.make_request(tmp_path, comparison=None, confounds=None)
    found, failed = gather_films(
        fakes.load_filmset(request.filmset),
        read_regions(request.regions),
        load_audit(request.audit),
        tmp_path / "pictures",
    )
    assert failed == []
    return found


def _save(folder: Path, content: object) -> Path:
    (folder / "export.json").write_text(json.dumps(content))
    return folder / "export.json"


def _annotate(task, *results, who=1, at="2026-01-01", **changes):
    one = {"completed_by": who, "was_cancelled": False, "updated_at": at, "result": list(results)}
    return {**task, "annotations": [*task.get("annotations", []), {**one, **changes}]}


def _choice(value):
    return {"from_name": "film", "type": "choices", "value": {"choices": [value]}, "id": "LYw"}


def _rectangle(label, *, x=12.5, y=40, width=25, height=12, name="region-0"):
    shape = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    return {"from_name": "region", "id": name, "value": {**shape, "rectanglelabels": [label]}}


def _tasks(films, folder):
    write_label_studio(films, folder)
    return json.loads((folder / "tasks.json").read_text())


def test_gather_films_takes_the_audited_ones_most_severe_first(films):
    assert [film.entry.verdict for film in films][:2] == ["text_driven", "text_sensitive"]
    assert films[0].file.is_absolute()
    assert films[0].summary == (
        "f0.png: true COVID-19, cohen, test; predicted COVID-19 (p 0.95, without text 0.35):"
        " Driven by text"
    )


def test_gather_films_without_an_audit_takes_films_with_text(tmp_path):
    filmset = fakes.make_filmset(tmp_path / "films-1", 3)
    fakes.make_regions(tmp_path / "regions.jsonl", filmset)
    regions = dict(list(read_regions(tmp_path / "regions.jsonl").items())[:1])

    found, _ = gather_films(filmset, regions, None, tmp_path / "pictures")

    assert [film.film.image_id for film in found] == list(regions)
    assert found[0].summary == "f0.png: true COVID-19, cohen, test"
    assert not (tmp_path / "pictures").exists()


def test_gather_films_without_any_text_is_one_clear_error(tmp_path):
    with pytest.raises(InputContractError, match="has no film to review"):
        gather_films(fakes.make_filmset(tmp_path / "films-1"), {}, None, tmp_path)


def test_gather_films_that_browsers_do_not_show_become_png(tmp_path, monkeypatch):
    filmset = fakes.make_filmset(tmp_path / "films-1", 2)
    fakes.make_regions(tmp_path / "regions.jsonl", filmset)
    monkeypatch.setattr("covid_debug.reporting.elsewhere._SHOWN_BY_BROWSERS", (".jpg",))
    filmset.path_of(filmset.films[1]).unlink()

    found, failed = gather_films(
        filmset, read_regions(tmp_path / "regions.jsonl"), None, tmp_path / "pictures"
    )

    assert [film.file.name for film in found] == [f"{filmset.films[0].image_id}.png"]
    assert found[0].file.is_file()
    assert len(failed) == 1
    assert "f1.png: left out" in failed[0]


def test_label_studio_tasks_name_the_film_and_its_regions_in_per_cent(films, tmp_path):
    folder = write_label_studio(films, tmp_path)
    task = json.loads((tmp_path / "tasks.json").read_text())[0]
    value = task["predictions"][0]["result"][0]["value"]

    assert task["data"]["image"] == "/data/local-files/?d=test/f0.png"
    assert folder == films[0].file.parent
    assert task["data"]["regions"] == [list(BOX)]
    assert {name: value[name] for name in ("x", "y", "width", "height")} == pytest.approx(
        {"x": 12.5, "y": 40, "width": 25, "height": 12}
    )
    assert value["rectanglelabels"] == ["undecided"]
    assert '<Label value="not text"' in (tmp_path / "label_config.xml").read_text()


def test_label_studio_answers_come_back_as_decisions(films, tmp_path):
    first, second, *_ = _tasks(films, tmp_path)
    note = {"from_name": "note", "value": {"text": ["a", "wire"]}}
    tasks = [
        _annotate(first, _rectangle("keep"), _choice("accept"), note),
        _annotate(second, _rectangle("undecided"), _choice("reject")),
    ]

    found = read_export(_save(tmp_path, tasks), "mk")

    assert found.decisions == (
        Decision(films[0].film.image_id, "accept", "mk", note="a wire"),
        Decision(films[0].film.image_id, "keep", "mk", 0, BOX),
        Decision(films[1].film.image_id, "reject", "mk"),
    )
    assert (found.n_films, found.n_left) == (2, 0)


def test_label_studio_answers_clean_the_regions_that_they_are_about(films, tmp_path):
    first, second, *_ = _tasks(films, tmp_path)
    moved = _rectangle("keep", x=13.5, width=24)
    away = _rectangle("remove", x=50, y=80, width=10, height=10, name="Xy1")
    tasks = [_annotate(first, moved, away), _annotate(second, _rectangle("not text"))]
    regions = {
        film.film.image_id: FilmRegions(film.film.image_id, 40, 50, film.regions) for film in films
    }

    revised = apply_decisions(regions, read_export(_save(tmp_path, tasks), "mk").decisions)

    one, two = (revised[film.film.image_id] for film in films[:2])
    assert [region.detector for region in one.regions] == ["reviewer"]
    assert [reason for _, reason in one.rejected] == ["kept by mk"]
    assert two.regions == ()
    assert [reason for _, reason in two.rejected] == ["rejected by mk"]


def test_label_studio_new_rectangles_are_text_that_no_detector_saw(films, tmp_path):
    first, *_ = _tasks(films, tmp_path)
    away = {"x": 50, "y": 80, "width": 10, "height": 10, "name": "Xy1"}
    task = _annotate(first, _rectangle("remove", **away), _rectangle("keep", **{**away, "y": 2}))

    found = read_export(_save(tmp_path, [task]))

    (added,) = found.decisions
    assert (added.decision, added.region_index, added.reviewer) == ("add", None, "1")
    assert added.box == pytest.approx((20, 40, 24, 45))
    assert found.n_left == 1


def test_label_studio_relations_and_rectangles_without_a_label_say_nothing(films, tmp_path):
    first, *_ = _tasks(films, tmp_path)
    plain = _rectangle("keep")
    del plain["value"]["rectanglelabels"]
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}

    found = read_export(_save(tmp_path, [_annotate(first, plain, relation, _choice("accept"))]))

    assert [(one.decision, one.region_index) for one in found.decisions] == [("accept", None)]


def test_label_studio_the_latest_annotation_counts_and_cancelled_ones_do_not(films, tmp_path):
    first, second, *_ = _tasks(films, tmp_path)
    task = _annotate(first, _choice("reject"), at="2026-02-02")
    task = _annotate(task, _choice("accept"), at="2026-01-01")
    other = _annotate(second, _choice("accept"), was_cancelled=True)

    found = read_export(_save(tmp_path, [task, other]))

    assert [one.decision for one in found.decisions] == ["reject"]


def test_label_studio_several_people_never_replace_one_another(films, tmp_path):
    first, *_ = _tasks(films, tmp_path)
    task = _annotate(first, _choice("reject"), who={"id": 1, "email": "a@b.org"})
    path = _save(tmp_path, [_annotate(task, _choice("accept"), who=2)])

    with pytest.raises(InputContractError, match=r"holds 2 reviewers \(a@b.org, 2\)"):
        read_export(path)
    (decision,) = read_export(path, "2").decisions
    assert (decision.decision, decision.reviewer) == ("accept", "2")
    assert choose_reviewer((), None) is None


@pytest.mark.parametrize(
    "content", [[{"image": "a.png", "region": []}], [1], {"tasks": []}, {"samples": [{}]}]
)
def test_read_export_of_something_else_is_one_clear_error(content, tmp_path):
    with pytest.raises(DataIntegrityError, match=r"export\.json: is not"):
        read_export(_save(tmp_path, content), "mk")


def test_read_export_of_no_json_names_what_is_expected(tmp_path):
    (tmp_path / "a.json").write_text("accept")

    with pytest.raises(DataIntegrityError, match="cannot be read as JSON"):
        read_export(tmp_path / "a.json")


def _samples(films, folder):
    write_fiftyone(films, folder)
    return json.loads((folder / "samples.json").read_text())["samples"]


def test_fiftyone_samples_hold_film_verdict_and_boxes_as_shares(films, tmp_path):
    sample = _samples(films, tmp_path)[0]
    region = sample["text"]["detections"][0]

    assert sample["filepath"] == str(films[0].file)
    assert sample["verdict"] == {"_cls": "Classification", "label": "text_driven"}
    assert region["bounding_box"] == pytest.approx([0.125, 0.4, 0.25, 0.12])
    assert np.isclose(sample["drop"], 0.6)


def test_fiftyone_tags_come_back_as_decisions(films, tmp_path):
    first, second, third, *rest = _samples(films, tmp_path)
    first["tags"] = ["accept", "shown to AB"]
    first["text"]["detections"][0]["tags"] = ["not-text"]
    second["text"]["detections"].append(
        {
            "_cls": "Detection",
            "label": "new",
            "tags": ["remove"],
            "bounding_box": [0.5, 0.8, 0.1, 0.1],
        }
    )
    third["text"] = None

    found = read_export(_save(tmp_path, {"samples": [first, second, third, *rest]}), "mk")

    assert found.decisions[:2] == (
        Decision(films[0].film.image_id, "accept", "mk"),
        Decision(films[0].film.image_id, "reject", "mk", 0, BOX),
    )
    assert found.decisions[2].decision == "add"
    assert found.decisions[2].box == pytest.approx((20, 40, 24, 45))
    assert len(found.decisions) == 3


def test_fiftyone_a_region_keeps_its_place_when_one_before_it_was_deleted(films, tmp_path):
    sample, *_ = _samples(films, tmp_path)
    (detection,) = sample["text"]["detections"]
    later = {**detection, "region_index": 1, "film_box": [20, 40, 24, 45], "tags": ["keep"]}
    sample["text"]["detections"] = [later]

    (decision,) = read_export(_save(tmp_path, {"samples": [sample]}), "mk").decisions

    assert (decision.region_index, decision.box) == (1, (20, 40, 24, 45))


def test_fiftyone_two_verdicts_on_a_film_are_refused(films, tmp_path):
    first, *_ = _samples(films, tmp_path)
    first["tags"] = ["accept", "unsure"]

    with pytest.raises(DataIntegrityError, match="is tagged accept and unsure"):
        read_export(_save(tmp_path, {"samples": [first]}), "mk")


def test_fiftyone_needs_the_name_of_the_reviewer(tmp_path):
    with pytest.raises(InputContractError, match="--reviewer"):
        read_export(_save(tmp_path, {"samples": []}))


def test_decide_regions_two_answers_about_one_region_are_refused():
    with pytest.raises(DataIntegrityError, match="two rectangles say different things"):
        decide_regions("f", "mk", [Rectangle(BOX, "keep"), Rectangle(BOX, "remove")], {0: BOX})


def test_decide_regions_equal_boxes_are_told_apart_by_where_they_came_from():
    sent = [Rectangle(BOX, "keep", 0), Rectangle(BOX, "remove", 1)]

    decisions, _ = decide_regions("f", "mk", sent, {0: BOX, 1: BOX})

    assert [(one.region_index, one.decision) for one in decisions] == [(0, "keep"), (1, "accept")]


def test_render_decisions_is_read_back(tmp_path):
    decisions = (Decision("f", "keep", "mk", 0, BOX), Decision("g", "accept", "", note="n"))
    (tmp_path / "d.jsonl").write_text(render_decisions(decisions))

    assert read_decisions(tmp_path / "d.jsonl") == decisions
