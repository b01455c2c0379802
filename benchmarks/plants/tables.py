"""The results: every method against the same truth, as tables."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.plants.detection import DetectedPlants
from benchmarks.plants.overlap import Overlap
from benchmarks.plants.scores import Judged, choose_threshold, estimate_share, score_judged
from benchmarks.plants.truth import Truth
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import write_text_atomic
from covid_debug.audit.artifact import Audit, AuditedFilm
from covid_debug.evaluation.statistics import Estimate

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class PlantRun:
    """One model with everything that was said about it.

    Attributes:
        name: Backbone, correlation and seed.
        val: Truth about the validation films.
        test: Truth about the test films.
        audit: The audit of the test films.
        areas: ``image_id`` -> share of the view that detected text covers.
        overlaps: Method -> ``image_id`` -> overlap, for the films that were drawn.
    """

    name: str
    val: tuple[Truth, ...]
    test: tuple[Truth, ...]
    audit: Audit
    areas: Mapping[str, float]
    overlaps: dict[str, Mapping[str, Overlap]] = field(default_factory=dict)


def write_results(
    out: Path,
    runs: Sequence[PlantRun],
    detected: Sequence[DetectedPlants],
    *,
    seed: int,
) -> str:
    """Write ``plants.md`` and ``plants.csv``.

    Args:
        out: Folder.
        runs: The models.
        detected: What the detector found.
        seed: Of the intervals.

    Returns:
        The tables, as Markdown.
    """
    methods = _tabulate_methods(runs, seed)
    write_csv(out / "plants.csv", list(methods[0]), methods)
    sections: dict[str, Rows] = {
        "What the models learned (test films)": [_describe_run(run) for run in runs],
        "Plants that the detector covers": [
            {
                "plant": item.role,
                "height of the letters": "{:.0%} to {:.0%}".format(*item.heights),
                "found": f"{item.n_found} of {item.n}",
            }
            for item in detected
        ],
        "Every method against the truth": methods,
        "Flags of the audit where the learned plant does not drive": _tabulate_alarms(runs, seed),
        "The audit, model by model": [
            {"model": run.name} | _to_row("audit", _judge_audit([run], _drop), seed) for run in runs
        ],
    }
    text = "".join(f"### {title}\n\n{to_markdown(rows)}\n" for title, rows in sections.items())
    write_text_atomic(out / "plants.md", text)
    return text


def is_counted(truth: Truth) -> bool:
    """Tell whether a prediction takes part: its truth is clear.

    Args:
        truth: About the prediction.

    Returns:
        False where the learned plant does not change the class, but the harmless one or both
        together do: neither driven by the plant nor undriven by text. Such films are counted apart.
    """
    return truth.is_driven or truth.is_undriven


def _describe_run(run: PlantRun) -> dict[str, object]:
    bearing = [item for item in run.test if item.has_learned]
    harmless = [item for item in run.test if item.has_harmless]
    right = np.mean([item.without_both == item.film.label for item in run.test])
    return {
        "model": run.name,
        "class changed by the learned plant": _share(bearing, lambda item: item.is_driven),
        "by the harmless plant": _share(
            harmless, lambda item: item.planted != item.without_harmless
        ),
        "driven": sum(item.is_driven for item in run.test),
        "undriven": sum(item.is_undriven for item in run.test),
        "unclear, left out": sum(not is_counted(item) for item in run.test),
        "accuracy without plants": f"{right:.2f}",
    }


def _share(items: Sequence[Truth], has: Callable[[Truth], bool]) -> str:
    n = sum(map(has, items))
    return f"{n} of {len(items)} ({n / max(1, len(items)):.0%})"


def _drop(film: AuditedFilm) -> float:
    return film.drop


def _certainty(film: AuditedFilm) -> float:
    return -film.p_value


def _judge_audit(
    runs: Sequence[PlantRun],
    rate: Callable[[AuditedFilm], float],
    among: Collection[str] | None = None,
) -> list[Judged]:
    judged = []
    for run in runs:
        audited = {film.image_id: film for film in run.audit.films}
        for item in run.test:
            if not is_counted(item) or (among is not None and item.film.image_id not in among):
                continue
            found = audited.get(item.film.image_id)
            # Not audited: no text was found in the view, so nothing is suspected.
            score = float("nan") if found is None else rate(found)
            judged.append(
                Judged(
                    run.name,
                    item.film.patient_id,
                    item.is_driven,
                    -1.0 if np.isnan(score) else score,
                    found is not None and found.verdict == "text_driven",
                )
            )
    return judged


def _judge_scores(
    runs: Sequence[PlantRun],
    by_run: Mapping[str, Mapping[str, float]],
    threshold: float | None = None,
) -> list[Judged]:
    """Judge the films that have a score; None sets the threshold on each model's val films."""
    judged = []
    for run in runs:
        scores = by_run[run.name]
        least = threshold
        if least is None:
            known = [t for t in run.val if t.film.image_id in scores and is_counted(t)]
            least = choose_threshold(
                [scores[t.film.image_id] for t in known], [t.is_driven for t in known]
            )
        for item in run.test:
            value = scores.get(item.film.image_id)
            if value is None or not is_counted(item):
                continue
            judged.append(
                Judged(run.name, item.film.patient_id, item.is_driven, value, value >= least)
            )
    return judged


