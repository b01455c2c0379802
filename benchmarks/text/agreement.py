"""`covid-debug bench agreement`: how far two readers of the same films agree.

Owns the matching of two readings and the counts. Every count is a sum over films, so every
interval is a bootstrap over films.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import to_markdown, write_csv
from benchmarks.text.annotated import KINDS, AnnotatedBox, AnnotatedFilm, load_annotations
from covid_debug.artifacts import write_artifact
from covid_debug.errors import DataIntegrityError
from covid_debug.evaluation.statistics import (
    Estimate,
    cluster_bootstrap,
    draw_clusters,
    summarise_replicates,
)
from covid_debug.imaging.boxes import intersect, intersection_over_union

MIN_OVERLAP = 0.5
NEAR_PX = 2.0
TABLE_NAME = "agreement.csv"
SUMMARY_NAME = "agreement.md"
DISAGREEMENTS_NAME = "disagreements.csv"
_N_RESAMPLES = 1000

Pair = tuple[AnnotatedBox | None, AnnotatedBox | None]
Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedFilm:
    """The boxes of two readers on one film, matched; None where one of them has no box."""

    first: AnnotatedFilm
    second: AnnotatedFilm
    pairs: tuple[Pair, ...]

    @property
    def matched(self) -> list[tuple[AnnotatedBox, AnnotatedBox]]:
        """The boxes that both have."""
        return [(a, b) for a, b in self.pairs if a is not None and b is not None]


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One measure of agreement.

    Attributes:
        measure: What is measured.
        estimate: Its value, with a 95 % interval over films; ``n`` are the boxes (films) behind it.
        unit: ``"share"``, ``"kappa"`` or ``"px"``.
    """

    measure: str
    estimate: Estimate
    unit: str


def pair_readings(
    first: Sequence[AnnotatedFilm], second: Sequence[AnnotatedFilm]
) -> list[PairedFilm]:
    """Match the boxes of two readers.

    Two boxes match if they overlap by :data:`MIN_OVERLAP` (intersection over union), or if the
    centre of one lies in the other; the pair that overlaps most first, each box once.

    Args:
        first: Films of one reader.
        second: The same films of the other, in any order.

    Returns:
        The films in the order of the first reader.

    Raises:
        DataIntegrityError: If the two did not read the same films, or films of another size.
    """
    others = {film.path: film for film in second}
    alone = [film.path for film in first if film.path not in others]
    alone += sorted(others.keys() - {film.path for film in first})
    if alone or not first:
        raise DataIntegrityError(
            f"agreement: {len(alone)} films have one reader ({', '.join(alone[:1])} ...);"
            " expected two files of the same films"
            if alone
            else "agreement: no film; expected two files of the same films"
        )
    return [_pair_film(film, others[film.path]) for film in first]


def _pair_film(first: AnnotatedFilm, second: AnnotatedFilm) -> PairedFilm:
    if (first.width, first.height) != (second.width, second.height):
        raise DataIntegrityError(
            f"agreement: {first.path} is {first.width}x{first.height} px for one reader and"
            f" {second.width}x{second.height} px for the other; expected the same film"
        )
    candidates = [
        (intersection_over_union(a.box, b.box), i, j)
        for i, a in enumerate(first.boxes)
        for j, b in enumerate(second.boxes)
        if do_match(a, b)
    ]
    taken: dict[int, int] = {}
    for _, i, j in sorted(candidates, key=lambda one: -one[0]):
        if i not in taken and j not in taken.values():
            taken[i] = j
    pairs: list[Pair] = [
        (box, second.boxes[taken[i]] if i in taken else None) for i, box in enumerate(first.boxes)
    ]
    pairs += [(None, box) for j, box in enumerate(second.boxes) if j not in taken.values()]
    return PairedFilm(first, second, tuple(pairs))


def do_match(first: AnnotatedBox, second: AnnotatedBox) -> bool:
    """Say whether two boxes can be the same piece of text."""
    if intersection_over_union(first.box, second.box) >= MIN_OVERLAP:
        return True
    is_inside = _has_centre(first, second) or _has_centre(second, first)
    return is_inside and intersect(first.box, second.box) > 0


def _has_centre(outer: AnnotatedBox, inner: AnnotatedBox) -> bool:
    x, y = (inner.box[0] + inner.box[2]) / 2, (inner.box[1] + inner.box[3]) / 2
    x0, y0, x1, y1 = outer.box
    return x0 <= x <= x1 and y0 <= y <= y1


