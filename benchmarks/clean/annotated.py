"""`covid-debug bench clean --annotations`: cleaned films against boxes that readers drew."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.clean.copies import find_copies
from benchmarks.clean.redaction import CleanedBox, CleanedFilm, count_cleaned, score_cleaned
from benchmarks.tables import to_markdown, write_csv
from benchmarks.text.annotated import load_all_annotations
from benchmarks.text.counting import Count
from benchmarks.text.sheets import MAX_TILES, Case, write_sheet
from covid_debug.artifacts import write_artifact
from covid_debug.errors import InputContractError, suggest
from covid_debug.imaging.boxes import to_polygon
from covid_debug.imaging.reading import read_film
from covid_debug.records import REGION_KINDS, Box, RegionKind, TextRegion
from covid_debug.terminal import RunConsole
from covid_debug.text.base import Gray

TABLE_NAME = "redaction.csv"
SUMMARY_NAME = "redaction.md"
BOXES_NAME = "boxes.csv"
_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class CleanedFilms:
    """What to score.

    Attributes:
        annotations: Files of boxes, see :func:`benchmarks.text.annotated.load_annotations`.
        sources: Folder that the film paths in them are relative to.
        cleaned: Folder of cleaned films, see :func:`benchmarks.clean.copies.find_copies`.
        kept: Kinds of text that were to be kept.
    """

    annotations: tuple[Path, ...]
    sources: Path
    cleaned: Path
    kept: tuple[RegionKind, ...] = ()


def parse_kinds(names: Sequence[str], option: str) -> tuple[RegionKind, ...]:
    """Return kinds of text by name; refuse others, naming the option."""
    known = {str(kind): kind for kind in REGION_KINDS if kind != "annotation"}
    for name in names:
        if name not in known:
            raise InputContractError(
                f"{option}: unknown kind {name!r}{suggest(name, known)} (known: {', '.join(known)})"
            )
    return tuple(dict.fromkeys(known[name] for name in names))


def bench_cleaned(request: CleanedFilms, out: Path, console: RunConsole) -> str:
    """Score cleaned films.

    Args:
        request: What to score.
        out: Folder to create, with ``redaction.csv``, ``redaction.md``, ``boxes.csv`` and, where
            there are any, ``left.png`` and ``needless.png``.
        console: Where progress is shown.

    Returns:
        The tables in Markdown.

    Raises:
        DataIntegrityError: If annotations or films are missing or do not fit.
    """
    films = load_all_annotations(request.annotations)
    copies = find_copies(films, request.sources, request.cleaned)
    present = [film for film in films if film.path in copies]
    if len(present) < len(films):
        console.warn(
            f"{len(films) - len(present)} of {len(films)} annotated films have no cleaned copy and"
            " are left out"
        )
    results: list[CleanedFilm] = []
    left: list[Case] = []
    needless: list[Case] = []
    with console.progress("films") as progress:
        for n_done, film in enumerate(present, start=1):
            original = read_film(request.sources / film.path)
            copy = copies[film.path]
            if copy.window is None:
                copy = replace(copy, window=original.window)
            before, after = original.to_uint8(), read_film(copy).to_uint8()
            result = score_cleaned(film, before, after)
            results.append(result)
            if len(left) < MAX_TILES:
                left += _left_cases(result, after, request.kept)
            if len(needless) < MAX_TILES:
                needless += _needless_cases(result, before)
            progress(n_done, len(present))
    counts = count_cleaned(results, request.kept)
    text = describe_cleaned(counts, len(present), len(films))
    parameters = {"cleaned": request.cleaned.name, "kept": list(request.kept)}
    with write_artifact(out, kind="bench-cleaned", parameters=parameters) as draft:
        rows = [count.to_row() for count in counts]
        write_csv(draft.path / TABLE_NAME, list(rows[0]), rows)
        _write_boxes(draft.path / BOXES_NAME, results, request.kept)
        write_sheet(draft.path / "left.png", left)
        write_sheet(draft.path / "needless.png", needless)
        (draft.path / SUMMARY_NAME).write_text(text, encoding="utf-8")
        draft.facts["n_films"] = len(present)
    return text


def _left_cases(result: CleanedFilm, after: Gray, kept: Sequence[RegionKind]) -> list[Case]:
    """Return what should have gone and is still there, at least in part."""
    name = Path(result.film.path).name[:30]
    return [
        Case(
            pixels=after,
            box=box.score.box.box,
            wanted=(box.score.box.box,),
            seen=(),
            caption=(name, f"{box.score.box.content}: {box.ink.share:.0%} left"[:38]),
        )
        for box in result.to_remove(kept)
        if not box.ink.is_gone or box.ink.has_piece
    ]


def _needless_cases(result: CleanedFilm, before: Gray) -> list[Case]:
    """Return the places that were changed where nothing is annotated."""
    name = Path(result.film.path).name[:30]
    wanted = tuple(box.box for box in result.film.boxes)
    return [
        Case(before, box, wanted, (_as_region(box),), (name, "changed"))
        for box, is_true in result.places
        if not is_true
    ]


def _as_region(box: Box) -> TextRegion:
    return TextRegion(to_polygon(box), 1.0, None, "")


def _write_boxes(path: Path, results: Sequence[CleanedFilm], kept: Sequence[RegionKind]) -> None:
    rows = [_to_row(film, box, kept) for film in results for box in film.boxes]
    columns = ("kind", "content", "content_kind", "wanted", "ink_left", "has_piece", "changed")
    write_csv(path, ("film", *_CORNERS, *columns), rows)


def _to_row(film: CleanedFilm, box: CleanedBox, kept: Sequence[RegionKind]) -> dict[str, object]:
    annotated = box.score.box
    return {
        "film": film.film.path,
        **dict(zip(_CORNERS, annotated.box, strict=True)),
        "kind": annotated.kind,
        "content": annotated.content,
        "content_kind": box.kind,
        "wanted": "keep" if box.kind in kept else "remove",
        "ink_left": f"{box.ink.share:.3f}",
        "has_piece": int(box.ink.has_piece),
        "changed": f"{box.score.coverage:.3f}",
    }


def describe_cleaned(counts: Sequence[Count], n_films: int, n_annotated: int) -> str:
    """Write the counts as two Markdown tables: what matters, and recall by group."""
    head = ("redacted", "films with text", "kept", "changed outside boxes")
    first = [_to_cells(one) for one in counts if one.group in head]
    groups = [_to_cells(one) for one in counts if one.group not in head]
    text = f"{n_films} cleaned films of {n_annotated} annotated ones\n\n{to_markdown(first)}"
    return f"{text}\n{to_markdown(groups)}" if groups else text


def _to_cells(count: Count) -> dict[str, object]:
    if count.group == "changed outside boxes":
        share, counted, wilson = f"{count.share:.3%}", "-", "-"
    elif not count.n_total:
        share, counted, wilson = "-", "0/0", "-"
    else:
        share, counted = f"{count.share:.1%}", f"{count.n_found}/{count.n_total}"
        wilson = f"{100 * count.wilson.low:.0f} to {100 * count.wilson.high:.0f}"
    films = count.over_films
    is_percent = films.is_defined and films.low == films.low  # NaN where there is no interval
    places = 3 if count.group == "changed outside boxes" else 0
    over = f"{100 * films.low:.{places}f} to {100 * films.high:.{places}f}" if is_percent else "-"
    return {
        "": f"{count.group}: {count.value}",
        "share": share,
        "boxes": counted,
        "Wilson, %": wilson,
        "over films, %": over,
    }
