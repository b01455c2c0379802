"""Tables of the localisation benchmark and the answer that follows from them.

The rule, fixed before any test film was explained: in every cell, that is one model, one kind of
truth and one of mass, rank accuracy and pointing, methods stand in the order of their mean
difference from the reference method on the films that both explained; a void or refused map
counts 0, for it shows nothing. A method's place is the mean over the cells of its rank, as a share
of the methods in the cell. What is shown beside a flag is the first on *validation* films; its
place on test films says what that choice is worth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.localisation.faithful import Faithful
from benchmarks.localisation.measure import Located
from benchmarks.saliency.tables import format_estimate
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import write_text_atomic
from covid_debug.evaluation.statistics import (
    Estimate,
    cluster_bootstrap,
    paired_bootstrap_difference,
    summarise_replicates,
)

RULE = ("mass", "rank_accuracy", "pointing")
"""What decides the places."""
REFERENCE = "igos_pp"
"""Every method is compared with the lines of this one, at its own grid where there is one."""
_TRUTH = {
    "plant": "the learned word on real films",
    "mark": "the site's mark on phantoms",
    "sign": "the disease on phantoms",
    "text": "native text on real films",
}


def write_results(
    out: Path, found: Sequence[Located], judged: Mapping[str, Faithful], heads: str, *, seed: int
) -> str:
    """Write ``localisation.csv`` and ``localisation.md``.

    Args:
        out: Folder.
        found: Every film of every line.
        judged: Key of a map -> how faithful it is.
        heads: What was explained, as Markdown.
        seed: Decides the resampling of patients.

    Returns:
        The Markdown.
    """
    own = [item.name for item in fields(Located) if item.name != "key"]
    more = [item.name for item in fields(Faithful) if item.name != "key"]
    rows = [
        {name: getattr(one, name) for name in own}
        | {name: getattr(judged.get(one.key), name, None) for name in more}
        for one in found
    ]
    write_csv(out / "localisation.csv", [*own, *more], rows)
    parts = [heads]
    for kind in dict.fromkeys(one.kind for one in found):
        here = [one for one in found if one.kind == kind]
        models = list(dict.fromkeys(one.model for one in here))
        scopes = [*((model, [o for o in here if o.model == model]) for model in models)]
        if len(models) > 1:
            scopes.insert(0, ("all models", here))
        for model, some in scopes:
            parts.append(f"### {_TRUTH[kind]}, {model}\n\n{_localisation(some, seed)}")
    parts.append(f"### Beside it: faithfulness\n\n{_faithfulness(found, judged)}")
    parts.append(f"### Places\n\n{to_markdown(list_places(found))}")
    text = "\n".join(parts)
    write_text_atomic(out / "localisation.md", text)
    return text


def list_places(found: Sequence[Located]) -> list[dict[str, object]]:
    """Return the lines in the order of the module's rule, the best first.

    Args:
        found: Every film of every line.

    Returns:
        One row a line: its place, the cells it has, and its rank in each kind of truth.
    """
    cells: dict[tuple[str, str, str], dict[str, float]] = {}
    for kind, model in dict.fromkeys((one.kind, one.model) for one in found):
        here = [one for one in found if (one.kind, one.model) == (kind, model)]
        lines = _by_line(here)
        reference = lines.get(_reference_of("", lines), {})
        for measure in RULE:
            cells[kind, model, measure] = {
                line: float(np.mean(differences))
                for line, films in lines.items()
                if (differences := _compare(films, reference, measure))
            }
    shares: dict[str, dict[str, list[float]]] = {}
    for (kind, _, _), values in cells.items():
        names = list(values)
        ranks = rankdata([-values[name] for name in names])
        for name, rank in zip(names, ranks, strict=True):
            share = (rank - 1) / max(len(names) - 1, 1)
            shares.setdefault(name, {}).setdefault(kind, []).append(float(share))
    kinds = list(dict.fromkeys(kind for kind, _, _ in cells))
    rows = []
    for name, own in shares.items():
        every = [share for some in own.values() for share in some]
        row: dict[str, object] = {"method": name, "place": float(np.mean(every))}
        row |= {kind: f"{np.mean(own[kind]):.2f}" if kind in own else "" for kind in kinds}
        rows.append(row | {"cells": f"{len(every)} of {len(cells)}"})
    rows.sort(key=lambda row: float(str(row["place"])))
    return [row | {"place": f"{row['place']:.3f}"} for row in rows]


def _by_line(found: Sequence[Located]) -> dict[str, dict[str, Located]]:
    lines: dict[str, dict[str, Located]] = {}
    for one in found:
        lines.setdefault(one.line, {})[f"{one.model} {one.film}"] = one
    return lines


def _reference_of(line: str, lines: Mapping[str, object]) -> str:
    """Return the reference line: of the same grid where there is one, else the first."""
    own = [name for name in lines if name.split()[0] == REFERENCE]
    grid = line.rsplit(maxsplit=1)[-1] if " " in line else ""
    same = [name for name in own if name == f"{REFERENCE} {grid}"]
    return (same or own or [""])[0]


def _compare(
    films: Mapping[str, Located], reference: Mapping[str, Located], measure: str
) -> list[float]:
    """Return differences from the reference on the common films; the values without one."""
    if not reference:
        return [_or_0(one, measure) for one in films.values()]
    return [
        _or_0(one, measure) - _or_0(reference[name], measure)
        for name, one in films.items()
        if name in reference
    ]


def _or_0(one: Located, measure: str) -> float:
    value = getattr(one, measure)
    return 0.0 if value is None else float(value)


def _localisation(found: Sequence[Located], seed: int) -> str:
    lines = _by_line(found)
    rows: list[dict[str, str]] = []
    for line, films in lines.items():
        ones = list(films.values())
        if all(one.refused for one in ones):
            rows.append(dict.fromkeys(rows[0], "") | {"method": line, "mass": "refused"})
            continue
        ok = [one for one in ones if one.mass is not None]
        name = _reference_of(line, lines)
        both, edges = (
            [(lines[other][f], one) for f, one in films.items() if f in lines.get(other, {})]
            for other in (name, "film edges")
        )
        rows.append(
            {
                "method": line,
                "films (no map)": f"{len(ones)} ({len(ones) - len(ok)})",
                "mass": _estimate(ok, lambda o: o.mass, seed),
                "rank accuracy": _estimate(ok, lambda o: o.rank_accuracy, seed),
                "pointing": _estimate(ok, lambda o: o.pointing, seed),
                "top 1 %": _estimate(ok, lambda o: o.top_share, seed),
                "mass in ink / area": _ratio(ok, "ink_mass", "ink_area"),
                "mass in harmless / area": _ratio(ok, "harmless_mass", "harmless_area"),
                "mass - igos_pp": "" if name == line else _difference(both, "mass", seed),
                "rank - igos_pp": "" if name == line else _difference(both, "rank_accuracy", seed),
                "rank - film edges": ""
                if line == "film edges"
                else _difference(edges, "rank_accuracy", seed),
            }
        )
    area = _estimate(list(next(iter(lines.values())).values()), lambda o: o.area, seed)
    return (
        f"Area of the truth: {area} of the film, what a random map gets. Means leave out films"
        f" without a map; in differences these count 0.\n\n{to_markdown(rows)}"
    )


def _faithfulness(found: Sequence[Located], judged: Mapping[str, Faithful]) -> str:
    rows = []
    for line, films in _by_line(found).items():
        ones = [one for one in films.values() if not one.refused]
        if not ones:
            continue
        pairs = [(one, judged[one.key]) for one in ones if one.key in judged]
        row = {"method": line, "films": str(len(pairs))}
        for column, name in {
            "deletion, blur": "deletion",
            "insertion, blur": "insertion",
            "deletion, gray": "deletion_gray",
            "insertion, gray": "insertion_gray",
            "ROAD": "road",
            "infidelity": "infidelity",
            "max-sensitivity": "max_sensitivity",
        }.items():
            row[column] = _plain([getattr(two, name) for _, two in pairs], ".3f")
        row["sparseness"] = _plain([one.sparseness for one in ones], ".2f")
        errors = [abs(one.completeness) for one in ones if one.completeness is not None]
        row["completeness, median error"] = f"{np.median(errors):.3f}" if errors else ""
        row["evaluations"] = f"{np.mean([one.evaluations for one in ones]):.0f}"
        row["CPU s"] = f"{np.mean([one.cpu_seconds for one in ones]):.2f}"
        rows.append(row)
    return to_markdown(rows) if rows else ""


def _estimate(ones: Sequence[Located], value: Callable[[Located], float | None], seed: int) -> str:
    kept = [(v, one.patient) for one in ones if (v := value(one)) is not None]
    if not kept:
        return ""
    values = np.array([v for v, _ in kept])
    patients = [patient for _, patient in kept]
    return format_estimate(_mean(values, patients, seed))


def _mean(values: NDArray[np.float64], patients: Sequence[str], seed: int) -> Estimate:
    sums = np.stack([values, np.ones_like(values)], axis=1)
    replicates = cluster_bootstrap(sums, patients, lambda s: s[:, 0] / s[:, 1], seed=seed)
    return summarise_replicates(
        float(values.mean()),
        replicates,
        n=len(values),
        n_clusters=len(set(patients)),
        bounds=(0.0, 1.0),
    )


def _difference(pairs: Sequence[tuple[Located, Located]], measure: str, seed: int) -> str:
    if not pairs:
        return ""
    first, second = ([_or_0(pair[k], measure) for pair in pairs] for k in (0, 1))
    patients = [one.patient for _, one in pairs]
    return format_estimate(
        paired_bootstrap_difference(first, second, patients, seed=seed), sign=True
    )


def _ratio(ones: Sequence[Located], mass: str, area: str) -> str:
    """Return how much denser a map is there than on the whole film, films averaged."""
    values = [
        getattr(one, mass) / getattr(one, area)
        for one in ones
        if getattr(one, mass) is not None and getattr(one, area) > 0
    ]
    return _plain(values, ".1f")


def _plain(values: Sequence[float | None], style: str) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):{style}}" if known else ""
