"""Runs that start from plain strings, as Prefect's page and a work pool start them."""

import json
from pathlib import Path

import pytest
import yaml

from tests.flows.test_debug_covidx import make_config

pytestmark = [
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]


def write_tree(folder: Path) -> Path:
    config = make_config(folder)
    path = folder / "tiny.yaml"
    tree = {
        "name": config.name,
        "data": {"kind": "phantom", "n_train": 30, "n_test": 12, "seed": 3},
        "view": {"image_size": 64},
        "text": {"detector": "marker"},
        "training": {"arch": "resnet18_half", "n_epochs": 1},
        "proof": {"max_films": 0},
        "audit": {"grid_size": 8, "max_explained": 0, "n_nulls": 4},
        "tracking": {"uri": config.tracking.uri},
        "compute": {"n_workers": 1},
        "data_dir": str(config.data_dir),
        "reports_dir": str(config.reports_dir),
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def test_run_of_a_path_and_overrides_completes_under_its_name(
    tmp_path: Path, prefect_server: None
) -> None:
    import mlflow

    from flows.starting import run_configuration

    path = write_tree(tmp_path)
    state = run_configuration(str(path), ["name=from-page"], return_state=True)

    assert state.is_completed(), state.message
    (report,) = (tmp_path / "reports").glob("from-page-*/report.html")
    assert state.message == f"report: {report}"
    assert f"covid-debug run {path} --set name=from-page" in report.read_text()
    mlflow.set_tracking_uri(make_config(tmp_path).tracking.uri)
    runs = mlflow.search_runs(experiment_names=["covid_debug"])
    assert "from-page" in set(runs["tags.mlflow.runName"])


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("nosuch.yaml", [], "nosuch.yaml: cannot be read (No such file or directory)"),
        ("tiny.yaml", ["training.n_epoch=5"], "did you mean 'n_epochs'?"),
        ("tiny.yaml", ["n_epochs"], "--set 'n_epochs': expected KEY=VALUE"),
        ("tiny.yaml", ["compute.device=abacus"], "abacus"),
    ],
)
def test_what_a_user_can_mend_fails_the_run_with_one_line(
    tmp_path: Path,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    overrides: list[str],
    message: str,
) -> None:
    from flows.starting import run_configuration

    write_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    state = run_configuration(config, overrides, return_state=True)

    assert state.is_failed()
    assert message in str(state.message)
    assert "\n" not in str(state.message)
    assert not (tmp_path / "reports").exists()


def test_form_asks_for_a_path_and_a_list_of_texts_and_explains_both() -> None:
    from flows.starting import run_configuration

    fields = json.loads(run_configuration.parameters.model_dump_json())["properties"]

    assert fields["config"]["type"] == "string"
    assert (fields["overrides"]["type"], fields["overrides"]["items"]) == (
        "array",
        {"type": "string"},
    )
    assert all(field["description"] for field in fields.values())


def test_command_is_written_without_passwords() -> None:
    from flows.starting import write_command

    uri = "tracking.uri=postgresql://me:secret@host/base"

    assert write_command("run", "my file.yaml", "--set", uri) == (
        "covid-debug run 'my file.yaml' --set tracking.uri=postgresql://me:***@host/base"
    )
