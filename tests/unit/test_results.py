"""The run that is kept of each release is still read, shown and reported on."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from covid_debug import results
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.calibration import load_calibration
from covid_debug.audit.confounds import load_confounds
from covid_debug.cleaning.proof import load_proof
from covid_debug.errors import ArtifactError
from covid_debug.evaluation.comparison import load_comparison
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.reporting.report import build_report
from covid_debug.reporting.stage import ReportRequest
from covid_debug.reporting.tables import write_csv
from tests.unit.reporting import reporting_fakes as fakes

KEPT = sorted((Path(__file__).parents[1] / "data" / "runs").glob("*.*/"))
VIEW = ViewSpec(image_size=64)
LOADERS = {
    "audit": load_audit,
    "cleaning-proof": load_proof,
    "comparison": load_comparison,
    "confounds": load_confounds,
    "flag-calibration": load_calibration,
    "report": results.load_run,
}

GONE = {"null_revealed_min", "null_revealed_max"}  # of flags.csv: nulls are no longer revealed


def test_a_run_of_this_release_is_kept() -> None:
    assert [folder.name for folder in KEPT] == ["0.1"]


def read(path: Path) -> object:
    if path.suffix == ".json":
        record = json.loads(path.read_text())
        del record["headlines"]  # sentences; their numbers stand in the other keys
        for difference in record["differences"].values():
            for entry in difference.values():
                entry.pop("verdict", None)  # only questions have one now
        return record
    with path.open(newline="") as stream:
        return [
            {name: cell for name, cell in row.items() if name not in GONE}
            for row in csv.DictReader(stream)
        ]


def keeps(old: object, new: object) -> bool:
    """Tell whether all that was there is still the same; keys and columns may be added."""
    if isinstance(old, dict):
        return all(key in new and keeps(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(keeps, old, new))
    return old == new


@pytest.mark.parametrize("kept", KEPT, ids=lambda folder: folder.name)
def test_report_of_a_kept_run_is_made_again_with_the_same_numbers(
    kept: Path, tmp_path: Path
) -> None:
    request = ReportRequest(
        title="kept",
        filmset=kept / "filmset",
        regions=kept / "regions",
        view=VIEW,
        cleaned=kept / "cleaned",
        audit=kept / "audit",
        proof=kept / "cleaning-proof",
        comparison=kept / "comparison",
        confounds=kept / "confounds",
        calibration=kept / "flag-calibration",
    )

    report = build_report(tmp_path / "again", request)

    for name in ("summary.json", "flags.csv", "comparison.csv"):
        assert keeps(read(kept / "report" / name), read(report.parent / name)), name
    page = report.read_text()
    for absence in ('class="absent"', "cells, not the view", "Not in this version"):
        assert absence not in page


def test_maps_of_an_audit_with_one_method_are_that_methods() -> None:
    audit = load_audit(KEPT[0] / "audit")

    (film,) = (film for film in audit.films if film.maps)
    assert audit.map_methods == tuple(film.maps) == ("igos_pp",)
    assert audit.load_map(film.image_id, "igos_pp").shape == (64, 64)
    assert audit.load_map(film.image_id, "path_gradient") is None
    assert audit.summary.maps["igos_pp"]["suspected"].n_explained == 1


@pytest.mark.parametrize("kept", KEPT, ids=lambda folder: folder.name)
@pytest.mark.parametrize("kind", LOADERS)
def test_a_newer_schema_is_refused_in_one_line(kept: Path, kind: str, tmp_path: Path) -> None:
    folder = shutil.copytree(kept / kind, tmp_path / kind)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))

    with pytest.raises(ArtifactError, match=r"newer covid_debug .*99.*; update it$"):
        LOADERS[kind](folder)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A folder of runs with one run, a draft, a file and an audit."""
    shutil.copytree(KEPT[-1] / "report", tmp_path / "reports" / "kept-1")
    (tmp_path / "reports" / "kept-2.partial-01234567").mkdir()
    (tmp_path / "reports" / "README.md").touch()
    shutil.copytree(KEPT[-1] / "audit", tmp_path / "reports" / "an-audit")
    return tmp_path / "reports"


def test_runs_lists_finished_runs_and_passes_over_the_rest(reports: Path) -> None:
    frame = results.runs(reports)

    assert frame["run"].tolist() == [str(reports / "kept-1")]
    assert frame["n_audited"].tolist() == [len(results.films(frame["run"][0]))]
    assert dict(frame.dtypes.astype(str))["finished"] == "datetime64[ns]"


