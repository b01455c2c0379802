import base64
import json
import socket
import time
import zlib

import pytest
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

from covid_debug.errors import TrackingError
from covid_debug.tracking import mlflow_tracker
from covid_debug.tracking.mlflow_tracker import KEY_TAG, MlflowTracker, default_tracking_uri
from covid_debug.tracking.names import flatten_params, metric_name

pytestmark = pytest.mark.filterwarnings("ignore::Warning:(mlflow|sqlalchemy|alembic)")


def test_parent_finished_run_holds_params_metrics_and_tags(tracker):
    with tracker.run("flow-1", "demo", {"training": {"lr": 0.1}}, {"arm": "x"}) as run:
        run.log_epoch(1, {"train/loss": 0.5, "val/macro_f1": 0.25})
        run.log_epoch(2, {"train/loss": 0.4, "val/macro_f1": float("nan")})

    stored = tracker._client.get_run(run.run_id)
    history = tracker._client.get_metric_history(run.run_id, "train/loss")

    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"training.lr": "0.1"}
    assert stored.data.tags[KEY_TAG] == "flow-1"
    assert stored.data.tags["arm"] == "x"
    assert [(entry.step, entry.value) for entry in history] == [(1, 0.5), (2, 0.4)]
    assert stored.data.metrics["val/macro_f1"] == 0.25


def test_parent_body_raises_run_is_failed_and_error_kept(tracker):
    with (
        pytest.raises(ZeroDivisionError),
        tracker.run("flow-1", "demo", {}, {}) as run,
        tracker.child(run, "original-0", {}, {}) as child,
    ):
        raise ZeroDivisionError

    assert tracker._client.get_run(run.run_id).info.status == "FAILED"
    assert tracker._client.get_run(child.run_id).info.status == "FAILED"


def test_parent_interrupted_run_is_killed(tracker):
    with pytest.raises(KeyboardInterrupt), tracker.run("flow-1", "demo", {}, {}) as run:
        raise KeyboardInterrupt

    assert tracker._client.get_run(run.run_id).info.status == "KILLED"


def test_second_start_continues_the_same_runs_without_repeating_epochs(store, tmp_path):
    ids = []
    for _ in range(2):
        tracker = MlflowTracker(f"sqlite:///{store}", "demo", (tmp_path / "files").as_uri())
        with tracker.run("flow-1", "demo", {"a": 1}, {}) as run:
            with tracker.child(run, "original-0", {"seed": 0}, {"arm": "original"}) as child:
                child.log_epoch(1, {"train/loss": 0.5})
            ids.append((run.run_id, child.run_id))

    history = tracker._client.get_metric_history(child.run_id, "train/loss")
    children = tracker._client.search_runs([tracker._experiment_id])

    assert ids[0] == ids[1]
    assert len(history) == 1
    assert len(children) == 2
    assert tracker._client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == run.run_id


def test_what_is_added_to_a_finished_run_is_no_part_of_its_duration(tracker):
    with tracker.run("one", "one", {}, {}) as run:
        pass
    client = tracker._client
    client.set_terminated(run.run_id, "FINISHED", end_time=int(run.started.timestamp() * 1000) + 5)
    ended = client.get_run(run.run_id).info.end_time

    with tracker.run("one", "one", {}, {}) as run:
        run.log_metrics({"prec": 0.5})

    info = client.get_run(run.run_id).info
    assert (info.status, info.end_time) == ("FINISHED", ended)


def test_resumed_run_with_changed_param_keeps_the_first_value(tracker):
    for value in (1, 2):
        with tracker.run("flow-1", "demo", {"n_workers": value}, {}) as run:
            pass

    assert tracker._client.get_run(run.run_id).data.params == {"n_workers": "1"}


