"""Training in two processes started by torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_two_processes_write_one_checkpoint_and_agree(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    root = Path(__file__).resolve().parents[3]

    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(script), str(tmp_path / "model")),
        ],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert is_complete(tmp_path / "model")
    assert len(json.loads((tmp_path / "model" / "history.json").read_text())) == 2
    lines = done.stdout.split("\n")
    assert [line for line in lines if line.startswith("epoch")] == ["epoch 1", "epoch 2"]
    losses = [line for line in lines if line.startswith("same")]
    assert len(losses) == 2
    assert len(set(losses)) == 1
