"""What MLflow shows of a finished run, without running one."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from covid_debug.artifacts import write_artifact
from covid_debug.config.loader import build_config
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.comparison import write_comparison
from covid_debug.evaluation.predictions import (
    PREDICTIONS_NAME,
    FilmPredictions,
    write_predictions,
)
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.reporting.answers import list_train_test
from covid_debug.reporting.comparison import arrange_comparison
from covid_debug.reporting.figures import draw_confusion
from covid_debug.tracking.ready_view import SHOWN_COLUMNS
from flows.recording import open_recorder, question_table, train_test_table
from tests.audits import make_audited, write_made_up_audit
from tests.films import build_filmset, make_film
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
            "view": {"image_size": 64},
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
    compared = folder / "comparison"
    with write_artifact(compared, kind="comparison") as draft:
        write_comparison(draft.path, compare_arms(answers, NAMES, seed=0, n_resamples=20))
        write_predictions(draft.path / PREDICTIONS_NAME, answers, NAMES)
    run_dir = folder / "run"
    (run_dir / "figures").mkdir(parents=True)
    for name in (
        *("report.html", "comparison.csv", "flags.csv", "summary.json", "figures/a.png"),
        *("questions.csv", "maps.csv", "statistics.json"),
    ):
        (run_dir / name).touch()
    films = build_filmset(folder / "films", [make_film(i) for i in range(3)])
    ids = [film.image_id for film in films.films]
    audit = write_made_up_audit(folder / "audit", [make_audited(ids[0]), make_audited("gone")])
    network = build_backbone("resnet18_half", 2, channels=1)
    classifier = Classifier(network, class_names=NAMES, image_size=(64, 64)).eval()
    checkpoint = save_checkpoint(
        folder / "checkpoint", classifier, arch="resnet18_half", arch_params={}, view=config.view,
        texts={"history.json": "[]"},
    )  # fmt: skip
    for _ in range(2):  # a second start adds nothing
        with open_recorder(config) as recorder:
            for arm in ("original", "cleaned", "lung_crop"):
                with recorder.training(arm, 0, films.root) as log:
                    log.checkpoint(checkpoint)
            recorder.log_audit("cleaned", 0, audit, films.root)
            recorder.finish(
                run_dir,
                compared,
                answers=("Did it help? No evidence. It is 3 points.",),
                headlines=("One line.", "Another."),
                draw_confusion=draw_confusion,
            )
    mlflow.set_tracking_uri(config.tracking.uri)
    found = mlflow.search_runs(experiment_names=[config.tracking.experiment])
    return {run["tags.mlflow.runName"]: run for run in found.to_dict("records")}


def test_finish_logs_short_metrics_of_the_audited_class_on_the_runs_of_an_arm(runs):
    cleaned = runs["trained on cleaned, seed 0"]

    # 5 of 6 COVID-19 films are found, and one normal film is not taken for one: rounded.
    assert cleaned["metrics.recall"] == 0.833
    assert cleaned["metrics.prec.text_swapped"] == 1.0
    assert {f"metrics.{name}" for name in SHOWN_COLUMNS} <= set(cleaned)
    assert not [name for name in cleaned if name.endswith(("_low", "_high"))]


def test_an_audit_is_logged_on_the_run_of_its_model_class_by_class(runs):
    cleaned = runs["trained on cleaned, seed 0"]

    assert cleaned["metrics.audit/COVID-19/n_audited"] == 2
    assert np.isnan(runs["trained on original, seed 0"]["metrics.audit/COVID-19/driven"])


def test_rows_say_what_was_trained_newest_run_first_in_the_order_of_the_trainings(runs):
    rows = [run for run in runs.values() if isinstance(run["tags.newest first"], str)]
    rows.sort(key=lambda run: run["tags.newest first"], reverse=True)

    assert [run["tags.mlflow.runName"] for run in rows] == [
        f"trained on {arm}, seed 0" for arm in ("original", "cleaned", "lung_crop")
    ]
    assert {run["tags.run"] for run in rows} == {"tiny"}


def test_models_of_raw_films_are_registered_under_the_run_with_their_arm_as_alias(runs):
    from mlflow import MlflowClient

    client = MlflowClient()
    versions = client.search_model_versions("name = 'tiny'")
    crop = runs["trained on lung_crop, seed 0"]

    assert len(versions) == 2
    for arm in ("original", "cleaned"):
        named = client.get_model_version_by_alias("tiny", arm)
        assert named.tags == {"train_data": arm, "seed": "0"}
        assert named.run_id == runs[f"trained on {arm}, seed 0"]["run_id"]
    assert crop["tags.model"] == "none: sees films as lung_crop only"


def test_films_of_the_first_audit_and_curves_are_shown_with_the_model(runs):
    from mlflow import MlflowClient

    run_id = runs["trained on cleaned, seed 0"]["run_id"]
    images = [Path(file.path).name for file in MlflowClient().list_artifacts(run_id, "images")]
    others = {file.path for file in MlflowClient().list_artifacts(run_id)}

    assert len([name for name in images if name.endswith(".png")]) == 1
    assert images[0].startswith("films~")
    assert {"precision_recall.png", "confusion"} <= others


def test_finish_describes_the_parent_with_the_answer_and_a_small_table_first(runs):
    lines = runs["tiny"]["tags.mlflow.note.content"].splitlines()

    assert lines[0] == "Did it help? No evidence."
    assert lines[2] == "| COVID-19, % | prec | recall | prec.cleaned | recall.cleaned |"
    assert lines[5].startswith("| trained on cleaned | 100 [")
    assert "- One line." in lines
    assert any(line.startswith("| cleaned | text-swapped | 100 [") for line in lines)


def test_finish_logs_each_question_as_metrics_and_its_verdict_as_a_tag(runs):
    parent = runs["tiny"]

    # 11 of 12 right instead of 7, with either seed: balanced accuracy 5.5 of 6 instead of 3.5.
    assert parent["metrics.question/text_free"] == pytest.approx(2 / 6, abs=1e-4)
    assert 0 <= parent["metrics.question/text_free_p_holm"] <= 1
    assert parent["tags.question.text_free"] in {"improved", "no evidence"}
    assert parent["tags.question.unseen_source"] == "not measured"
    assert "metrics.question/unseen_source" not in parent
    assert parent["metrics.cleaned_minus_original/test_cleaned/COVID-19/recall"] > 0


def test_runs_name_who_made_them_with_which_code(runs):
    assert runs["tiny"]["tags.mlflow.user"]
    assert runs["tiny"]["tags.mlflow.source.git.commit"][:7].isalnum()


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
