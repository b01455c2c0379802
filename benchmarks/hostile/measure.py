"""Runs the commands on hostile films, each in a process of its own with bounds, and counts.

Owns what counts as refused by name, hung, crashed and outside. The films belong to
:mod:`benchmarks.hostile.films`.
"""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.hostile.films import Hostile, make_hostile_films
from benchmarks.tables import to_markdown
from covid_debug.shown import to_printable

MAX_MEMORY: Final = 6 << 30
"""Address space of each process in bytes: a process that asks for more gets a MemoryError."""
MAX_SECONDS: Final = 1800
_MAX_FILE: Final = 2 << 30
_IMAGES, _DICOM_IMAGES = "images", "stage_2_train_images"
_FINDINGS: Final = ("Normal", "Pneumonia", "COVID-19")
_OUT: Final = "made"
ACTING: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
_LIST_ROWS: Final = (
    ("list: leads out by dots", "p", "../../../../../../etc/hostname"),
    ("list: leads out by an absolute name", "p", "/dev/zero"),
    ("list: name too long", "p", "x" * 5000),
    ("list: name with a NUL", "p", "a\0.png"),
    ("list: no name", "p", ""),
    ("list: no patient", "", "nowhere.png"),
    ("list: patient that acts on a terminal", "p\x1b[2J", "nowhere-2.png"),
    ("list: patient in two lines", "p\nq", "nowhere-3.png"),
    ("list: patient that is markup", "<script>alert(1)</script>", "nowhere-4.png"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command on all films.

    Attributes:
        words: The command, its options left out.
        seconds: By the clock.
        peak_mb: Largest resident memory of one of its processes.
        outcomes: Printable name of a film -> ``""`` where it was accepted, otherwise the reason.
        is_hung: Whether it was stopped at the time limit.
        problems: What must not be: a traceback, a signal, characters that act, files outside.
    """

    words: str
    seconds: float
    peak_mb: int
    outcomes: Mapping[str, str]
    is_hung: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """All commands on one folder of hostile films; ``films`` are those of the folder."""

    films: tuple[Hostile, ...]
    listed: Mapping[str, str]
    steps: tuple[Step, ...]


def try_commands(
    work: Path, n_films: int, *, seed: int, detector: str, n_workers: int = 2
) -> Trial:
    """Make the films and run ingest, detect-text and clean on them, by data set and by folder.

    Args:
        work: Folder to create; nothing else is written to.
        n_films: How many.
        seed: Of the films.
        detector: What looks for text.
        n_workers: Processes of a command.

    Returns:
        What became of them.
    """
    work = work.absolute()
    films = tuple(make_hostile_films(work / "films" / _IMAGES, n_films, seed=seed))
    listed = _list_films(work / "films", films)
    data, out = "films", _OUT
    common = ("--workers", n_workers)
    found = ("--detector", detector, *common)
    sources = [word for name in ("nih", "rsna") for word in ("--source", f"{name}={data}")]
    regions, cleaned = f"{out}/regions.jsonl", f"{out}/cleaned"
    lines: tuple[tuple[str, tuple[object, ...], Any], ...] = (
        ("ingest", (*sources, "--max-failed-share", 1, "--out", f"{out}/set"), _read_set),
        ("detect-text --data", ("--data", f"{out}/set", *found, "--out", regions), _read_regions),
        (
            "clean --data",
            ("--data", f"{out}/set", "--regions", regions, *common, "--out", cleaned),
            _read_set,
        ),
        (
            "detect-text FOLDER",
            (data, *found, "--out", f"{out}/folder.jsonl"),
            _read_regions,
        ),
        ("clean FOLDER", (data, *found, "--out", f"{out}/folder"), _read_manifest),
    )
    (work / out).mkdir()
    before = _snapshot(work)
    below = {to_printable(path.relative_to(work / data)) for path in _iter_films(work / data)}
    wanted = {
        "ingest": set(listed),
        "detect-text FOLDER": {f"{data}/{name}" for name in below},
        "clean FOLDER": below,
    }
    steps: list[Step] = []
    for words, arguments, read in lines:
        step = _run(words, [str(word) for word in arguments], work)
        target = work / str(arguments[-1])
        outcomes = read(target) if target.exists() else {}
        if words == "clean --data":  # it keeps what ingest refused on its list
            refused = {name for name, reason in steps[0].outcomes.items() if reason}
            outcomes = {name: said for name, said in outcomes.items() if name not in refused}
        lost = wanted.get(words, set()) - outcomes.keys()
        problems = [
            *step.problems,
            *_find_changes(before, _snapshot(work)),
            *(f"says nothing of {name!r}" for name in sorted(lost)[:5]),
        ]
        n_usable = sum(not reason for reason in steps[0].outcomes.values()) if steps else 0
        if words.endswith("--data") and len(outcomes) != n_usable:
            problems.append(f"says something of {len(outcomes)} of {n_usable} films")
        steps.append(
            Step(words, step.seconds, step.peak_mb, outcomes, step.is_hung, tuple(problems))
        )
    return Trial(films, listed, tuple(steps))


def _list_films(folder: Path, films: Sequence[Hostile]) -> dict[str, str]:
    """Write the tables of two sources; return printable path -> kind of what they list."""
    images, dicoms = folder / _IMAGES, folder / _DICOM_IMAGES
    dicoms.mkdir()
    listed, rows, classes = {}, [], []
    for index, film in enumerate(films):
        if film.name.endswith(".dcm") and index % 2:
            (images / film.name).rename(dicoms / film.name)
            classes.append(Path(film.name).stem)
            listed[to_printable(dicoms / film.name)] = film.kind
        elif film.name.isascii() or not re.search("[\udc80-\udcff]", film.name):
            rows.append((f"p{index}", film.name, _FINDINGS[index % 3]))
            listed[to_printable(images / film.name)] = film.kind
    for kind, patient, name in _LIST_ROWS:
        rows.append((patient, name, "Normal"))
        listed[to_printable(images / name)] = kind
    _write_table(folder / "labels.csv", ("patientid", "filename", "finding"), rows)
    of_class = [(name, "Normal") for name in classes]
    _write_table(folder / "stage_2_detailed_class_info.csv", ("patientId", "class"), of_class)
    targets = [(name, index % 2) for index, name in enumerate(classes)]
    _write_table(folder / "stage_2_train_labels.csv", ("patientId", "Target"), targets)
    return listed


def _iter_films(folder: Path) -> Iterator[Path]:
    for place in (folder / _IMAGES, folder / _DICOM_IMAGES):
        for name in os.listdir(place):  # noqa: PTH208  names of any bytes
            if name != "d" and not (place / name).is_dir():
                yield place / name


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([header, *rows])


def _limit() -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run(words: str, arguments: Sequence[str], work: Path) -> Step:
    said = work / f"{words.replace(' ', '-')}.log"
    start = time.monotonic()
    command = [sys.executable, "-m", "covid_debug.cli.main", words.split(maxsplit=1)[0], *arguments]
    here = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": here,
        "HOME": str(work / _OUT),
        "TMPDIR": str(work / _OUT),
    }
    with said.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=work,
            stdout=stream,
            stderr=stream,
            env=environment,
            preexec_fn=_limit,  # noqa: PLW1509  nothing else runs here
        )
        timer_hit = False
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > MAX_SECONDS and not timer_hit:
                timer_hit = True
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    text = said.read_text(encoding="utf-8", errors="surrogateescape")
    said.unlink()
    problems = []
    if code:
        problems.append(f"ended with {code}: {text[-300:]!r}")
    if "Traceback" in text:
        problems.append(f"traceback: {text[-1500:]!r}")
    if found := ACTING.search(text):
        problems.append(f"printed {found[0]!r}: {text[max(found.start() - 60, 0) : found.end()]!r}")
    seconds = time.monotonic() - start
    return Step(words, seconds, usage.ru_maxrss // 1024, {}, timer_hit, tuple(problems))


def _snapshot(work: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of everything but what the commands are told to make."""
    facts = {}
    for folder, folders, names in os.walk(work):
        if Path(folder) == work:
            folders.remove(_OUT)
        folders[:] = [name for name in folders if name != "d"]
        for name in names:
            found = os.lstat(os.path.join(folder, name))  # noqa: PTH118  names of any bytes
            facts[os.path.join(folder, name)] = found.st_size, found.st_mtime_ns  # noqa: PTH118
    return facts


def _find_changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    changed = {name for name, _ in before.items() ^ after.items()}
    return [f"changed outside of the output: {name!r}" for name in sorted(changed)[:5]]


def _read_set(folder: Path) -> dict[str, str]:
    """Return the films of a data set; those that were left out with the reason."""
    with (folder / "films.csv").open(encoding="utf-8", newline="") as stream:
        films = {row["path"]: "" for row in csv.DictReader(stream)}
    with (folder / "unusable.csv").open(encoding="utf-8", newline="") as stream:
        return films | {row["path"]: row["reason"] for row in csv.DictReader(stream)}


def _read_regions(path: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return {line["image"]: line.get("error", "") for line in lines}


def _read_manifest(folder: Path) -> dict[str, str]:
    text = (folder / "manifest.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.split("\n") if line]
    return {line["film"]: line["reason"] for line in lines}


def tabulate_commands(trial: Trial) -> str:
    """Return what each command did, as a Markdown table."""
    return to_markdown(
        [
            {
                "command": f"`{step.words}`",
                "tried": len(step.outcomes),
                "accepted": sum(not reason for reason in step.outcomes.values()),
                "refused by name": sum(bool(reason) for reason in step.outcomes.values()),
                "hung": int(step.is_hung),
                "crashed": sum("ended with" in line for line in step.problems),
                "seconds": f"{step.seconds:.0f}",
                "peak memory, MB": step.peak_mb,
            }
            for step in trial.steps
        ]
    )


def tabulate_kinds(trial: Trial) -> str:
    """Return what ingest did with each kind of film, as a Markdown table."""
    outcomes = trial.steps[0].outcomes
    counts: dict[str, Counter[str]] = {}
    for path, kind in trial.listed.items():
        reason = outcomes.get(path)
        verdict = "lost" if reason is None else "refused" if reason else "accepted"
        counts.setdefault(kind, Counter())[verdict] += 1
    return to_markdown(
        [
            {
                "kind": kind,
                "listed": found.total(),
                "accepted": found["accepted"],
                "refused by name": found["refused"],
                "lost": found["lost"],
            }
            for kind, found in counts.items()
        ]
    )