def test_log_dataset_file_and_figure_are_stored(tracker, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>hello</p>")
    with tracker.run("flow-1", "demo", {}, {}) as run:
        run.log_dataset("phantom", "abc123", role="train", n_films=7, source="/data/phantom")
        run.log_file(report)
        run.log_figure(Figure(figsize=(1, 1)), "figures/a.png")

    stored = tracker._client.get_run(run.run_id)
    names = {entry.path for entry in tracker._client.list_artifacts(run.run_id)}

    assert stored.inputs.dataset_inputs[0].dataset.digest == "abc123"
    assert stored.inputs.dataset_inputs[0].tags[0].value == "train"
    assert {"report.html", "figures"} <= names
    assert (tmp_path / "files" / run.run_id / "artifacts" / "report.html").is_file()


def test_log_file_missing_is_one_clear_line(tracker, tmp_path):
    with (
        pytest.raises(TrackingError, match=r"no such file to keep with run flow-1"),
        tracker.run("flow-1", "demo", {}, {}) as run,
    ):
        run.log_file(tmp_path / "absent.html")


def test_urls_open_the_table_of_machine_learning_runs(tracker):
    with tracker.run("flow-1", "demo", {}, {}) as run:
        pass

    assert "workflowType=machine_learning&viewStateShareKey=" in tracker.runs_url
    assert run.url.endswith(f"/runs/{run.run_id}?workflowType=machine_learning")


def test_ready_view_shows_the_runs_of_an_arm_only(tracker):
    tags = tracker._client.get_experiment(tracker._experiment_id).tags
    (shared,) = [text for name, text in tags.items() if "sharedViewState" in name]
    packed = json.loads(shared)["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    with (
        tracker.run("flow-1", "demo", {}, {}) as run,
        tracker.child(run, "original-seed0", {}, {"train_data": "original"}) as child,
    ):
        pass

    shown = tracker._client.search_runs([tracker._experiment_id], state["searchFilter"])

    assert [found.info.run_id for found in shown] == [child.run_id]


def test_describe_is_what_mlflow_shows_on_the_run_page(tracker):
    with tracker.run("flow-1", "demo", {}, {}) as run:
        run.describe("- a line")

    stored = tracker._client.get_run(run.run_id)
    assert stored.data.tags["mlflow.note.content"] == "- a line"


def test_unknown_host_fails_quickly_with_the_remedy():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.monotonic()

    with pytest.raises(TrackingError, match=r"no MLflow server answers.*leave tracking.uri out"):
        MlflowTracker(f"http://127.0.0.1:{port}")
    with pytest.raises(TrackingError, match=r"no database answers") as caught:
        MlflowTracker(f"postgresql://me:secret@127.0.0.1:{port}/runs")

    assert time.monotonic() - start < 10
    assert "secret" not in str(caught.value)


def test_sqlite_that_is_no_database_fails_at_once(tmp_path):
    broken = tmp_path / "mlflow.db"
    broken.write_text("hello " * 1000)

    with pytest.raises(TrackingError, match=r"cannot be opened .file is not a database"):
        MlflowTracker(f"sqlite:///{broken}")


def test_sqlite_below_a_file_fails_with_the_remedy(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(TrackingError, match=r"--set tracking.uri=sqlite"):
        MlflowTracker(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


@pytest.mark.parametrize("uri", ["mlruns", "ftp://host", "sqlite://"])
def test_unknown_form_lists_the_forms(uri):
    with pytest.raises(TrackingError, match=r"expected sqlite:////absolute"):
        MlflowTracker(uri)


def test_deleted_experiment_says_how_to_go_on(tracker, store):
    tracker._client.delete_experiment(tracker._experiment_id)

    with pytest.raises(TrackingError, match=r"'demo' is deleted; restore it"):
        MlflowTracker(f"sqlite:///{store}", "demo")


def test_default_uri_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert default_tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_metric_name_hostile_class_is_made_safe():
    assert metric_name("test", "COVID-19", "f1") == "test/COVID-19/f1"
    assert metric_name("test", "<b>/x", "f1") == "test/_b__x/f1"


def test_flatten_params_nested_gives_dotted_names():
    assert dict(flatten_params({"a": {"b": 1, "c": {}}, "d": (1, 2)})) == {
        "a.b": "1",
        "a.c": "{}",
        "d": "(1, 2)",
    }


def test_tables_of_a_store_are_made_by_one_process_at_a_time(store, tmp_path, monkeypatch):
    make_client = mlflow_tracker._make_client
    seen = []

    def make_while_locked(uri):
        with pytest.raises(Timeout):
            FileLock(tmp_path / "mlflow.db.lock").acquire(timeout=0)
        seen.append(uri)
        return make_client(uri)

    monkeypatch.setattr(mlflow_tracker, "_make_client", make_while_locked)
    MlflowTracker(f"sqlite:///{store}", "t", (tmp_path / "files").as_uri())

    assert len(seen) == 1
    with FileLock(tmp_path / "mlflow.db.lock", timeout=0):
        pass  # free again
