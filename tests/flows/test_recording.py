"""What MLflow shows of a finished run, without running one."""

from types import SimpleNamespace

import numpy as np
import pytest

from covid_debug.config.loader import build_config
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.predictions import FilmPredictions
from covid_debug.reporting.answers import list_train_test
from covid_debug.reporting.comparison import arrange_comparison
from covid_debug.reporting.figures import draw_confusion
from covid_debug.tracking.recorder import SHOWN_COLUMNS
from flows.recording import open_recorder, question_table, train_test_table
from tests.audits import make_audit, make_audited
from tests.unit.reporting import reporting_fakes as fakes

pytestmark = pytest.mark.filterwarnings("default")  # other packages' deprecations
NAMES = ("normal", "COVID-19")


def make_answers(arm: str, test_data: str, n_right: int, seed: int = 0) -> FilmPredictions:
    labels = np.arange(12, dtype=np.int64) % 2
    predicted = np.where(np.arange(12) < n_right, labels, 1 - labels)
    return FilmPredictions(
        arm,
        seed,
        test_data,
        tuple(f"film{i}" for i in range(12)),
        tuple(f"p{i}" for i in range(12)),
        ("s",) * 12,
        labels,
        np.eye(2, dtype=np.float32)[predicted],
        12,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Runs by name, as MLflow's own client returns them."""
    import mlflow

    folder = tmp_path_factory.mktemp("recorded")
    config = build_config(
        {
            "name": "tiny",
            "data": {"kind": "phantom", "n_train": 30, "n_test": 12},
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
            "data_dir": str(folder),
            "reports_dir": str(folder / "reports"),
        },
        where="test",
    )
    answers = [
        make_answers(arm, test_data, n_right, seed)
        for arm, n_right in (("original", 7), ("cleaned", 11))
        for test_data in ("original", "cleaned", "text_swapped")
        for seed in (0, 1)
    ]
    comparison = compare_arms(answers, NAMES, seed=0, n_resamples=20)
    run_dir = folder / "run"
    (run_dir / "figures").mkdir(parents=True)
    for name in (
        *("report.html", "comparison.csv", "flags.csv", "summary.json", "figures/a.png"),
        *("questions.csv", "statistics.json"),
    ):
        (run_dir / name).touch()
    with open_recorder(config) as recorder:
        recorder.log_audit("cleaned", 0, make_audit([make_audited()]).summary)
        recorder.finish(run_dir, ("One line.", "Another."), comparison, draw_confusion)
    mlflow.set_tracking_uri(config.tracking.uri)
    found = mlflow.search_runs(experiment_names=[config.tracking.experiment])
    return {run["tags.mlflow.runName"]: run for run in found.to_dict("records")}


def test_finish_logs_short_metrics_of_the_audited_class_on_the_runs_of_an_arm(runs):
    cleaned = runs["cleaned-seed0"]

    # 5 of 6 COVID-19 films are found, and one normal film is not taken for one: rounded.
    assert cleaned["metrics.recall.original"] == 0.833
    assert cleaned["metrics.prec.text_swapped"] == 1.0
    assert {f"metrics.{name}" for name in SHOWN_COLUMNS} <= set(cleaned)


def test_an_audit_is_logged_on_the_run_of_its_model_class_by_class(runs):
    cleaned = runs["cleaned-seed0"]

    assert cleaned["metrics.audit/COVID-19/n_audited"] == 1
    assert cleaned["metrics.audit/COVID-19/rests_on_text_upper"] == 1.0
    assert np.isnan(runs["original-seed0"]["metrics.audit/COVID-19/driven"])


def test_finish_describes_the_parent_with_headlines_and_a_table(runs):
    note = runs["tiny"]["tags.mlflow.note.content"]

    assert note.startswith("- One line.\n- Another.\n")
    assert "| trained on | tested on | COVID-19 precision, % | COVID-19 recall, % |" in note
    assert "| cleaned | original | 100.0 [" in note


def test_finish_logs_each_question_as_metrics_and_its_verdict_as_a_tag(runs):
    parent = runs["tiny"]

    # 11 of 12 right instead of 7, with either seed: balanced accuracy 5.5 of 6 instead of 3.5.
    assert parent["metrics.question/text_free"] == pytest.approx(2 / 6)
    assert parent["metrics.question/text_free_low"] <= 2 / 6
    assert 0 <= parent["metrics.question/text_free_p_holm"] <= 1
    assert parent["metrics.question/text_free_smallest"] > 0
    assert parent["tags.question.text_free"] in {"improved", "no evidence"}
    assert parent["tags.question.unseen_source"] == "not measured"
    assert "metrics.question/unseen_source" not in parent


def test_prefect_s_tables_hold_the_questions_and_precision_and_recall():
    summary = SimpleNamespace(
        questions=(fakes.make_answer(), fakes.make_answer("not measured")),
        train_test=list_train_test(arrange_comparison(fakes.make_comparison())),
    )

    first, second = question_table(summary)
    row = train_test_table(summary)[0]

    assert (first["value"], first["p (Holm)"]) == ("+12.0 points (+4.0 to +19.0)", "p = 0.012")
    assert (second["value"], second["answer"]) == ("no arm 'placebo'", "not measured")
    assert (row["class"], row["trained on"], row["tested on"]) == ("COVID-19",) + ("original",) * 2
    assert row["precision, %"] == "73 [67, 78]"


def test_shown_columns_can_be_told_apart_at_the_width_of_a_column():
    assert max(map(len, SHOWN_COLUMNS)) <= 15
    assert len({name[:12] for name in SHOWN_COLUMNS}) == len(SHOWN_COLUMNS)
