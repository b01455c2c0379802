"""`covid-debug bench faults`: every fault tried on a small run of the whole loop."""

import os
import random
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults.disturbing import kill_after, list_faults
from benchmarks.faults.trials import Trial, measure_undisturbed, try_fault
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import write_text_atomic
from covid_debug.errors import InputContractError
from covid_debug.progress import Listener


def bench_faults(out: Path, *, kills: int, seed: int, listener: Listener) -> tuple[Trial, ...]:
    """Try every fault, kills at random moments among them, and write the table.

    Args:
        out: Folder; ``runs`` in it holds each trial's.
        kills: How many moments a run is killed at, drawn evenly over its time.
        seed: Decides the moments.
        listener: Who is told.

    Returns:
        The trials.

    Raises:
        InputContractError: If ``out`` holds trials already.
    """
    runs = out / "runs"
    if runs.exists():
        raise InputContractError(f"{runs}: holds trials already; name another --out")
    expected = measure_undisturbed(runs, listener)
    listener.say(f"an undisturbed run takes {expected.seconds:.0f} s")
    draw = random.Random(seed)
    moments = [draw.uniform(0, expected.seconds) for _ in range(kills)]
    faults = [(f"killed after {moment:.0f} s", kill_after(moment)) for moment in moments]
    trials = []
    for number, (fault, disturb) in enumerate([*faults, *list_faults()]):
        trial = try_fault(fault, disturb, runs / f"{number:02d}", expected)
        _unmount(runs / f"{number:02d}")
        listener.say(
            f"{fault}, {trial.stage}: {trial.ended}; "
            f"{'survived' if trial.survived else 'LOST ' + '; '.join(trial.lost)}"
        )
        trials.append(trial)
        _write(out, trials, kills)
    return tuple(trials)


def _unmount(folder: Path) -> None:
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=False)


def _write(out: Path, trials: Sequence[Trial], kills: int) -> None:
    rows = [asdict(trial) | {"lost": "; ".join(trial.lost)} for trial in trials]
    write_csv(out / "faults.csv", list(rows[0]), rows)
    killed, others = trials[:kills], trials[kills:]
    table = [
        {
            "fault": f"SIGKILL at {len(killed)} random moments",
            "tried": len(killed),
            "survived": sum(trial.survived for trial in killed),
            "the disturbed run ended": "killed",
        },
        *(
            {
                "fault": trial.fault,
                "tried": 1,
                "survived": int(trial.survived),
                "the disturbed run ended": trial.ended.replace("|", "/"),
            }
            for trial in others
        ),
    ]
    write_text_atomic(out / "faults.md", to_markdown(table))