def measure_agreement(films: Sequence[PairedFilm], *, seed: int = 0) -> list[AgreementRow]:
    """Count over films.

    Kappa is Cohen's [cohen1960kappa]. Contents are compared without case and spaces, where both
    call the box legible. F1 is twice the boxes that both have over the boxes of both.

    Args:
        films: At least one film.
        seed: Seed of the intervals.

    Returns:
        F1 of all boxes, of text and of legible text; agreement and kappa on whether a film has
        text, on the kind and on the legibility of matched boxes; equal marks and contents; distance
        of matched edges in pixels.
    """

    def share(measure: str, count: Callable[[PairedFilm], tuple[float, float]]) -> AgreementRow:
        return AgreementRow(
            measure, _ratio(np.array([count(film) for film in films]), seed), "share"
        )

    def kappa(measure: str, tables: Sequence[Counts]) -> AgreementRow:
        return AgreementRow(f"{measure}, kappa", _kappa(np.array(tables), seed), "kappa")

    return [
        share("boxes, F1", lambda film: _f1(film, lambda _: True)),
        share("text boxes, F1", lambda film: _f1(film, lambda box: box.is_text)),
        share("legible boxes, F1", lambda film: _f1(film, lambda box: box.legible)),
        share(
            "film with or without text",
            lambda film: (film.first.is_text_free == film.second.is_text_free, 1),
        ),
        kappa(
            "film with or without text",
            [_table([(f.first.is_text_free, f.second.is_text_free)], (False, True)) for f in films],
        ),
        share("kind", lambda film: _equal(film, lambda a, b: a.kind == b.kind)),
        kappa("kind", [_table([(a.kind, b.kind) for a, b in f.matched], KINDS) for f in films]),
        share("legible", lambda film: _equal(film, lambda a, b: a.legible == b.legible)),
        kappa(
            "legible",
            [_table([(a.legible, b.legible) for a, b in f.matched], (False, True)) for f in films],
        ),
        share("marks", lambda film: _equal(film, lambda a, b: set(a.marks) == set(b.marks))),
        share("content", _equal_contents),
        share(f"edges within {NEAR_PX:g} px", _near_edges),
        AgreementRow("distance of an edge, median", _median_distance(films, seed), "px"),
    ]


def _f1(film: PairedFilm, counts: Callable[[AnnotatedBox], bool]) -> tuple[float, float]:
    """Return twice the boxes that both have, and the boxes of both; other kinds left out."""
    n_first = sum(counts(box) for box in film.first.boxes)
    n_second = sum(counts(box) for box in film.second.boxes)
    n_both = sum(counts(a) and counts(b) for a, b in film.matched)
    return 2 * n_both, n_first + n_second


def _equal(
    film: PairedFilm, is_equal: Callable[[AnnotatedBox, AnnotatedBox], bool]
) -> tuple[float, float]:
    return sum(is_equal(a, b) for a, b in film.matched), len(film.matched)


def _equal_contents(film: PairedFilm) -> tuple[float, float]:
    both = [(a, b) for a, b in film.matched if a.legible and b.legible]
    return sum(_squeeze(a.content) == _squeeze(b.content) for a, b in both), len(both)


def _near_edges(film: PairedFilm) -> tuple[float, float]:
    far = [abs(s - t) for a, b in film.matched for s, t in zip(a.box, b.box, strict=True)]
    return sum(one <= NEAR_PX for one in far), len(far)


def _squeeze(content: str) -> str:
    return "".join(content.upper().split())


def _table(answers: Sequence[tuple[object, object]], possible: Sequence[object]) -> Counts:
    table = np.zeros((len(possible), len(possible)))
    for first, second in answers:
        table[possible.index(first), possible.index(second)] += 1
    return table.ravel()


def _ratio(counts: Counts, seed: int) -> Estimate:
    def divide(sums: Counts) -> Counts:
        shares: Counts = np.full(len(sums), np.nan)
        np.divide(sums[:, 0], sums[:, 1], out=shares, where=sums[:, 1] > 0)
        return shares

    return _estimate(counts, divide, int(counts[:, 1].sum()), seed, (0.0, 1.0))


def _kappa(tables: Counts, seed: int) -> Estimate:
    side = round(tables.shape[1] ** 0.5)

    def compute(sums: Counts) -> Counts:
        table = sums.reshape(-1, side, side)
        n = table.sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = np.trace(table, axis1=1, axis2=2) / n
            chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1) / n**2
            value = np.where(chance < 1, (seen - chance) / (1 - chance), np.nan)
        return np.asarray(value, np.float64)

    return _estimate(tables, compute, int(tables.sum()), seed, (-1.0, 1.0))


def _estimate(
    counts: Counts,
    statistic: Callable[[Counts], Counts],
    n: int,
    seed: int,
    bounds: tuple[float, float],
) -> Estimate:
    value = float(statistic(counts.sum(axis=0, keepdims=True))[0])
    names = [f"{number:06d}" for number in range(len(counts))]
    replicates = cluster_bootstrap(counts, names, statistic, seed=seed, n_resamples=_N_RESAMPLES)
    return summarise_replicates(value, replicates, n=n, n_clusters=len(counts), bounds=bounds)


