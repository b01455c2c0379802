"""`covid-debug bench text`: text detectors on the same annotated films, in one table.

Runs the detectors one after another on one thread and writes the counts of
:mod:`benchmarks.text.counting`, a reliability curve, and what was missed and what was covered
needlessly as tables and pictures.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.tables import to_markdown, write_csv
from benchmarks.text.annotated import AnnotatedFilm, load_all_annotations
from benchmarks.text.counting import Count, by_key, summarise
from benchmarks.text.reading import (
    SideScore,
    count_readings,
    count_sides,
    score_reading,
    score_sides,
)
from benchmarks.text.reliability import bin_confidences, calibration_error, draw_reliability
from benchmarks.text.scoring import BoxScore, FilmScore, RegionScore, score_film
from benchmarks.text.sheets import Case, write_sheet
from covid_debug.artifacts import write_artifact
from covid_debug.errors import CheckpointError, DataIntegrityError
from covid_debug.imaging.reading import read_film
from covid_debug.progress import Progress
from covid_debug.records import Box
from covid_debug.terminal import RunConsole
from covid_debug.text.base import Gray, RegionDetector
from covid_debug.text.catalog import build_detector
from covid_debug.text.contents import ContentReader, build_content_reader
from covid_debug.text.recognition import Reader

ANNOTATIONS = Path(__file__).with_name("annotations") / "markers_dev.json"
DETECTORS = ("rapidocr", "marker", "craft", "default")
TABLE_NAME = "text.csv"
SUMMARY_NAME = "text.md"
MISSED_NAME = "missed.csv"
NEEDLESS_NAME = "needless.csv"
RELIABILITY_NAME = "reliability.csv"
_CORNERS = ("x0", "y0", "x1", "y1")
_HEADLINES = (
    ("all", "legible"),
    ("case", "hard"),
    ("kind", "single_letter"),
    ("kind", "initial"),
    ("kind", "word"),
    ("arrows", "found"),
    ("regions", "on text"),
    ("excess area", "mean"),
    ("excess area", "worst film"),
    ("needless area", "mean"),
    ("needless area", "worst film"),
    ("text-free films", "touched"),
    ("side markers", "kept"),
    ("other text", "kept as a side"),
)


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector did on all films.

    Attributes:
        name: The detector's name in the table.
        scores: One score for each annotated film, in their order.
        seconds_per_film: Mean processor time of a film on one thread, reading of the file and of
            the text excluded.
        sides: For each film what became of its side markers where the policy keeps them.
    """

    name: str
    scores: tuple[FilmScore, ...]
    seconds_per_film: float
    sides: tuple[SideScore, ...]

    @property
    def missed(self) -> list[tuple[FilmScore, BoxScore]]:
        """The legible boxes that were not found."""
        return [(film, box) for film in self.scores for box in film.boxes if not box.is_found]

    @property
    def needless(self) -> list[tuple[FilmScore, RegionScore]]:
        """The regions where nothing was annotated."""
        return [(film, one) for film in self.scores for one in film.regions if not one.is_needed]


