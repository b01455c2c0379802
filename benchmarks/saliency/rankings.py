"""Search x ranking: what the search of a mask method adds, and what the order of its ties does.

One search a film gives a mask and a gradient; each ranking made of them is scored by deletion and
insertion. Every film of every search is kept as it is done: a published one takes a minute.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost import Stopwatch
from benchmarks.saliency.runs import CODE_VERSION, MAX_BATCH, BenchFilms
from benchmarks.saliency.tables import format_estimate
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import artifact_key, write_text_atomic
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.evaluation.statistics import Estimate, paired_bootstrap_difference
from covid_debug.journal import Journal
from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore
from covid_debug.records_json import parse_plain
from covid_debug.saliency.base import Explainer
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.ranking import Ranking
from covid_debug.seeding import derive_seed

SURVIVE: Mapping[str, Any] = {"noise_rule": "survive"}
SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "path_gradient": {},
    "area_path": {},
    "igos_pp": {},
    "igos_plus": {},
    "mask": {},
    "igos_pp_published": SURVIVE,
    "igos_plus_published": SURVIVE,
    "mask_published": {},
}
"""What is searched, the cheapest first. The published noise drives many radiograph classifiers to
one class, where every map is void; the published searches get what the film's score survives."""
REFERENCE = ("igos_pp_published", "mask")
"""The authors' form, by its mask alone: what every line is compared with."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One ranking of one search on one film.

    Attributes:
        key: What was run on what; names the record.
        film: Name.
        patient: Of the film; intervals resample patients.
        search: Catalogue name.
        ranking: See :func:`covid_debug.saliency.ranking.rank_cells`.
        deletion: Area, lower is better; ties by their expected value.
        insertion: Area, higher is better.
        void_reason: Code of ``VOID_REASONS``.
        evaluations: Images passed through the model for the map.
        cpu_seconds: Of the processor, for the map.
        kept_share: Share of the mask's cells that are exactly 1; None without a mask.
    """

    key: str
    film: str
    patient: str
    search: str
    ranking: str
    deletion: float
    insertion: float
    void_reason: int
    evaluations: int
    cpu_seconds: float
    kept_share: float | None


def rank_searches(
    classifier: Classifier,
    films: BenchFilms,
    out: Path,
    *,
    searches: Sequence[str],
    grid: int,
    seed: int,
    model_key: str,
    say: Callable[[str], None],
) -> str:
    """Run every search on every film, score its rankings, write ``rankings.csv`` and ``.md``.

    Args:
        classifier: The model, in evaluation mode.
        films: What is explained.
        out: Folder; films that ``rankings.jsonl`` there holds are not repeated.
        searches: Names of :data:`SEARCHES`.
        grid: Cells a side.
        seed: Run seed.
        model_key: Identifies the classifier.
        say: Receives one line per film and search.

    Returns:
        A Markdown section.
    """
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / "rankings.jsonl", "key")
    found: list[Ranked] = []
    for i, name in enumerate(films.names):
        for search in searches:
            params = {**SEARCHES[search], "grid_size": grid}
            explainer = build_explainer(search, **params)
            keys = {
                ranking: artifact_key(
                    f"{search}-{ranking}",
                    CODE_VERSION,
                    [explainer.params, seed, grid],
                    [model_key, name, int(films.targets[i])],
                )
                for ranking in _rankings_of(search)
            }
            if not all(key in journal for key in keys.values()):
                film = films.pick(i, i + 1)
                for ranked in _run_film(classifier, film, explainer, search, keys, grid, seed):
                    journal.add(asdict(ranked))
                    say(
                        f"{i + 1}/{len(films.names)} {search}, {ranked.ranking}: deletion"
                        f" {ranked.deletion:.3f}, insertion {ranked.insertion:.3f}"
                    )
            found += [parse_plain(journal[key], Ranked) for key in keys.values()]
    columns = [field.name for field in fields(Ranked) if field.name != "key"]
    rows = [{name: getattr(one, name) for name in columns} for one in found]
    write_csv(out / "rankings.csv", columns, rows)
    text = to_section(found, grid=grid, seed=seed)
    write_text_atomic(out / "rankings.md", text)
    return text


def _rankings_of(search: str) -> tuple[Ranking, ...]:
    return ("gradient",) if search == "path_gradient" else get_args(Ranking)