def _median_distance(films: Sequence[PairedFilm], seed: int) -> Estimate:
    each = [
        np.array([abs(s - t) for a, b in f.matched for s, t in zip(a.box, b.box, strict=True)])
        for f in films
    ]
    together = np.concatenate(each)
    if not together.size:
        return Estimate.undefined(0, "no box that both have")
    owners = np.repeat(np.arange(len(films)), [len(one) for one in each])
    order = np.argsort(together)
    drawn = draw_clusters(len(films), seed=seed, n_resamples=_N_RESAMPLES)[:, owners[order]]
    totals = drawn.cumsum(axis=1)
    places = (totals < totals[:, -1:] / 2).sum(axis=1)
    replicates = together[order][np.minimum(places, together.size - 1)]
    return summarise_replicates(
        float(np.median(together)),
        np.where(totals[:, -1] > 0, replicates, np.nan),
        n=together.size,
        n_clusters=len(films),
        bounds=(0.0, np.inf),
    )


def bench_agreement(first: Path, second: Path, out: Path | None = None) -> str:
    """Compare two files of annotations of the same films.

    Args:
        first: One reader's file, see :func:`benchmarks.text.annotated.load_annotations`.
        second: The other's.
        out: Folder to create with the table and the list of what they disagree on, or None.

    Returns:
        The table in Markdown.

    Raises:
        DataIntegrityError: If a file cannot be read, or they are not of the same films.
    """
    films = pair_readings(load_annotations(first), load_annotations(second))
    rows = measure_agreement(films)
    counts = [sum(len(getattr(film, who).boxes) for film in films) for who in ("first", "second")]
    n_both = sum(len(film.matched) for film in films)
    head = f"{len(films)} films; {counts[0]} and {counts[1]} boxes, {n_both} matched\n"
    text = f"{head}\n{to_markdown([_to_cells(row) for row in rows])}"
    if out is not None:
        with write_artifact(out, kind="bench-agreement", parameters={}) as draft:
            _write_rows(draft.path / TABLE_NAME, rows)
            _write_disagreements(draft.path / DISAGREEMENTS_NAME, films)
            (draft.path / SUMMARY_NAME).write_text(text, encoding="utf-8")
            draft.facts["n_films"] = len(films)
    return text


def _to_cells(row: AgreementRow) -> dict[str, object]:
    one = row.estimate
    if not one.is_defined:
        return {"measure": row.measure, "agreement": "-", "95 % interval": "-", "n": one.n}
    values = (one.value, one.low, one.high)
    if row.unit == "share":
        said = [f"{100 * value:.1f}" for value in values]
        cell = f"{said[0]} %"
    else:
        said = [f"{value:.2f}" for value in values]
        cell = f"{said[0]} px" if row.unit == "px" else said[0]
    return {
        "measure": row.measure,
        "agreement": cell,
        "95 % interval": f"{said[1]} to {said[2]}",
        "n": one.n,
    }


def _write_rows(path: Path, rows: Sequence[AgreementRow]) -> None:
    cells = [
        {
            "measure": row.measure,
            "unit": row.unit,
            "value": row.estimate.value,
            "low": row.estimate.low,
            "high": row.estimate.high,
            "n": row.estimate.n,
        }
        for row in rows
    ]
    write_csv(path, list(cells[0]), cells)


def _write_disagreements(path: Path, films: Sequence[PairedFilm]) -> None:
    rows = [
        {
            "film": film.first.path,
            "about": " ".join(about),
            **_show("first", a),
            **_show("second", b),
        }
        for film in films
        for a, b in film.pairs
        if (about := _differences(a, b))
    ]
    fields = [f"{who}_{what}" for who in ("first", "second") for what in ("box", "kind", "content")]
    write_csv(path, ["film", "about", *fields], rows)


def _differences(first: AnnotatedBox | None, second: AnnotatedBox | None) -> list[str]:
    if first is None or second is None:
        return ["box"]
    different = {
        "kind": first.kind != second.kind,
        "legible": first.legible != second.legible,
        "polarity": first.polarity != second.polarity,
        "marks": set(first.marks) != set(second.marks),
        "content": first.legible and _squeeze(first.content) != _squeeze(second.content),
    }
    return [name for name, is_so in different.items() if is_so]


def _show(who: str, box: AnnotatedBox | None) -> dict[str, object]:
    if box is None:
        return {f"{who}_box": "", f"{who}_kind": "", f"{who}_content": ""}
    corners = " ".join(f"{value:g}" for value in box.box)
    return {f"{who}_box": corners, f"{who}_kind": box.kind, f"{who}_content": box.content}