def bench_text(
    annotations: Sequence[Path],
    sources: Path,
    out: Path,
    *,
    detectors: Mapping[str, Mapping[str, Any]] | None = None,
    console: RunConsole | None = None,
) -> list[DetectorScores]:
    """Score detectors on annotated films.

    Args:
        annotations: Files of boxes, see :func:`benchmarks.text.annotated.load_annotations`.
        sources: Folder that the film paths in them are relative to.
        out: Folder to create, with tables, curve and contact sheets.
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
    films = load_all_annotations(annotations)
    ready = _build(detectors, console)
    pixels = _read(films, sources)
    contents = build_content_reader()
    results = []
    for name, detector in ready.items():
        with console.progress(f"{name}: films") as progress:
            results.append(_run(name, detector, contents, films, pixels, progress))
    reader = Reader()
    console.say("second reader: boxes as drawn")
    readings = count_readings(
        [score_reading(film, image, reader) for film, image in zip(films, pixels, strict=True)]
    )
    summary = f"{describe_results(results)}\n{describe_reading(readings)}"
    with write_artifact(
        out,
        kind="bench-text",
        parameters={name: detector.params for name, detector in ready.items()},
    ) as draft:
        _write_table(draft.path / TABLE_NAME, results)
        _write_reliability(draft.path, results)
        _write_missed(draft.path, results, films, pixels)
        _write_needless(draft.path, results, films, pixels)
        (draft.path / SUMMARY_NAME).write_text(summary, encoding="utf-8")
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
    contents: ContentReader,
    films: Sequence[AnnotatedFilm],
    pixels: Sequence[Gray],
    progress: Progress,
) -> DetectorScores:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector.prepare()
    scores, sides, seconds = [], [], 0.0
    for n_done, (film, image) in enumerate(zip(films, pixels, strict=True), start=1):
        start = time.process_time()
        regions = detector.detect([image])[0]
        seconds += time.process_time() - start
        scores.append(score_film(film, regions, image))
        sides.append(score_sides(film, image, regions, contents))
        progress(n_done, len(films))
    return DetectorScores(name, tuple(scores), seconds / max(len(films), 1), tuple(sides))


def _count(result: DetectorScores) -> list[Count]:
    return [*summarise(result.scores), *count_sides(result.sides)]


def _write_table(path: Path, results: Sequence[DetectorScores]) -> None:
    rows = [
        {"detector": result.name, **count.to_row()}
        for result in results
        for count in _count(result)
    ]
    write_csv(path, list(rows[0]), rows)


def _write_reliability(folder: Path, results: Sequence[DetectorScores]) -> None:
    curves = [(result.name, bin_confidences(result.scores)) for result in results]
    rows = [
        {
            "detector": name,
            "confidence_from": one.low,
            "confidence_to": one.high,
            "n_regions": one.n,
            "confidence": one.confidence,
            "share_on_text": one.needed.value,
            "low": one.needed.low,
            "high": one.needed.high,
        }
        for name, bins in curves
        for one in bins
    ]
    write_csv(folder / RELIABILITY_NAME, list(rows[0]), rows)
    draw_reliability(curves).savefig(folder / "reliability.png", dpi=150)


def _write_missed(
    folder: Path,
    results: Sequence[DetectorScores],
    films: Sequence[AnnotatedFilm],
    pixels: Sequence[Gray],
) -> None:
    rows = []
    for result in results:
        cases = []
        for number, (film, found) in enumerate(result.missed, start=1):
            box = found.box
            rows.append(
                {
                    "detector": result.name,
                    "number": number,
                    "film": film.path,
                    **dict(zip(_CORNERS, box.box, strict=True)),
                    "kind": box.kind,
                    "content": box.content,
                    "marks": " ".join(box.marks),
                    "is_hard": int(found.is_hard),
                    "size_px": f"{box.size_px:g}",
                    "contrast": f"{found.contrast:.0f}",
                    "coverage": f"{found.coverage:.2f}",
                }
            )
            said = f"{box.content or box.kind}: {box.size_px:g} px, contrast {found.contrast:.0f}"
            cases.append((film, box.box, said))
        _draw_cases(folder / f"missed-{result.name}.png", cases, films, pixels)
    columns = ("kind", "content", "marks", "is_hard", "size_px", "contrast", "coverage")
    write_csv(folder / MISSED_NAME, ("detector", "number", "film", *_CORNERS, *columns), rows)


def _write_needless(
    folder: Path,
    results: Sequence[DetectorScores],
    films: Sequence[AnnotatedFilm],
    pixels: Sequence[Gray],
) -> None:
    rows = []
    for result in results:
        cases = []
        for number, (film, one) in enumerate(result.needless, start=1):
            region = one.region
            corners = tuple(round(value, 1) for value in region.box)
            rows.append(
                {
                    "detector": result.name,
                    "number": number,
                    "film": film.path,
                    **dict(zip(_CORNERS, corners, strict=True)),
                    "kind": region.kind,
                    "confidence": f"{region.confidence:.3f}",
                    "is_text_free": int(film.is_text_free),
                }
            )
            cases.append((film, region.box, f"{region.kind} {region.confidence:.2f}"))
        _draw_cases(folder / f"needless-{result.name}.png", cases, films, pixels)
    columns = ("kind", "confidence", "is_text_free")
    write_csv(folder / NEEDLESS_NAME, ("detector", "number", "film", *_CORNERS, *columns), rows)


def _draw_cases(
    path: Path,
    cases: Sequence[tuple[FilmScore, Box, str]],
    films: Sequence[AnnotatedFilm],
    pixels: Sequence[Gray],
) -> None:
    """Draw a contact sheet of places: score of the film, place, what is said below."""
    shown = {film.path: (film, image) for film, image in zip(films, pixels, strict=True)}
    drawn = []
    for score, box, said in cases:
        film, image = shown[score.path]
        wanted = tuple(one.box for one in film.boxes)
        seen = tuple(one.region for one in score.regions)
        drawn.append(Case(image, box, wanted, seen, (Path(film.path).name[:30], said[:38])))
    write_sheet(path, drawn)


def describe_results(results: Sequence[DetectorScores]) -> str:
    """Write the detectors side by side.

    Args:
        results: At least one detector, all on the same films.

    Returns:
        Two Markdown tables: headline numbers with Wilson's intervals; recall by group.
    """
    names = [result.name for result in results]
    counts = [by_key(_count(result)) for result in results]

    def line(head: str, what: str, cells: Sequence[str]) -> dict[str, str]:
        return {head: what, **dict(zip(names, cells, strict=True))}

    lines = [
        line("", f"{group}, {value}", [_cell(c[group, value]) for c in counts])
        for group, value in _HEADLINES
        if (group, value) in counts[0]
    ]
    errors = [calibration_error(bin_confidences(result.scores)) for result in results]
    lines.append(line("", "calibration error", [f"{error:.3f}" for error in errors]))
    lines.append(line("", "s/film, one thread", [f"{r.seconds_per_film:.2f}" for r in results]))
    groups = [
        line("legible boxes found", f"{group}: {value}", [_cell(c[group, value]) for c in counts])
        for group, value in counts[0]
        if (group, value) not in _HEADLINES
    ]
    return f"{to_markdown(lines)}\n{to_markdown(groups)}" if groups else to_markdown(lines)


def describe_reading(counts: Sequence[Count]) -> str:
    """Write how the second reader read the legible boxes, each given as drawn."""
    return to_markdown([{"legible boxes read": one.value, "": _cell(one)} for one in counts])


def _cell(count: Count) -> str:
    if count.group in {"excess area", "needless area"}:
        return f"{count.share:.2%}"
    if not count.n_total:
        return "-"
    if count.group == "text-free films":
        return f"{count.n_found}/{count.n_total}"
    low, high = (f"{100 * value:.0f}" for value in (count.wilson.low, count.wilson.high))
    return f"{count.share:.1%} ({count.n_found}/{count.n_total}; {low} to {high})"