def test_runs_of_an_empty_folder_is_a_table_without_rows(tmp_path: Path) -> None:
    assert results.runs(tmp_path).empty
    assert "headline" in results.runs(tmp_path).columns


def test_films_have_typed_columns_and_the_most_severe_come_first(reports: Path) -> None:
    frame = results.films(results.load_run(reports / "kept-1"))

    kinds = dict(frame.dtypes.astype(str))
    assert (kinds["probability"], kinds["n_regions"], kinds["has_card"]) == (
        "float64",
        "Int64",
        "boolean",
    )
    assert kinds["verdict"] == "category"
    assert frame["verdict"].is_monotonic_increasing
    assert (frame["drop"] - (frame["probability"] - frame["text_removed"])).abs().max() < 1e-5


def test_words_of_tables_are_kept_from_spreadsheets_and_read_as_they_were(reports: Path) -> None:
    row = SimpleNamespace(image_id="=1+1", drop=-0.5, path=None)
    assert write_csv(("image_id", "drop", "path"), [row]) == "image_id,drop,path\n'=1+1,-0.5,\n"
    table = reports / "kept-1" / "flags.csv"
    first = results.films(reports / "kept-1")["image_id"][0]
    table.write_text(table.read_text().replace(f"{first},", "'=1+1,"))

    frame = results.films(reports / "kept-1")

    assert frame["image_id"][0] == "=1+1"
    assert str(frame.dtypes["image_id"]) == "string"


def test_comparison_holds_pooled_rows_and_single_seeds(reports: Path) -> None:
    frame = results.comparison(reports / "kept-1")

    assert set(frame["seed"]) == {"0", "pooled"}
    accuracy = frame.query("metric == 'accuracy' and seed == 'pooled'")
    assert accuracy["value"].between(0, 1).all()
    assert set(accuracy["train_data"]) == {"original", "cleaned", "placebo"}


def test_questions_and_train_test_of_an_old_run_are_empty_tables_with_their_columns(
    reports: Path,
) -> None:
    questions, small = (
        read(reports / "kept-1") for read in (results.questions, results.train_test)
    )

    assert (len(questions), len(small)) == (0, 0)
    assert {"question", "p_holm", "smallest", "verdict"} <= set(questions.columns)
    assert {"train_data", "precision_low", "recall_high"} <= set(small.columns)


def test_questions_and_train_test_of_a_comparison_in_memory() -> None:
    comparison = fakes.make_comparison()

    questions, small = results.questions(comparison), results.train_test(comparison)

    assert questions["verdict"].tolist() == ["improved", "not measured"]
    assert str(questions["value"].dtype) == "float64"
    assert questions["n_seeds"].tolist() == [2, 0]
    assert small["class_name"].unique().tolist() == ["COVID-19"]
    assert len(small) == 4


def test_a_run_of_now_shows_questions_and_precision_and_recall(tmp_path: Path) -> None:
    report = build_report(tmp_path / "reports" / "demo-1", fakes.make_request(tmp_path))

    run = results.load_run(report.parent)
    page = run._repr_html_()

    assert results.questions(run)["p_holm"].iloc[0] == 0.012
    assert len(results.train_test(run)) == 4
    assert "COVID-19 precision and recall, %" in page
    assert page.count("trained on cleaned") == 1
    assert "<p><b>Did cleaning help? Improved, where measured. Right on films without" in page


def test_run_shows_headlines_comparison_and_report(reports: Path) -> None:
    run = results.load_run(reports / "kept-1")

    page = run._repr_html_()

    assert page.count("<li>") == len(run.summary.headlines)
    assert str(run.report) in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("flags.csv", "image_id,path\na,b\n", r"flags\.csv: has no column patient_id"),
        ("flags.csv", "", r"flags\.csv: is not readable"),
        ("summary.json", "{}", r"summary\.json: is not readable \(schema_version: Field required"),
    ],
)
def test_a_broken_run_is_one_error_that_names_the_file(
    reports: Path, name: str, content: str, complaint: str
) -> None:
    (reports / "kept-1" / name).write_text(content)

    with pytest.raises(ArtifactError, match=complaint):
        results.films(reports / "kept-1")


def test_a_run_of_before_the_table_of_maps_says_to_make_the_report_again(reports: Path) -> None:
    with pytest.raises(ArtifactError, match=r"maps\.csv: is not readable .*make the report again"):
        results.maps(reports / "kept-1")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no manifest.json; expected a complete report"):
        results.films(tmp_path)
    with pytest.raises(ArtifactError, match="no such folder"):
        results.runs(tmp_path / "absent")
