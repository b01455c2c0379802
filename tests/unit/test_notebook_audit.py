"""`cd.audit` of a table of films, and what a notebook shows of it."""

import html
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import covid_debug as cd
from covid_debug.artifacts import read_manifest
from covid_debug.data.filmset import FilmSet
from covid_debug.data.phantom import TRUTH_REGIONS_NAME
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.classifier import Classifier
from covid_debug.models.importing import ModelFacts
from covid_debug.notebook.given import view_of
from covid_debug.reporting.shown_audit import FilmsBehind, ShownAudit
from tests import browser
from tests.audits import make_audit, make_audited

VIEW = ViewSpec(image_size=32, top_crop=0.0)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> FilmSet:
    return cd.generate_phantom(
        tmp_path_factory.mktemp("shown") / "films", n_train=1, n_test=4, seed=0
    )


@pytest.fixture(scope="module")
def model(films) -> cd.Classifier:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 3))
    return cd.Classifier(network, class_names=films.class_names, image_size=(32, 32), view=VIEW)


@pytest.fixture(scope="module")
def table(films) -> pd.DataFrame:
    return pd.DataFrame(
        {"path": str(films.path_of(film)), "label": film.label, "patient": film.patient_id}
        for film in films.select("test")
    )


def draw(films, verdicts) -> ShownAudit:
    audited = [
        replace(make_audited(film.image_id), path=film.path, verdict=verdict)
        for film, verdict in zip(films.select("test"), verdicts, strict=False)
    ]
    regions = read_regions(films.root / TRUTH_REGIONS_NAME)
    return ShownAudit.of(make_audit(audited), FilmsBehind(films, regions, VIEW))


def test_a_data_frame_a_file_and_a_data_set_give_the_same_verdicts(
    films, model, table, tmp_path, monkeypatch
) -> None:
    settings = {"n_nulls": 4, "max_explained": 0}
    expected = cd.audit(model, films, **settings)
    table.to_csv(tmp_path / "mine.csv", index=False)
    monkeypatch.chdir(films.root.parent)
    near = table.assign(path=[Path(p).relative_to(films.root.parent) for p in table["path"]])

    for given in (near, tmp_path / "mine.csv"):
        found = cd.audit(model, given, **settings)
        assert [f.verdict for f in found.films] == [f.verdict for f in expected.films]
        assert found.summary.verdicts == expected.summary.verdicts
        assert "Driven by text" in found._repr_html_()


def test_columns_that_could_be_paths_blank_paths_and_a_series_are_told_apart(model, table) -> None:
    settings = {"n_nulls": 4, "max_explained": 0}
    expected = cd.audit(model, table, **settings)

    found = cd.audit(model, table.assign(image_id=range(len(table))), **settings)

    assert [f.verdict for f in found.films] == [f.verdict for f in expected.films]
    assert len(repr(found)) < 2000
    blank = table.assign(path=[None, *table["path"][1:]])
    with pytest.raises(DataIntegrityError, match=r"row 2: column 'path' is empty"):
        cd.audit(model, blank)
    with pytest.raises(InputContractError):
        cd.audit(model, table["path"])


def test_drawn_lines_are_no_text_in_a_notebook_either(films, model) -> None:
    def call_it(kind):
        return [
            replace(one, regions=tuple(replace(each, kind=kind) for each in one.regions))
            for one in read_regions(films.root / TRUTH_REGIONS_NAME).values()
        ]

    settings = {"n_nulls": 4, "max_explained": 0}

    assert cd.audit(model, films, call_it("side_marker"), **settings).films
    assert cd.audit(model, films, call_it("annotation"), **settings).films == ()


def test_labels_that_are_no_class_of_the_model_are_named(model, table) -> None:
    with pytest.raises(
        DataIntegrityError, match=r"^data frame: .* label 'flu', .* the model's words"
    ):
        cd.audit(model, table.assign(label="flu"))


def test_a_data_frame_without_paths_says_how_its_columns_are_named_in_python(model, table) -> None:
    with pytest.raises(DataIntegrityError, match=r"^data frame: .* rename the columns to path and"):
        cd.audit(model, table.rename(columns={"path": "Bild"}))


def test_a_folder_of_films_of_one_class_is_audited_and_says_what_cannot_be_said(
    films, model, tmp_path
) -> None:
    (tmp_path / "mine" / "normal").mkdir(parents=True)
    for film in films.select("test"):
        if film.label == "normal":
            shutil.copy(films.path_of(film), tmp_path / "mine" / "normal")

    found = cd.audit(model, tmp_path / "mine", n_nulls=4, max_explained=0)

    (remark,) = found.remarks
    assert "films are 'normal': accuracy alone is measured" in remark
    assert f"Warning: {html.escape(remark)}." in found._repr_html_()


def test_only_test_films_are_looked_at(films, model, tmp_path, monkeypatch) -> None:
    asked = []
    texts = list(read_regions(films.root / TRUTH_REGIONS_NAME).values())
    monkeypatch.setattr(
        "covid_debug.notebook.detect_text", lambda films, **_: (asked.append(films), texts)[1]
    )

    cd.audit(model, films, n_nulls=4, max_explained=0, out=tmp_path / "audit")

    assert {film.split for film in asked[0].films} == {"test"}
    assert read_manifest(tmp_path / "audit", kind="audit")


def test_a_notebook_shows_counts_bounds_and_the_flagged_films_outlined(films) -> None:
    shown = draw(films, ("text_driven", "text_sensitive", "not_text_driven"))._repr_html_()

    assert "Driven by text</th><td>1</td>" in shown
    assert "At most " in shown
    assert shown.count("<svg ") == 2
    assert shown.count("<polygon ") >= 2
    assert "not for clinical use" in shown


def test_a_notebook_shows_no_film_where_none_is_flagged(films) -> None:
    shown = draw(films, ("not_text_driven", "inconclusive"))._repr_html_()

    assert "<svg " not in shown
    assert "Not driven by text</th><td>1</td>" in shown


def test_names_of_strangers_stay_text(films) -> None:
    audit = draw(films, ("text_driven",))
    (film,) = audit.films
    named = replace(film, path="<script>x</script>.png", target_class="<i>'")

    shown = replace(audit, films=(named,))._repr_html_()

    assert "<script>" not in shown
    assert "<i>" not in shown


@pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")
def test_what_a_notebook_shows_has_no_barrier_and_lies_where_the_text_is(films, tmp_path) -> None:
    page = tmp_path / "cell.html"
    shown = draw(films, ("text_driven", "text_sensitive"))._repr_html_()
    page.write_text(
        f"<!doctype html><html lang=en><title>cell</title><main><h1>c</h1>{shown}</main>", "utf-8"
    )

    with browser.launch() as chromium, browser.new_page(chromium) as opened:
        browser.show(opened, page)
        assert [b for b in browser.find_barriers(opened) if "heading" not in b] == []
        boxes = [one.bounding_box() for one in opened.locator("svg").all()]
    assert np.allclose([[box["width"], box["height"]] for box in boxes], 200)


def test_a_network_in_memory_sees_what_the_same_file_sees() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    classifier = Classifier(network, class_names=("a", "b"), image_size=(8, 8))

    assert view_of(classifier).top_crop == ModelFacts(class_names=("a", "b")).top_crop
