"""Training in two processes started by torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from covid_debug.artifacts import is_complete

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.training.loop import TrainingParams, train_classifier

torch.set_num_threads(1)
rng = np.random.default_rng(0)
views = rng.integers(0, 255, (24, 16, 16)).astype(np.uint8)
labels = np.arange(24) % 2
params = TrainingParams(
    arch_params={"stem_width": 4, "widths": (8, 8), "depths": (1, 1)}, n_epochs=2, batch_size=8
)
result = train_classifier(
    views, labels, views, labels, ("negative", "positive"), params,
    seed=0, view=ViewSpec(16), out=Path(sys.argv[1]),
    on_epoch=lambda metrics: print("epoch", metrics.epoch),
)
print("same", result.history[-1]["val_loss"])
"""


JOINT = """
import sys
from pathlib import Path
import numpy as np
import torch
from torch import nn
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.training import loop, setup

torch.set_num_threads(1)

def build_plain(*_, **__):  # without batch norm, so that the loss holds every weight
    hidden = nn.Linear(16, 8)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), hidden, nn.ReLU(), nn.Linear(8, 3))

setup.build_backbone = build_plain
rng = np.random.default_rng(0)
labels = np.array([0] * 15 + [1] * 7 + [2] * 3)
views = (rng.integers(0, 80, (25, 16, 16)) + 60 * labels[:, None, None]).astype(np.uint8)
params = loop.TrainingParams(
    n_epochs=3, batch_size=7, learning_rate=0.01, augmentation=None, target_share=None,
    class_weights={"c": 9.0, "a": 0.3},
)
result = loop.train_classifier(
    views, labels, views, labels, ("a", "b", "c"), params,
    seed=0, view=ViewSpec(16), out=Path(sys.argv[1]),
)
"""
ROOT = Path(__file__).resolve().parents[3]


def run_script(folder: Path, script: str, n_processes: int) -> "subprocess.CompletedProcess[str]":
    path = folder / f"train{n_processes}.py"
    path.write_text(script)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.run(
        [
            sys.executable,
            *(launcher if n_processes == 2 else ()),
            *(str(path), str(folder / f"model{n_processes}")),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_joint_batches(tmp_path):
    """Unequal classes on the ranks, heavy weights, batches of odd and unequal length."""
    for n_processes in (1, 2):
        done = run_script(tmp_path, JOINT, n_processes)
        assert done.returncode == 0, done.stderr[-2000:]

    one, two = (load_file(tmp_path / f"model{n}" / "model.safetensors") for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
    history = [
        [
            line["train_loss"]
            for line in json.loads((tmp_path / f"model{n}/history.json").read_text())
        ]
        for n in (1, 2)
    ]
    assert history[1] == pytest.approx(history[0], rel=1e-4)


@pytest.mark.slow
def test_batches_smaller_than_the_processes_are_refused(tmp_path):
    done = run_script(tmp_path, JOINT.replace("batch_size=7", "batch_size=2"), 2)

    assert done.returncode != 0
    assert "batches of 1 film for 2 processes" in done.stderr


@pytest.mark.slow
def test_two_processes_write_one_checkpoint_and_agree(tmp_path):
    done = run_script(tmp_path, SCRIPT, 2)

    assert done.returncode == 0, done.stderr[-2000:]
    assert is_complete(tmp_path / "model2")
    assert len(json.loads((tmp_path / "model2" / "history.json").read_text())) == 2
    lines = done.stdout.split("\n")
    assert [line for line in lines if line.startswith("epoch")] == ["epoch 1", "epoch 2"]
    losses = [line for line in lines if line.startswith("same")]
    assert len(losses) == 2
    assert len(set(losses)) == 1