def _run_film(
    classifier: Classifier,
    film: BenchFilms,
    explainer: Explainer[Any],
    search: str,
    keys: Mapping[Ranking, str],
    grid: int,
    seed: int,
) -> Iterator[Ranked]:
    with Stopwatch(film.images.device) as watch:
        result = explainer.explain(
            classifier,
            film.images,
            film.targets,
            seeds=[derive_seed(seed, film.names[0], search)],
            max_batch=MAX_BATCH,
        )
    keep = result.keep_mask
    is_pixels = grid == film.images.shape[-1]
    protocol = PerturbationProtocol(resolution="image" if is_pixels else "grid", grid_size=grid)
    score = TargetScore(classifier, film.targets, max_batch=MAX_BATCH)
    for ranking, key in keys.items():
        saliency = result.saliency if keep is None else result.rank(ranking)
        scores = compute_deletion_insertion(score, film.images, saliency, protocol)
        yield Ranked(
            key=key,
            film=film.names[0],
            patient=str(film.patients[0]),
            search=search,
            ranking=ranking,
            deletion=float(scores.deletion_score),
            insertion=float(scores.insertion_score),
            void_reason=int(result.diagnostics["void_reason"]),
            evaluations=result.n_evaluations,
            cpu_seconds=watch.cpu_seconds,
            kept_share=None if keep is None else float((keep == 1).float().mean()),
        )


def to_section(found: Sequence[Ranked], *, grid: int, seed: int) -> str:
    """Return the table of searches x rankings, differences paired by film.

    Args:
        found: All films of all searches.
        grid: Cells a side, for the heading.
        seed: Decides the resampling of patients.
    """
    groups: dict[tuple[str, str], dict[str, Ranked]] = {}
    for one in found:
        groups.setdefault((one.search, one.ranking), {})[one.film] = one
    reference = groups.get(REFERENCE, {})
    lines = []
    for (search, ranking), films in groups.items():
        ok = [one for one in films.values() if one.void_reason == 0]
        pairs = [
            (reference[one.film], one)
            for one in ok
            if (search, ranking) != REFERENCE
            and one.film in reference
            and reference[one.film].void_reason == 0
        ]
        kept = [one.kept_share for one in ok if one.kept_share is not None]
        lines.append(
            {
                "search": search,
                "ranked by": ranking.replace("_", " "),
                "films (void)": f"{len(ok)} ({len(films) - len(ok)})",
                "deletion, lower is better": format_estimate(_mean(ok, "deletion", seed)),
                "insertion, higher is better": format_estimate(_mean(ok, "insertion", seed)),
                "deletion difference": _difference(pairs, "deletion", seed),
                "insertion difference": _difference(pairs, "insertion", seed),
                "evaluations": _format([one.evaluations for one in ok], ".0f"),
                "CPU s": _format([one.cpu_seconds for one in ok], ".2f"),
                "fewer evaluations": _ratio([(a.evaluations, b.evaluations) for a, b in pairs]),
                "less CPU": _ratio([(a.cpu_seconds, b.cpu_seconds) for a, b in pairs]),
                "cells at 1": _format(kept, ".0%"),
            }
        )
    return (
        f"### Search x ranking, {grid} x {grid}\n\nDifferences and ratios: paired by film with"
        f" {REFERENCE[0]} ranked by its {REFERENCE[1]}; equal cells count by their expected value."
        f"\n\n{to_markdown(lines)}"
    )


def _mean(ranked: Sequence[Ranked], what: str, seed: int) -> Estimate:
    values = _values(ranked, what)
    patients = [one.patient for one in ranked]
    return paired_bootstrap_difference(np.zeros_like(values), values, patients, seed=seed)


def _difference(pairs: Sequence[tuple[Ranked, Ranked]], what: str, seed: int) -> str:
    if not pairs:
        return ""
    first, second = (_values([pair[k] for pair in pairs], what) for k in (0, 1))
    patients = [one.patient for _, one in pairs]
    return format_estimate(
        paired_bootstrap_difference(first, second, patients, seed=seed), sign=True
    )


def _values(ranked: Sequence[Ranked], what: str) -> NDArray[np.float64]:
    return np.array([getattr(one, what) for one in ranked], dtype=np.float64)


def _format(values: Sequence[float], style: str) -> str:
    return f"{np.mean(values):{style}}" if values else ""


def _ratio(pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return ""
    return f"{np.median([a for a, _ in pairs]) / np.median([b for _, b in pairs]):.1f}x"
