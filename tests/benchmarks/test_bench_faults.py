"""The table of faults tells what survived from what did not."""

from pathlib import Path

import pytest

from benchmarks.faults.command import bench_faults
from benchmarks.faults.disturbing import kill_after
from benchmarks.faults.trials import Run, Undisturbed, try_fault
from covid_debug.errors import InputContractError
from covid_debug.progress import SILENT


class Finished(Run):
    """A run that does nothing and ends as it is told."""

    def finish(self) -> str:
        return "well"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.faults.trials.Run", Finished)


def _write(run: Run, text: str) -> str:
    place = run.folder / "data" / "stage-0123"
    place.mkdir(parents=True, exist_ok=True)
    (place / "manifest.json").write_text(f'{{"files": {{"a.csv": "{text}"}}}}')
    return "killed"


@pytest.mark.parametrize(("text", "lost"), [("same", ()), ("other", ("stage-0123/a.csv",))])
def test_a_file_that_differs_is_lost(tmp_path: Path, text: str, lost: tuple[str, ...]) -> None:
    expected = Undisturbed({"stage-0123/a.csv": "same"}, 1.0, 100)

    trial = try_fault("some", lambda run, _: _write(run, text), tmp_path / "run", expected)

    assert (trial.survived, trial.lost, trial.ended) == (not lost, lost, "killed")


def test_a_finished_stage_that_is_made_again_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(run: Run) -> str:
        (run.folder / "data" / "stage-0123" / "manifest.json").unlink()
        return _write(run, "same")

    monkeypatch.setattr(Finished, "finish", again)
    expected = Undisturbed({"stage-0123/a.csv": "same"}, 1.0, 100)

    trial = try_fault("some", lambda run, _: _write(run, "same"), tmp_path / "run", expected)

    assert trial.lost == ("the second start: killed", "stage-0123 made again")


def test_trials_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()

    with pytest.raises(InputContractError, match="holds trials already"):
        bench_faults(tmp_path, kills=1, seed=0, listener=SILENT)


@pytest.mark.slow
def test_a_real_run_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.faults.trials.Run", Run)
    expected = Undisturbed({}, 10.0, 0)

    assert try_fault("kill", kill_after(5.0), tmp_path / "run", expected).survived
