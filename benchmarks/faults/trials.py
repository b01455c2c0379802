"""What a run survives: killed, starved of disk, locked out, its servers gone, its clock set back.

Every trial is a small run of the whole loop in a folder of its own, disturbed once, then started
again by the same command. Survived means: the second start ends well, every file is the one of an
undisturbed run, and no stage that was finished is made again. What differs between two undisturbed
runs (times, addresses) is found by making two, and left out.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from covid_debug.artifacts import MANIFEST_NAME
from covid_debug.errors import ArtifactError
from covid_debug.progress import Listener

CONFIG: Final = """\
name: small
data: {{kind: phantom, n_train: 30, n_test: 12, seed: 3}}
view: {{image_size: 64}}
text: {{detector: rapidocr, params: {{max_side: 320, scales: [1.0]}}}}
training: {{arch: resnet18_half, n_epochs: 1}}
proof: {{max_films: 12}}
audit: {{grid_size: 8, max_explained: 2, n_nulls: 4}}
tracking: {{uri: "{uri}"}}
data_dir: {folder}/data
reports_dir: {folder}/reports
"""
_LIMIT_S: Final = 1200


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault and what became of the run.

    Attributes:
        fault: What was done.
        stage: The last stage that the disturbed run had begun.
        ended: How the disturbed run ended: ``"killed"``, ``"well"`` or its last line.
        survived: Whether a plain second start gave every file of an undisturbed run.
        lost: Files that differ or lack, and stages that were finished and made again.
    """

    fault: str
    stage: str
    ended: str
    survived: bool
    lost: tuple[str, ...]


@dataclass
class Run:
    """A small run of the whole loop in a folder.

    Attributes:
        folder: Configuration, data and reports.
        uri: Of MLflow; by default a file in the folder.
        before: Command and arguments in front of Python's, e.g. of another clock.
        lines: What it has printed.
    """

    folder: Path
    uri: str = ""
    before: Sequence[str] = ()
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Start it; whatever is left of it at the end is killed."""
        config = self.folder / "small.yaml"
        uri = self.uri or f"sqlite:///{self.folder}/mlflow.db"
        config.write_text(CONFIG.format(folder=self.folder, uri=uri))
        process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "covid_debug.cli.main", "run", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        )
        try:
            yield process
        finally:
            kill(process)

    def read_until(self, process: subprocess.Popen[str], mark: str) -> None:
        """Read what it prints up to a line that holds a mark, or to the end."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            self.lines.append(line.rstrip())
            if mark in line:
                return

    def end(self, process: subprocess.Popen[str]) -> str:
        """Read to the end; return ``"well"`` or the last line."""
        guard = threading.Timer(_LIMIT_S, kill, [process])
        guard.start()
        self.read_until(process, "\0")
        process.wait()
        guard.cancel()
        if any(line.startswith("Traceback") for line in self.lines):
            return "with a traceback"
        return "well" if process.returncode == 0 else (self.lines or [""])[-1]

    def finish(self) -> str:
        """Run it to its end."""
        with self.started() as process:
            return self.end(process)

    @property
    def stage(self) -> str:
        """The last stage that it began."""
        begun = [line for line in self.lines if line.startswith("[")]
        return begun[-1] if begun else "before the first"

    def files(self) -> dict[str, str]:
        """Return file -> hash of every artifact, as the manifests say."""
        found = {}
        for place in sorted(self.folder.glob(f"*/*/{MANIFEST_NAME}")):
            if ".partial-" not in place.parent.name:
                for name, digest in json.loads(place.read_text())["files"].items():
                    found[f"{place.parent.name}/{name}"] = digest
        return found

    def stages(self) -> dict[str, int]:
        """Return artifact -> when it was finished."""
        return {
            place.parent.name: place.stat().st_mtime_ns
            for place in self.folder.glob(f"data/*/{MANIFEST_NAME}")
            if ".partial-" not in place.parent.name
        }


def kill(process: subprocess.Popen[str]) -> None:
    """End a run and all that it started, at once; its servers end by themselves.

    Raises:
        ArtifactError: If something it started lives on.
    """
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        children = []
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=60)
    if alive:
        raise ArtifactError(f"process {process.pid} left others behind: {alive}")


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What runs without a fault leave.

    Attributes:
        files: File -> hash, of the files that two such runs agree on.
        seconds: That one takes.
        bytes_written: Of its folder.
    """

    files: Mapping[str, str]
    seconds: float
    bytes_written: int


def measure_undisturbed(out: Path, listener: Listener) -> Undisturbed:
    """Make two runs and keep what they agree on.

    Args:
        out: Folder of both.
        listener: Who is told what differs.

    Returns:
        What they agree on.

    Raises:
        ArtifactError: If one of them fails.
    """
    found, seconds = [], 0.0
    for name in ("first", "second"):
        run = Run(out / name)
        run.folder.mkdir(parents=True)
        start = time.perf_counter()
        ended = run.finish()
        seconds = time.perf_counter() - start
        if ended != "well":
            raise ArtifactError(f"{run.folder}: an undisturbed run ended {ended!r}")
        found.append(run.files())
    same = {name: digest for name, digest in found[0].items() if found[1].get(name) == digest}
    differ = sorted({name.partition("/")[2] for name in found[0] if name not in same})
    listener.say(f"{len(same)} files agree; with the time differ: {', '.join(differ) or 'none'}")
    size = sum(path.stat().st_size for path in (out / "first").rglob("*") if path.is_file())
    return Undisturbed(same, seconds, size)


Disturb = Callable[[Run, Undisturbed], str]
"""Starts a run and disturbs it; returns how it ended."""


def try_fault(fault: str, disturb: Disturb, folder: Path, expected: Undisturbed) -> Trial:
    """Disturb a run, start it again, and compare.

    Args:
        fault: What is done, for the table.
        disturb: Does it.
        folder: Of this trial; made.
        expected: What undisturbed runs leave.

    Returns:
        What became of it.
    """
    folder.mkdir(parents=True)
    run = Run(folder)
    ended = disturb(run, expected)
    stage, finished = run.stage, run.stages()
    again = Run(folder)
    second = again.finish()
    files, after = again.files(), again.stages()
    lost = [name for name, digest in expected.files.items() if files.get(name) != digest]
    lost += [f"{name} made again" for name, at in finished.items() if after.get(name) != at]
    if second != "well":
        lost.insert(0, f"the second start: {second}")
    return Trial(fault, stage, ended, not lost, tuple(lost))
