"""`covid-debug train --devices 2` interrupted or killed: one line, nothing left, same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from covid_debug.artifacts import hash_file
from covid_debug.data.phantom import generate_phantom
from tests.cli import refusal

TRAIN = ("train", "--data", "data", "--arch", "resnet18_half", "--image-size", "32")


def start(folder: Path, out: str, epochs: int) -> subprocess.Popen[str]:
    arguments = (*TRAIN, "--devices", "2", "--epochs", str(epochs), "--out", out)
    return subprocess.Popen(
        [sys.executable, "-m", "covid_debug.cli.main", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"},
    )


def wait_for_ranks(
    process: subprocess.Popen[str], *, connected: bool = True
) -> list[psutil.Process]:
    """Return the two processes of the training when they are there or have found each other."""
    while process.poll() is None:
        ranks = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        talking = [
            rank
            for rank in ranks
            if not connected
            or any(found.status == "ESTABLISHED" for found in rank.net_connections("inet"))
        ]
        if len(talking) == 2:
            return talking
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generate_phantom(tmp_path / "data", n_train=12, n_test=6, seed=0)
    return tmp_path


def test_more_devices_than_a_batch_can_serve_are_refused_first() -> None:
    error = refusal("train", "--data", "no", "--devices", 17, "--out", "o")

    assert "batch_size is 32 and --devices is 17; expected at least 2 films for each" in error


@pytest.mark.slow
@pytest.mark.parametrize("connected", [False, True])
def test_ctrl_c_ends_all_with_one_line_and_leaves_nothing(folder: Path, connected: bool) -> None:
    process = start(folder, "model", 10_000)
    ranks = wait_for_ranks(process, connected=connected)

    for each in (*ranks, process):  # as a terminal sends it to all of them
        each.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)

    assert process.returncode == 130
    assert errors.splitlines()[-1:] == [
        "interrupted; finished stages are kept, start again to go on"
    ]
    assert "Traceback" not in errors
    assert not any(rank.is_running() for rank in ranks)
    assert {path.name for path in folder.iterdir()} == {"data", "views"}


@pytest.mark.slow
def test_a_process_that_is_killed_ends_all_with_one_line(folder: Path) -> None:
    process = start(folder, "model", 10_000)
    ranks = wait_for_ranks(process)

    ranks[0].kill()
    _, errors = process.communicate(timeout=300)

    assert process.returncode == 1
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [
        line for line in errors.splitlines() if "was ended by SIGKILL, probably for lack" in line
    ]
    assert "Traceback" not in errors
    assert not any(rank.is_running() for rank in ranks)
    assert {path.name for path in folder.iterdir()} == {"data", "views"}


@pytest.mark.slow
def test_killed_outright_it_takes_its_processes_along_and_the_same_command_gives_the_same_bytes(
    folder: Path,
) -> None:
    finish(start(folder, "whole", 2))

    process = start(folder, "model", 2)
    ranks = wait_for_ranks(process)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(ranks, timeout=300)[1] == []
    finish(start(folder, "model", 2))

    for name in ("model.safetensors", "history.json"):
        assert hash_file(folder / "model" / name) == hash_file(folder / "whole" / name)
