"""`covid-debug bench text`: every text detector on the same annotated films, in one table.

Runs the detectors one after another on one thread and writes the counts of
:mod:`benchmarks.text.scoring` as CSV and Markdown.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.tables import to_markdown, write_csv
from benchmarks.text.scoring import (
    AnnotatedFilm,
    FilmScore,
    load_annotations,
    score_film,
    summarise,
)
from covid_debug.artifacts import write_artifact
from covid_debug.errors import CheckpointError, DataIntegrityError
from covid_debug.imaging.reading import read_film
from covid_debug.progress import Progress
from covid_debug.terminal import RunConsole
from covid_debug.text.base import Gray, RegionDetector
from covid_debug.text.catalog import build_detector

ANNOTATIONS = Path(__file__).with_name("annotations") / "markers_dev.json"
DETECTORS = ("rapidocr", "marker", "craft", "default")
TABLE_NAME = "text.csv"
SUMMARY_NAME = "text.md"
MISSED_NAME = "missed.csv"
_HEADLINES = (
    ("all", "legible"),
    ("kind", "single_letter"),
    ("kind", "initial"),
    ("kind", "word"),
    ("excess area", "mean"),
    ("excess area", "worst film"),
    ("text-free films", "touched"),
)


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector did on all films.

    Attributes:
        name: The detector's name in the table.
        scores: One score for each annotated film, in their order.
        seconds_per_film: Mean processor time of a film on one thread, reading excluded.
    """

    name: str
    scores: tuple[FilmScore, ...]
    seconds_per_film: float


def bench_text(
    annotations: Path,
    sources: Path,
    out: Path,
    *,
    detectors: Mapping[str, Mapping[str, Any]] | None = None,
    console: RunConsole | None = None,
) -> list[DetectorScores]:
    """Score detectors on annotated films.

    Args:
        annotations: File of boxes, see :func:`benchmarks.text.scoring.load_annotations`.
        sources: Folder that the film paths in it are relative to.
        out: Folder to create, with ``text.csv``, ``text.md`` and ``missed.csv``.
        detectors: Name -> parameters; None takes all of :data:`DETECTORS` whose weights are there.
        console: Where progress is shown.

    Returns:
        The scores of each detector.

    Raises:
        DataIntegrityError: If annotations or films are missing or do not fit.
        CatalogError: If a detector is unknown.
        CheckpointError: If the weights of a detector that was asked for are missing.
    """
    console = console or RunConsole()
    films = load_annotations(annotations)
    if not films:
        raise DataIntegrityError(f"{annotations}: names no film; expected at least one")
    ready = _build(detectors, console)
    pixels = _read(films, sources)
    results = []
    for name, detector in ready.items():
        with console.progress(f"{name}: films") as progress:
            results.append(_run(name, detector, films, pixels, progress))
    with write_artifact(
        out,
        kind="bench-text",
        parameters={name: detector.params for name, detector in ready.items()},
    ) as draft:
        _write_table(draft.path / TABLE_NAME, results)
        _write_missed(draft.path / MISSED_NAME, results)
        (draft.path / SUMMARY_NAME).write_text(describe_results(results), encoding="utf-8")
        draft.facts["n_films"] = len(films)
    return results


def _build(
    wanted: Mapping[str, Mapping[str, Any]] | None, console: RunConsole
) -> dict[str, RegionDetector]:
    if wanted is not None:
        return {name: build_detector(name, **params) for name, params in wanted.items()}
    ready = {}
    for name in DETECTORS:
        try:
            ready[name] = build_detector(name)
        except CheckpointError as error:
            console.warn(f"{name} is left out: {error}")
    return ready


def _read(films: Sequence[AnnotatedFilm], sources: Path) -> list[Gray]:
    if not sources.is_dir():
        raise DataIntegrityError(
            f"{sources}: no such folder; expected the sources that the annotations refer to"
        )
    return [read_film(sources / film.path).to_uint8() for film in films]


def _run(
    name: str,
    detector: RegionDetector,
    films: Sequence[AnnotatedFilm],
    pixels: Sequence[Gray],
    progress: Progress,
) -> DetectorScores:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector.prepare()
    scores, seconds = [], 0.0
    for n_done, (film, image) in enumerate(zip(films, pixels, strict=True), start=1):
        start = time.process_time()
        regions = detector.detect([image])[0]
        seconds += time.process_time() - start
        scores.append(score_film(film, regions, image))
        progress(n_done, len(films))
    return DetectorScores(name, tuple(scores), seconds / max(len(films), 1))


def _parts(result: DetectorScores) -> dict[str, Sequence[FilmScore]]:
    """Split the films: thresholds were tuned on every second one, the others were held out.

    Returns:
        Scores of ``"all"``, ``"tuning half"`` (first, third, ... film) and ``"held-out half"``.
    """
    return {
        "all": result.scores,
        "tuning half": result.scores[::2],
        "held-out half": result.scores[1::2],
    }


def _write_table(path: Path, results: Sequence[DetectorScores]) -> None:
    columns = ("detector", "films", "group", "value", "n_found", "n_total", "share")
    rows = [
        {"detector": result.name, "films": part, **row}
        for result in results
        for part, scores in _parts(result).items()
        for row in summarise(scores)
    ]
    write_csv(path, columns, rows)


def _write_missed(path: Path, results: Sequence[DetectorScores]) -> None:
    corners = ("x0", "y0", "x1", "y1")
    rows = [
        {
            "detector": result.name,
            "film": score.path,
            **dict(zip(corners, found.box.box, strict=True)),
            "kind": found.box.kind,
            "content": found.box.content,
            "marks": " ".join(found.box.marks),
            "coverage": f"{found.coverage:.2f}",
        }
        for result in results
        for score in result.scores
        for found in score.boxes
        if not found.is_found
    ]
    columns = ("detector", "film", *corners, "kind", "content", "marks", "coverage")
    write_csv(path, columns, rows)


def describe_results(results: Sequence[DetectorScores]) -> str:
    """Write the detectors side by side.

    Args:
        results: At least one detector, all on the same films.

    Returns:
        Two Markdown tables: headline numbers, with both halves of the films; recall by group.
    """
    names = [result.name for result in results]

    def line(head: str, what: str, cells: Sequence[str]) -> dict[str, str]:
        return {head: what, **dict(zip(names, cells, strict=True))}

    lines = []
    for part in ("all", "tuning half", "held-out half"):
        counts = [_by_key(summarise(_parts(result)[part])) for result in results]
        lines += [
            line("", f"{part}: {group}, {value}", [_cell(c.get((group, value))) for c in counts])
            for group, value in _HEADLINES
            if any((group, value) in c for c in counts)
        ]
    lines.append(line("", "s/film, one thread", [f"{r.seconds_per_film:.2f}" for r in results]))
    counts = [_by_key(summarise(result.scores)) for result in results]
    groups = [
        line("legible boxes found", f"{group}: {value}", [_cell(c[group, value]) for c in counts])
        for group, value in counts[0]
        if (group, value) not in _HEADLINES
    ]
    return f"{to_markdown(lines)}\n{to_markdown(groups)}"


def _by_key(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["group"], row["value"]): row for row in rows}


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["group"] == "excess area":
        return f"{row['share']:.2%}"
    if row["group"] == "text-free films":
        return f"{row['n_found']}/{row['n_total']}"
    return f"{row['share']:.1%} ({row['n_found']}/{row['n_total']})"
