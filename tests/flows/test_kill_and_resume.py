"""A real SIGKILL at every stage, then a second start: the same files, finished stages untouched."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from covid_debug.artifacts import hash_file

pytestmark = pytest.mark.slow

CONFIG = """\
name: tiny
data: {{kind: phantom, n_train: 30, n_test: 12, seed: 3}}
view: {{image_size: 64}}
text: {{detector: rapidocr, params: {{max_side: 320, scales: [1.0]}}}}
training: {{arch: resnet18_half, n_epochs: 1}}
proof: {{max_films: 12}}
audit: {{grid_size: 8, max_explained: 2, n_nulls: 4}}
tracking: {{uri: "sqlite:///{folder}/mlflow.db"}}
data_dir: {folder}/data
reports_dir: {folder}/reports
"""
N_STAGES = 10


def start(folder: Path) -> subprocess.Popen[str]:
    config = folder / "tiny.yaml"
    config.write_text(CONFIG.format(folder=folder))
    return subprocess.Popen(
        [sys.executable, "-m", "covid_debug.cli.main", "run", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )


def finish(folder: Path) -> Path:
    process = start(folder)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    (run_dir,) = (folder / "reports").iterdir()
    return run_dir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("stage", range(1, N_STAGES + 1))
def test_killed_run_resumes_to_the_same_files(
    undisturbed: Path, tmp_path: Path, stage: int
) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"[{stage}/{N_STAGES}]"):
            break
    time.sleep(0.3)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert psutil.wait_procs(children, timeout=60)[1] == []  # nor Prefect's server
    finished = {
        path.parent: path.stat().st_mtime_ns
        for path in (tmp_path / "data").glob("*/manifest.json")
        if ".partial-" not in path.parent.name
    }

    run_dir = finish(tmp_path)

    for name in ("summary.json", "comparison.csv", "flags.csv", "maps.csv"):
        assert hash_file(run_dir / name) == hash_file(undisturbed / name), name
    for folder, written in finished.items():
        assert (folder / "manifest.json").stat().st_mtime_ns == written
    for folder in ("data", "reports"):
        assert not list((tmp_path / folder).glob("*.partial-*"))
