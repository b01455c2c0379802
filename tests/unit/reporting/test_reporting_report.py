import csv
import importlib.resources
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug import results
from covid_debug.artifacts import find_damage, read_manifest
from covid_debug.audit.confounds import write_confounds
from covid_debug.cleaning.decisions import Decision, read_decisions
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.evaluation.comparison import GroupRecall, write_comparison
from covid_debug.imaging.regions import write_regions
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.reporting.maps import WHICH_MAP
from covid_debug.reporting.report import add_decisions, build_report
from covid_debug.reporting.tables import FLAG_COLUMNS, MAP_COLUMNS, QUESTION_COLUMNS
from tests.audits import write_made_up_audit

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"


class _Page(HTMLParser):
    """Collects elements, so that tests ask for structure and not for text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that the tests only read."""
    folder = tmp_path_factory.mktemp("run")
    return build_report(folder / "reports" / "demo-1", fakes.make_request(folder))


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, object]:
    """A request without the comparison, which is slow to draw."""
    return {"comparison": None, "confounds": None}


def test_build_report_writes_every_promised_file(report):
    folder = report.parent

    assert report.name == "report.html"
    for name in (
        *("summary.json", "flags.csv", "comparison.csv", "questions.csv", "statistics.json"),
        "manifest.json",
    ):
        assert (folder / name).is_file()
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "comparison.png",
        "questions.png",
        "probability_shift.png",
        "confusion_original_original_seed0.png",
        "confusion_original_cleaned_seed0.png",
        "confusion_cleaned_original_seed0.png",
        "confusion_cleaned_cleaned_seed0.png",
    }
    assert find_damage(folder, kind="report") == []


def test_build_report_page_refers_to_nothing_outside(report):
    page = _Page(report.read_text())

    sources = [attrs["src"] for tag, attrs in page.elements if attrs.get("src")]
    links = [attrs["href"] for tag, attrs in page.elements if attrs.get("href")]

    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert all(link.startswith("#") for link in links)
    assert page.all("link") == []
    assert not re.search(r"url\(|@import", report.read_text())


def test_build_report_says_what_it_is_and_shows_each_film(report):
    text = report.read_text()
    page = _Page(text)
    cards = page.all("article")

    assert "Research tool, not for clinical use" in text
    assert [card["data-verdict"] for card in cards] == [
        "text_driven",
        "text_sensitive",
        "inconclusive",
        "not_text_driven",
    ]
    assert "All 4 audited films" in text
    assert "No map was made: the audit explains a limited number of films" in text


def test_build_report_every_picture_of_a_card_says_of_which_film_it_is(report):
    page = _Page(report.read_text())

    alts = [attrs["alt"] for attrs in page.all("img") if attrs.get("loading") == "lazy"]

    assert {
        "Film f0.png",
        "iGOS++: evidence map of f0.png",
        "Path gradient: evidence map of f0.png",
        "Path gradient over the model's view of f0.png",
        "Region 1 of f0.png, cut out",
    } <= set(alts)
    assert len(set(alts)) == len(alts)


def test_build_report_lists_hold_plain_items(report):
    assert not [attrs for attrs in _Page(report.read_text()).all("li") if "role" in attrs]


