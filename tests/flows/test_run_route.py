"""A run from the command line: one line for an error, one run at a time, nothing left behind."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from covid_debug.cli.failures import describe_failure, find_interruption, termination_raised
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.places import hold_store
from covid_debug.tether import tethered
from tests.cli import refusal
from tests.flows.test_cli_ui import EVERYWHERE, find_listening
from tests.flows.test_preflight import make_covidx

CONFIG = """\
name: tiny
data: {{kind: covidx, folder: {films}, train_list: {films}/train.txt, test_list: {films}/test.txt}}
view: {{image_size: 64}}
text: {{detector: marker}}
audit: {{target_class: positive}}
training: {{arch: resnet18_half}}
tracking: {{uri: "sqlite:///{folder}/mlflow.db"}}
data_dir: {folder}/data
reports_dir: {folder}/reports
"""


def write_config(folder: Path) -> Path:
    """Write a run that passes every check and dies in its first stage: its films are empty."""
    make_covidx(folder / "films", ["negative", "positive"] * 2)
    path = folder / "tiny.yaml"
    path.write_text(CONFIG.format(folder=folder, films=folder / "films"))
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | EVERYWHERE | {"PYTHONUNBUFFERED": "1"},
    )


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """Return the folder, exit code and output of a run whose films cannot be read."""
    folder = tmp_path_factory.mktemp("failed")
    process = start("-m", "covid_debug.cli.main", "run", write_config(folder))
    output, errors = process.communicate(timeout=300)
    return folder, process.returncode, output, errors


def test_error_of_a_stage_is_one_line(failed: tuple[Path, int, str, str]) -> None:
    _, code, output, errors = failed

    assert code == 1
    assert errors.count("\n") == 1, errors
    assert errors.startswith("error: ")
    assert "6 of 6 films are missing or unreadable" in errors
    assert output.splitlines() == [
        "covid-debug: tiny (research tool, not for clinical use)",
        "      films are worked on by 2 processes on this machine",
        "[1/13] Ingest and check the films",
    ]


def test_failed_run_is_named_tagged_and_logged_in_prefect(
    failed: tuple[Path, int, str, str],
) -> None:
    base = sqlite3.connect(failed[0] / "data/.prefect/prefect.db")

    ((name, state, tags),) = base.execute("SELECT name, state_type, tags FROM flow_run")
    tasks = base.execute("SELECT name, state_type FROM task_run").fetchall()
    lines = [
        row[0]
        for row in base.execute("SELECT message FROM log WHERE name = 'covid_debug.terminal'")
    ]
    base.close()

    assert name.startswith("tiny 20")
    assert state == "FAILED"
    assert set(json.loads(tags)) == {"covid-debug", "tiny"}
    assert tasks == [("ingest", "FAILED")]
    assert "[1/13] Ingest and check the films" in lines


def test_second_run_in_one_store_is_refused_before_it_touches_anything(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with hold_store(tmp_path / "data"):
        before = sorted(tmp_path.rglob("*"))

        error = refusal("run", config)

        assert f"another run is at work here (pid {os.getpid()}, since 20" in error
        assert sorted(tmp_path.rglob("*")) == before


def test_lock_of_a_killed_run_does_not_block(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from covid_debug.places import hold_store\n"
        "with hold_store(Path(sys.argv[1])): print('held'); time.sleep(600)"
    )
    process = start("-c", code, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ArtifactError, match=f"pid {process.pid}"), hold_store(tmp_path):
        pass

    process.kill()
    process.communicate()

    with hold_store(tmp_path):
        assert f"pid {os.getpid()}" in (tmp_path / ".run.lock").read_text()


def test_store_on_a_file_system_without_locks_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("covid_debug.artifacts.lock_descriptor", refuse)

    with hold_store(tmp_path):
        assert (tmp_path / ".run.lock").exists()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_tethered_command_ends_with_its_caller(tmp_path: Path, by: signal.Signals) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from covid_debug.tether import tethered\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "with tethered(command, environment=os.environ, log=Path(sys.argv[1])):\n"
        "    print('up'); time.sleep(600)"
    )
    process = start("-c", code, tmp_path / "log")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    while len(kept := psutil.Process(process.pid).children(recursive=True)) < 2:
        time.sleep(0.05)

    process.send_signal(by)
    process.communicate()

    assert psutil.wait_procs(kept, timeout=60)[1] == []


def test_what_a_tethered_command_started_ends_too_even_if_it_listens_to_no_one(
    tmp_path: Path,
) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-uc', {deaf!r}])"
    log = tmp_path / "log"
    with tethered([sys.executable, "-c", code], environment=os.environ, log=log) as process:
        while "up" not in log.read_text():
            time.sleep(0.05)
        kept = psutil.Process(process.pid).children(recursive=True)

    assert len(kept) == 2
    assert psutil.wait_procs(kept, timeout=10)[1] == []


def test_terminated_run_says_that_it_can_go_on(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    films = "data: {kind: phantom, n_train: 2000, n_test: 20}"
    lines = [films if "covidx" in line else line for line in config.read_text().splitlines()]
    config.write_text("\n".join(lines).replace("target_class: positive", "target_class: normal"))
    process = start("-m", "covid_debug.cli.main", "run", config)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("[1/"):
        assert process.poll() is None, process.communicate()[1]
    listening = find_listening(process.pid)

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()

    assert listening == {"127.0.0.1"}  # Prefect's server
    assert process.returncode == 143, errors
    assert errors == "interrupted; finished stages are kept, start again to go on\n"


def test_signal_is_found_behind_the_error_that_a_library_made_of_it() -> None:
    class TerminationSignal(BaseException):
        pass

    error = ImportError("initialization failed")
    error.__cause__ = TerminationSignal()

    assert find_interruption(error) == 143
    assert find_interruption(KeyboardInterrupt()) == 130
    assert find_interruption(ImportError()) is None


def test_failures_behind_a_framework_are_found_and_our_own_faults_are_not() -> None:
    class StumbleError(Exception):
        __module__ = "prefect.exceptions"

    full = OSError(28, "No space left on device", "/data/x")
    stumble = StumbleError("500")
    stumble.__context__ = full

    for error in (full, stumble):
        line = describe_failure(error)
        assert line is not None
        assert line.startswith("/data/x: No space left on device")
    assert "out of memory" in str(describe_failure(MemoryError()))
    assert describe_failure(KeyError("x")) is None
    assert describe_failure(FileNotFoundError(2, "No such file", "x")) is None


def test_a_prefect_server_that_is_gone_is_one_line_unless_something_else_came_first() -> None:
    gone = httpx.ConnectError("[Errno 111] Connection refused")

    line = describe_failure(gone)
    assert line is not None
    assert line.startswith("Prefect's server does not answer ([Errno 111] Connection refused)")
    gone.__context__ = DataIntegrityError("film.png: is broken")
    assert describe_failure(gone) == "film.png: is broken"


def test_signal_is_found_whoever_handles_it_and_whatever_becomes_of_its_error() -> None:
    def lose(*_: object) -> None:
        raise KeyError

    with termination_raised():
        signal.signal(signal.SIGTERM, lose)
        with pytest.raises(KeyError):
            signal.raise_signal(signal.SIGTERM)

    assert find_interruption(OSError("of a library")) == 143
    with termination_raised():
        pass
    assert find_interruption(OSError("of another command")) is None
