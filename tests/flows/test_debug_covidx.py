"""The whole loop on tiny phantoms: complete, resumable, and the same after an interruption."""

import dataclasses
import json
from pathlib import Path

import pytest

from covid_debug.artifacts import hash_file
from covid_debug.cleaning.proof import ProofParams
from covid_debug.config.loader import build_config
from covid_debug.config.schema import RunConfig
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.places import prepare_folders

pytestmark = [
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]

WORK = (
    "data.stage.generate_phantom",
    "text.stage.scan_to_records",
    "cleaning.stage.clean_filmset",
    "cleaning.stage.prove_cleaning",
    "training.stage.train_classifier",
    "audit.stage.audit_filmset",
    "audit.transfer_stage.transfer_markers",
    "audit.shortcuts.map_shortcuts",
    "audit.stage.calibrate",
    "audit.stage.compute_confounds",
    "evaluation.stage.compare_arms",
    "reporting.stage.build_report",
)
QUICK = {
    "data.stage.generate_phantom",
    "audit.transfer_stage.transfer_markers",
    "audit.shortcuts.map_shortcuts",
    "audit.stage.calibrate",
    "audit.stage.compute_confounds",
    "evaluation.stage.compare_arms",
    "reporting.stage.build_report",
}
RUN_FILES = (
    *("report.html", "summary.json", "manifest.json"),
    *("comparison.csv", "flags.csv", "maps.csv"),
)


def make_config(folder: Path, **changes: object) -> RunConfig:
    tree = {
        "name": "tiny",
        "data": {"kind": "phantom", "n_train": 30, "n_test": 12, "seed": 3},
        "view": {"image_size": 64},
        "text": {"detector": "rapidocr", "params": {"max_side": 256, "scales": [1.0]}},
        "training": {"arch": "resnet18_half", "n_epochs": 1},
        "proof": {"max_films": 12},
        "audit": {"grid_size": 8, "max_explained": 2, "n_nulls": 4},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        "compute": {"n_workers": 1},
        "data_dir": str(folder / "data"),
        "reports_dir": str(folder / "reports"),
    }
    return build_config(tree | changes, where="test")


def run_flow(config: RunConfig, command: str = "covid-debug run 'my file.yaml'") -> Path:
    from covid_debug.terminal import RunConsole
    from flows.debug_covidx import count_stages, debug_covidx

    return debug_covidx(config, RunConsole(count_stages(config)), command).run_dir


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: None
) -> tuple[Path, RunConfig]:
    folder = tmp_path_factory.mktemp("undisturbed")
    config = make_config(folder)
    return run_flow(config), config


def test_run_leaves_every_promised_file(undisturbed: tuple[Path, RunConfig]) -> None:
    run_dir, _ = undisturbed

    assert all((run_dir / name).is_file() for name in RUN_FILES)
    assert list((run_dir / "figures").glob("*.png"))
    assert "not for clinical use" in (run_dir / "report.html").read_text().lower()