def test_build_report_faint_text_can_be_read():
    style = importlib.resources.files("covid_debug.reporting") / "templates" / "report.css"
    pairs = re.findall(r"--([\w-]+): light-dark\(#(\w{6}), #(\w{6})\)", style.read_text())
    colours = {name: shades for name, *shades in pairs}

    def luminance(name, shade):
        colour = colours[name][shade]
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    inks = ("ink", "soft", "faint", "accent", "text-driven", "text-sensitive", "not-text-driven")
    pairs = [(ink, ground) for ink in inks for ground in ("ground", "wash", "current")]
    pairs += [(f"{name}-ink", f"{name}-chip") for name in ("alarm", "warn", "good")]
    for ink, ground in pairs:  # WCAG 2.1 AA for small text
        for shade in (0, 1):
            low, high = sorted((luminance(ink, shade), luminance(ground, shade)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground, shade)


def test_build_report_again_gives_equal_files(report, tmp_path):
    first = report.parent
    second = build_report(tmp_path / "two", fakes.make_request(tmp_path)).parent

    assert (
        read_manifest(first, kind="report")["files"]
        == read_manifest(second, kind="report")["files"]
    )


def test_build_report_hostile_strings_stay_text(tmp_path):
    request = fakes.make_request(tmp_path)
    folder = tmp_path / "hostile"
    original = fakes.make_filmset(folder / "films-1", 2, label=HOSTILE, name="a<b>&")
    text = TextRegion(((5, 20), (15, 20), (15, 26)), 0.9, HOSTILE, "rapidocr")
    regions = folder / "regions.jsonl"
    write_regions(regions, [FilmRegions(original.films[0].image_id, 40, 50, (text,))])
    film = fakes.make_verdict(original.films[0], "text_driven", 0.5)
    changes = {"path": HOSTILE, "source": HOSTILE, "reasons": (HOSTILE,), "target_class": HOSTILE}
    write_made_up_audit(folder / "audit-1", [replace(film, **changes)])
    comparison = fakes.make_comparison(class_names=(HOSTILE, "b", "$x$"))
    baseline = replace(fakes.BASELINES[0], name=HOSTILE, description=HOSTILE)
    hostile = fakes.ReportRequest(
        title=HOSTILE,
        filmset=original.root,
        regions=regions,
        view=request.view,
        audit=folder / "audit-1",
        comparison=fakes.keep(folder, "comparison", write_comparison, comparison),
        confounds=fakes.keep(folder, "confounds", write_confounds, (baseline,)),
        config=HOSTILE,
        command=HOSTILE,
    )

    report = build_report(tmp_path / "out", hostile)
    page = _Page(report.read_text())

    scripts = page.all("script")
    assert [script.get("type") for script in scripts] == ["application/json", *[None] * 5]
    assert "{{ 7*7 }}" in report.read_text().replace("&#34;", '"')
    assert page.all("article")[0]["data-source"] == HOSTILE
    assert "script-src 'sha256-" in next(
        attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv")
    )


def test_build_report_more_films_than_cards_says_so_and_lists_all(tmp_path, plain, monkeypatch):
    monkeypatch.setattr("covid_debug.reporting.report.MAX_CARDS", 2)
    request = fakes.make_request(tmp_path, n=6, **plain)

    report = build_report(tmp_path / "out", request)
    rows = list(csv.DictReader(io.StringIO((report.parent / "flags.csv").read_text())))

    assert "Showing 2 of 6 audited films" in report.read_text()
    assert len(_Page(report.read_text()).all("article")) == 2
    assert len(rows) == 6
    assert [row["has_card"] for row in rows] == ["True"] * 2 + ["False"] * 4


def test_flags_csv_row_holds_the_interventions(report):
    rows = list(csv.DictReader(io.StringIO((report.parent / "flags.csv").read_text())))

    assert tuple(rows[0]) == FLAG_COLUMNS
    assert rows[0]["verdict"] == "text_driven"
    assert float(rows[0]["drop"]) == pytest.approx(0.6)
    assert float(rows[0]["null_removed_min"]) == pytest.approx(0.9)
    assert float(rows[0]["null_removed_max"]) == pytest.approx(0.94)
    assert rows[0]["n_regions"] == "1"
    assert rows[0]["patient_id"] == "s:0"


def test_maps_csv_has_a_row_a_map_and_the_first_method_stands_in_flags_csv(report):
    rows, flags = (
        list(csv.DictReader(io.StringIO((report.parent / name).read_text())))
        for name in ("maps.csv", "flags.csv")
    )

    assert tuple(rows[0]) == MAP_COLUMNS
    assert [row["method"] for row in rows] == ["igos_pp", "path_gradient"] * 2
    assert [row["title"] for row in rows[:2]] == ["iGOS++", "path gradient"]
    assert [row["enrichment"] for row in rows[:2]] == ["6.2", "3.1"]
    assert {row["enrichment"] for row in flags} == {"6.2", ""}
    frame = results.maps(report.parent)
    assert frame["void"].tolist() == [False] * 4
    assert frame["n_evaluations"].tolist() == [900, 18] * 2


def test_the_films_say_what_each_map_shows_and_which_to_trust(report):
    text = report.read_text()

    assert text.count("<b>iGOS++</b> shows a small smooth place") == 1
    assert text.count("<b>Path gradient</b> shows the slope of the score in each place") == 1
    assert text.count(WHICH_MAP) == 1
    assert text.count('class="pick"') == 4


def test_every_audited_model_has_its_row_in_page_summary_and_data_frame(report):
    page, run = report.read_text(), results.load_run(report.parent)

    frame = results.audits(run)

    assert frame["arm"].tolist() == ["original", "cleaned"]
    assert frame["class_name"].tolist() == ["COVID-19"] * 2
    assert (frame["n_predicted"] == 4).all()
    assert frame["upper"].tolist() == [one.by_class["COVID-19"].upper for one in run.summary.audits]
    assert "cleaned, seed 0" in page
    assert 'data-predicted="COVID-19"' in page


def test_summary_json_has_the_stable_keys(report):
    summary = json.loads((report.parent / "summary.json").read_text())

    assert set(summary) == {
        "schema_version",
        "title",
        "headlines",
        "films",
        "text",
        "audit",
        "audits",
        "comparison",
        "differences",
        "n_seeds",
        "baselines",
        "calibration",
        "proof",
        "shortcuts",
        "design",
        "questions",
        "train_test",
        "footing",
        "critical",
        "short_answers",
    }
    assert summary["audit"]["verdicts"] == {
        "text_driven": 1,
        "text_sensitive": 1,
        "inconclusive": 1,
        "not_text_driven": 1,
    }
    assert summary["comparison"]["cleaned/original"]["all/accuracy"]["value"] == 0.8
    assert summary["differences"]["cleaned-original/cleaned"]["all/accuracy"]["value"] == 0.1
    assert summary["headlines"][0].startswith("Does it help? Improved.")
    assert [one["verdict"] for one in summary["questions"]] == ["improved", "not measured"]
    assert len(summary["train_test"]) == 4
    assert summary["headlines"][3].endswith(
        " of COVID-19 predictions rest on the text that was found (95 %); 1 of 4 are driven by it."
    )


def test_build_report_shows_the_questions_first_and_a_verdict_nowhere_else(report):
    text = report.read_text()
    questions, comparison = text.index('class="plain questions"'), text.index('id="comparison"')

    assert text.index('class="metrics train-test"') > questions
    assert text.index('class="verdict verdict-improved"') < comparison
    assert text.count('class="verdict ') == 1
    assert "not measured: no arm &#39;placebo&#39;" in text
    assert "p = 0.012" in text[questions:comparison]
    assert "9.5" in text[questions:comparison]
    assert "cleaned<br>− original" in text[comparison:]


def test_questions_csv_and_statistics_json_hold_what_the_comparison_said(report):
    rows = list(csv.DictReader(io.StringIO((report.parent / "questions.csv").read_text())))
    statistics = json.loads((report.parent / "statistics.json").read_text())

    assert tuple(rows[0]) == QUESTION_COLUMNS
    assert [row["verdict"] for row in rows] == ["improved", "not measured"]
    assert (rows[0]["p_holm"], rows[1]["p_holm"]) == ("0.012", "")
    assert [one["verdict"] for one in statistics["questions"]] == ["improved", "not measured"]


def test_build_report_of_models_at_chance_opens_with_a_warning(tmp_path):
    footing = (fakes.make_footing("original", 0.35, math.nan, above_chance=False),)
    comparison = replace(fakes.make_comparison(), footing=footing)

    report = build_report(
        tmp_path / "out", fakes.make_request(tmp_path, comparison=comparison)
    ).read_text()

    warning = report.index("<li>Warning: trained on the original films")
    assert warning < report.index('<div class="answers">')
    assert '<b>No</b> <span class="because">Balanced accuracy 35.0 %' in report


def test_build_report_shows_recall_by_source_and_the_worst_group(tmp_path):
    groups = tuple(
        GroupRecall(
            train_data="original",
            test_data="original",
            source=source,
            class_name="COVID-19",
            value=value,
            low=value - 0.1,
            high=value + 0.1,
            n=20,
            n_patients=15,
            is_worst=value < 0.5,
        )
        for source, value in (("cohen", 0.8), ("actmed", 0.4))
    )
    comparison = replace(fakes.make_comparison(), groups=groups)

    text = build_report(
        tmp_path / "out", fakes.make_request(tmp_path, comparison=comparison)
    ).read_text()

    assert "Recall by source and class" in text
    assert "40.0 ▼" in text
    assert "80.0 ▼" not in text


def test_build_report_of_one_seed_gives_differences_and_no_verdict(tmp_path):
    request = fakes.make_request(tmp_path, comparison=fakes.make_comparison(seeds=(0,)))

    report = build_report(tmp_path / "out", request)
    text = report.read_text()

    assert 'class="verdict verdict-improved"' not in text
    assert "+10.0 [+6.0, +15.0]" in text
    assert "improved" not in (report.parent / "summary.json").read_text()


def test_build_report_with_a_black_baseline_speaks_of_no_blur(tmp_path, plain):
    request = fakes.make_request(tmp_path, baseline="black", **plain)

    text = build_report(tmp_path / "out", request).read_text()

    assert "only the text left on a black picture" in text
    assert "blurred" not in text.split("<style>")[0] + text.split("</style>")[1]


def test_build_report_phantom_shows_the_truth(tmp_path):
    tests = ("original", "text_free", "text_swapped")
    request = fakes.make_request(
        tmp_path,
        comparison=fakes.make_comparison(tests),
        calibration=fakes.CALIBRATION,
    )

    report = build_report(tmp_path / "out", request)
    text = report.read_text()

    assert "Against the known truth" in text
    assert fakes.CALIBRATION.definition in text
    assert "2 trainings of each arm, pooled" in text
    assert (report.parent / "figures" / "calibration.png").is_file()


def test_build_report_without_audit_or_comparison_still_stands(tmp_path):
    request = fakes.make_request(
        tmp_path, audit=None, audits={}, cleaned=None, comparison=None, confounds=None
    )

    report = build_report(tmp_path / "out", request)

    assert _Page(report.read_text()).all("article") == []
    assert json.loads((report.parent / "summary.json").read_text())["audit"]["n_audited"] == 0


def test_build_report_unreadable_film_gets_a_card_with_the_reason(tmp_path, plain):
    request = fakes.make_request(tmp_path, **plain)
    (request.filmset / "test" / "f0.png").write_text("no image")

    report = build_report(tmp_path / "out", request)

    assert len(_Page(report.read_text()).all("article")) == 4
    assert "f0.png" in report.read_text()
    assert 'class="absent"' in report.read_text()


def test_build_report_broken_verdict_names_the_file(tmp_path, plain):
    request = fakes.make_request(tmp_path, **plain)
    (request.audit / "verdicts.jsonl").write_text('{"image_id": "a"}\n')

    with pytest.raises(ArtifactError, match=r"verdicts.jsonl: has a line that is not a verdict"):
        build_report(tmp_path / "out", request)


def test_build_report_pickled_map_is_refused(tmp_path, plain):
    request = fakes.make_request(tmp_path, **plain)
    place = request.audit / "maps" / "path_gradient" / f"{0:016x}.npy"
    np.save(place, np.array([{}]), allow_pickle=True)

    with pytest.raises(ArtifactError, match="is not a saliency map"):
        build_report(tmp_path / "out", request)


def test_build_report_existing_folder_is_not_overwritten(report, tmp_path, plain):
    with pytest.raises(ArtifactError, match="already exists"):
        build_report(report.parent, fakes.make_request(tmp_path, **plain))


def test_add_decisions_opens_with_them_and_cannot_break_out(report):
    decisions = [Decision("a", "reject", "me", note="</script><b>")]

    reviewed = add_decisions(report.parent, decisions)
    block = re.search(r'id="decisions">(.*?)</script>', reviewed.read_text()).group(1)

    assert json.loads(block) == {
        "a": {"decision": "reject", "reviewer": "me", "note": "</script><b>"}
    }
    assert find_damage(report.parent, kind="report") == []


def test_add_decisions_foreign_folder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        add_decisions(tmp_path / "absent", [])


def test_add_decisions_of_another_run_are_refused(report):
    with pytest.raises(InputContractError, match=r"none of the 1 films .*0123abcd"):
        add_decisions(report.parent, [Decision("0123abcd", "reject", "me")])


def test_read_decisions_last_line_about_a_film_or_region_counts(tmp_path):
    lines = tmp_path / "d.jsonl"
    lines.write_text(
        '{"image_id": "a", "decision": "accept", "reviewer": "x", "note": "n, \\"q\\""}\n\n'
        '{"image_id": "a", "decision": "unsure", "reviewer": "y"}\n'
        '{"image_id": "b", "decision": "reject", "reviewer": "x", "region_index": 0}\n'
        '{"image_id": "b", "decision": "keep", "reviewer": "x", "region_index": 0}\n'
        '{"image_id": "b", "decision": "add", "reviewer": "x", "box": [1, 2, 3.5, 4]}\n'
    )

    assert {line.subject: line for line in read_decisions(lines)} == {
        "a": Decision("a", "unsure", "y"),
        "b#0": Decision("b", "keep", "x", 0),
        "b#box:1,2,3.5,4": Decision("b", "add", "x", box=(1, 2, 3.5, 4)),
    }


def test_add_decisions_about_regions_carry_what_names_them(report):
    line = Decision("a", "keep", "me", 1, (1.0, 2.0, 3.0, 4.0))

    page = add_decisions(report.parent, [line]).read_text()
    block = re.search(r'id="decisions">(.*?)</script>', page).group(1)

    assert json.loads(block) == {
        "a#1": {
            "decision": "keep",
            "reviewer": "me",
            "note": "",
            "region_index": 1,
            "box": [1, 2, 3, 4],
        }
    }


def test_build_report_lists_the_regions_of_each_film_for_review(report):
    page = _Page(report.read_text())

    regions = [attrs for attrs in page.all("li") if attrs.get("class") == "region"]
    buttons = [b["data-region-decide"] for b in page.all("button") if "data-region-decide" in b]

    assert [region["data-box"] for region in regions] == ["5.0,20.0,15.0,26.0"] * 4
    assert buttons == ["accept", "keep", "reject"] * 4


def test_build_report_counts_text_by_source_and_class(report):
    text = json.loads((report.parent / "summary.json").read_text())["text"]

    assert [row["group"] for row in text["by_source"]] == ["all", "cohen"]
    assert [row["group"] for row in text["by_class"]] == ["all", "COVID-19"]
    assert text["by_source"][1] | {"mean_area_share": 0} == {
        "group": "cohen",
        "n_total": 4,
        "n_ok": 4,
        "n_with_text": 4,
        "n_regions": 4,
        "n_single_letters": 4,
        "mean_area_share": 0,
        "seen_by": {"rapidocr": 4},
        "rejected": {},
    }


def test_build_report_with_a_proof_warns_first_and_shows_its_numbers(tmp_path, plain):
    fakes.make_proof(tmp_path / "cleaning-proof-1")
    request = fakes.make_request(tmp_path, proof=tmp_path / "cleaning-proof-1", **plain)

    report = build_report(tmp_path / "out", request)
    summary = json.loads((report.parent / "summary.json").read_text())

    assert summary["headlines"][0] == (
        "Critical: number, size and place of the fills tell the class; clean with decoy_sets: 3."
    )
    assert summary["proof"]["flags"] == ["scar_predicts_label", "scar_visible"]
    assert summary["proof"]["mask_auc"]["normal"]["value"] == 0.8
    assert "40 of 90 cleaned films, drawn at random" in report.read_text()
    assert "took no part in finding what was cleaned" in report.read_text()
    assert "cleaning-proof-1" in report.read_text()


def test_build_report_films_that_could_not_be_scanned_are_not_counted_as_scanned(tmp_path, plain):
    request = fakes.make_request(tmp_path, **plain)
    filmset = fakes.load_filmset(request.filmset)
    (request.regions / "regions.jsonl").unlink()
    records = [FilmRegions(film.image_id, 40, 50, ()) for film in filmset.films]
    records[0] = FilmRegions(records[0].image, 0, 0, (), error="broken")
    write_regions(request.regions / "regions.jsonl", records)

    text = build_report(tmp_path / "out", request).read_text()

    assert "0 of 3 scanned with text" in text


def test_build_report_broken_proof_names_the_file(tmp_path, plain):
    fakes.make_proof(tmp_path / "cleaning-proof-1")
    (tmp_path / "cleaning-proof-1" / "proof.json").write_text("no json")
    request = fakes.make_request(tmp_path, proof=tmp_path / "cleaning-proof-1", **plain)

    with pytest.raises(ArtifactError, match=r"proof.json: is not a readable proof"):
        build_report(tmp_path / "out", request)