def _tabulate_methods(runs: Sequence[PlantRun], seed: int) -> Rows:
    areas = {run.name: run.areas for run in runs}
    rows = [
        _to_row("audit (score: fall of p)", _judge_audit(runs, _drop), seed),
        _to_row("audit (score: p-value)", _judge_audit(runs, _certainty), seed),
        _to_row("detector alone: any text", _judge_detector(runs), seed),
        _to_row("area of text alone", _judge_scores(runs, areas), seed),
    ]
    sizes: set[int] = set()
    for method in runs[0].overlaps:
        drawn = {image_id for run in runs for image_id in run.overlaps[method]}
        if len(drawn) not in sizes:
            sizes.add(len(drawn))
            same = _judge_audit(runs, _drop, among=drawn)
            rows.append(_to_row(f"audit, on the films of {method}", same, seed))
        mass = {run.name: {k: o.mass for k, o in run.overlaps[method].items()} for run in runs}
        dense = {
            run.name: {k: o.enrichment for k, o in run.overlaps[method].items()} for run in runs
        }
        ways: dict[str, tuple[Mapping[str, Mapping[str, float]], float | None]] = {
            "mass in text": (mass, None),
            "enrichment": (dense, None),
            "detector plus overlap": (dense, 1.0),
        }
        for way, (scores, threshold) in ways.items():
            judged = _judge_scores(runs, scores, threshold)
            rows.append(_to_row(f"{method}: {way}", judged, seed))
    return rows


def _judge_detector(runs: Sequence[PlantRun]) -> list[Judged]:
    judged = []
    for run in runs:
        audited = {film.image_id for film in run.audit.films}
        for item in run.test:
            if is_counted(item):
                has_text = item.film.image_id in audited
                judged.append(
                    Judged(
                        run.name, item.film.patient_id, item.is_driven, float(has_text), has_text
                    )
                )
    return judged


def _tabulate_alarms(runs: Sequence[PlantRun], seed: int) -> Rows:
    kinds: dict[str, Callable[[Truth], bool]] = {
        "undriven, harmless plant and no learned one": (
            lambda t: t.is_undriven and t.has_harmless and not t.has_learned
        ),
        "undriven, own text only": (
            lambda t: t.is_undriven and not t.has_harmless and not t.has_learned
        ),
        "undriven, learned plant that does not change the class": (
            lambda t: t.is_undriven and t.has_learned
        ),
        "unclear: the harmless plant, or both together, change the class": (
            lambda t: not is_counted(t)
        ),
    }
    rows: Rows = []
    for name, belongs in kinds.items():
        among, flagged, patients = [], [], []
        verdicts: Counter[str] = Counter()
        for run in runs:
            audited = {film.image_id: film.verdict for film in run.audit.films}
            for item in run.test:
                if not belongs(item):
                    continue
                verdict = audited.get(item.film.image_id, "no text found in the view")
                verdicts[verdict] += 1
                among.append(True)
                flagged.append(verdict == "text_driven")
                patients.append(item.film.patient_id)
        if not among:
            continue
        share = estimate_share(np.array(flagged), np.array(among), patients, seed=seed)
        counts = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
        rows.append(
            {
                "predictions": name,
                "n": len(among),
                "flagged": _format(share),
                "verdicts": counts,
            }
        )
    return rows or [{"predictions": "none", "n": 0, "flagged": "", "verdicts": ""}]


def _to_row(method: str, judged: Sequence[Judged], seed: int) -> dict[str, object]:
    score = score_judged(judged, seed=seed)
    return {
        "method": method,
        "predictions": score.n,
        "driven": score.n_driven,
        "precision": _format(score.precision),
        "recall": _format(score.recall),
        "false alarms": _format(score.false_alarms),
        "AUROC": _format(score.auroc),
    }


def _format(estimate: Estimate) -> str:
    if not estimate.is_defined:
        return "undefined"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