def test_second_start_repeats_nothing(
    undisturbed: tuple[Path, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, config = undisturbed

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage was repeated")

    for work in WORK:
        monkeypatch.setattr(f"covid_debug.{work}", refuse)

    assert run_flow(config) == run_dir


@pytest.mark.parametrize("work", [work for work in WORK if work not in QUICK])
def test_interrupted_run_ends_with_the_same_files(
    undisturbed: tuple[Path, RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
) -> None:
    config = make_config(tmp_path)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"covid_debug.{work}", die)
        with pytest.raises(KeyboardInterrupt):
            run_flow(config)
    run_dir = run_flow(config)

    for name in ("summary.json", "comparison.csv", "flags.csv", "maps.csv"):
        assert hash_file(run_dir / name) == hash_file(undisturbed[0] / name), name


def test_mlflow_holds_the_comparison(undisturbed: tuple[Path, RunConfig]) -> None:
    import mlflow

    _, config = undisturbed
    mlflow.set_tracking_uri(config.tracking.uri)
    runs = mlflow.search_runs(experiment_names=[config.tracking.experiment])

    assert set(runs["status"]) == {"FINISHED"}
    assert runs["tags.mlflow.parentRunId"].notna().sum() == 2
    assert any(name.startswith("metrics.") and "macro_f1" in name for name in runs.columns)


def test_proof_of_cleaning_is_a_stage_with_metrics_and_a_section(
    undisturbed: tuple[Path, RunConfig],
) -> None:
    import mlflow

    run_dir, config = undisturbed
    summary = json.loads((run_dir / "summary.json").read_text())["proof"]
    (folder,) = config.data_dir.glob("cleaning-proof-*")
    mlflow.set_tracking_uri(config.tracking.uri)
    runs = mlflow.search_runs(experiment_names=[config.tracking.experiment])
    (parent,) = runs[runs["tags.mlflow.parentRunId"].isna()].to_dict("records")

    assert (summary["detector"], summary["is_independent"]) == ("marker", True)
    assert (summary["n_scanned"], summary["n_total"]) == (12, 42)
    for name in ("residual_text", "text_before"):
        assert parent[f"metrics.proof/{name}"] == round(summary[name]["value"], 4)
    assert folder.name in (run_dir / "report.html").read_text()


def test_proof_can_be_left_out(
    undisturbed: tuple[Path, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.debug_covidx import count_stages

    _, config = undisturbed
    without = dataclasses.replace(config, proof=ProofParams(0))
    monkeypatch.setattr("flows.tasks.prove", None)

    summary = json.loads((run_flow(without) / "summary.json").read_text())

    assert count_stages(without) == count_stages(config) - 1
    assert summary["proof"] is None


def test_damaged_artifact_is_made_again(undisturbed: tuple[Path, RunConfig]) -> None:
    run_dir, config = undisturbed
    (victim,) = config.data_dir.glob("comparison-*")
    manifest = json.loads((victim / "manifest.json").read_text())
    (victim / "comparison.csv").write_text("damaged")

    assert run_flow(config) == run_dir

    assert hash_file(victim / "comparison.csv") == manifest["files"]["comparison.csv"]


def test_damaged_report_is_made_again_and_what_a_reviewer_wrote_is_kept(
    undisturbed: tuple[Path, RunConfig],
) -> None:
    run_dir, config = undisturbed
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "report.html").write_text("damaged")
    (run_dir / "report-reviewed.html").write_text("work of hours")

    assert run_flow(config) == run_dir

    assert hash_file(run_dir / "report.html") == manifest["files"]["report.html"]
    (kept,) = config.reports_dir.glob("*.damaged-*/report-reviewed.html")
    assert kept.read_text() == "work of hours"


def test_report_shows_the_command_that_was_given_and_is_found_by_another_one(
    undisturbed: tuple[Path, RunConfig],
) -> None:
    run_dir, config = undisturbed

    assert "covid-debug run &#39;my file.yaml&#39;" in (run_dir / "report.html").read_text()
    assert run_flow(config, "covid-debug run other.yaml") == run_dir


def test_drafts_of_killed_runs_are_cleared_where_artifacts_and_reports_lie(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    drafts = [folder / "x.partial-12345678" for folder in (config.data_dir, config.reports_dir)]
    for draft in drafts:
        draft.mkdir(parents=True)

    prepare_folders(config.data_dir, config.reports_dir)

    assert not any(draft.exists() for draft in drafts)


def test_runs_and_stages_have_names_in_prefect(undisturbed: tuple[Path, RunConfig]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    run_dir, _ = undisturbed
    with get_client(sync_client=True) as client:
        flows = {run.name for run in client.read_flow_runs()}
        tasks = {run.name for run in client.read_task_runs()}
        names = ["debug-covidx-summary", "debug-covidx-questions", "debug-covidx-comparison"]
        key = ArtifactFilter(key=ArtifactFilterKey(any_=names))
        pages = [artifact.data for artifact in client.read_artifacts(artifact_filter=key)]

    assert any(name.startswith("tiny 20") for name in flows)
    assert {"ingest", "find text", "train cleaned seed 0", "report"} <= tasks
    assert any(f"`{run_dir / 'report.html'}`" in str(page) for page in pages)
    assert any("lessen what is lost when text is exchanged?" in str(page) for page in pages)
    assert any("recall, %" in str(page) for page in pages)


def test_too_many_failed_films_stop_the_run(
    undisturbed: tuple[Path, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = undisturbed

    def load_broken(folder: Path) -> FilmSet:
        films = load_filmset(folder)
        return dataclasses.replace(films, films=films.films[:20])

    monkeypatch.setattr("covid_debug.data.stage.load_filmset", load_broken)
    with pytest.raises(DataIntegrityError, match="22 of 42 films cannot be used"):
        run_flow(config)
