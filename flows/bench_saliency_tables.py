"""Tables of the saliency benchmark: averages, intervals, paired differences, the papers' numbers.

Owns aggregation and text; runs nothing.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covid_debug.artifacts import canonical_json, write_text_atomic
from covid_debug.evaluation.statistics import Estimate, paired_bootstrap_difference
from covid_debug.saliency.base import VOID_REASONS
from flows.bench_saliency import YARDSTICK, BenchFilms, MethodRun


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One line of the table.

    Attributes:
        method: Name.
        grid: Cells a side.
        n_ok: Films in the averages.
        n_void: Films excluded because their map means nothing.
        n_total: Films given to the method.
        deletion: Mean with interval, lower is better.
        insertion: Mean with interval, higher is better.
        seconds: Median seconds a map.
        evaluations: Mean images passed through the model a map.
        peak_mb: MiB above the start.
        speedup: Yardstick's seconds over this method's, medians on the common films.
        deletion_difference: Mean of this minus yardstick on common films, with interval.
        insertion_difference: Likewise.
        void_reasons: How often each reason occurred.
    """

    method: str
    grid: int
    n_ok: int
    n_void: int
    n_total: int
    deletion: Estimate
    insertion: Estimate
    seconds: float
    evaluations: float
    peak_mb: float
    speedup: float | None
    deletion_difference: Estimate | None
    insertion_difference: Estimate | None
    void_reasons: Mapping[str, int]


def summarise(runs: Sequence[MethodRun], films: BenchFilms, *, seed: int = 0) -> list[BenchRow]:
    """Return each run averaged over its valid films and compared with the yardstick."""
    yardsticks = {run.grid: run for run in runs if run.method == YARDSTICK}
    patients = np.array([str(patient) for patient in films.patients])
    rows = []
    for run in runs:
        ok = (run.void_reason == 0) & np.isfinite(run.deletion) & np.isfinite(run.insertion)
        zeros = np.zeros(int(ok.sum()))
        reference = yardsticks.get(run.grid)
        speedup = deletion_difference = insertion_difference = None
        if reference is not None and run is not reference:
            both = ok & (reference.void_reason == 0)
            if both.any():
                speedup = float(np.median(reference.seconds[both]) / np.median(run.seconds[both]))
                deletion_difference = paired_bootstrap_difference(
                    reference.deletion[both], run.deletion[both], patients[both], seed=seed
                )
                insertion_difference = paired_bootstrap_difference(
                    reference.insertion[both], run.insertion[both], patients[both], seed=seed
                )
        codes = run.void_reason[run.void_reason > 0]
        rows.append(
            BenchRow(
                method=run.method,
                grid=run.grid,
                n_ok=int(ok.sum()),
                n_void=len(codes),
                n_total=int((run.void_reason >= 0).sum()),
                deletion=paired_bootstrap_difference(
                    zeros, run.deletion[ok], patients[ok], seed=seed
                ),
                insertion=paired_bootstrap_difference(
                    zeros, run.insertion[ok], patients[ok], seed=seed
                ),
                seconds=float(np.median(run.seconds[ok])) if ok.any() else float("nan"),
                evaluations=float(run.evaluations[ok].mean()) if ok.any() else float("nan"),
                peak_mb=run.peak_mb,
                speedup=speedup,
                deletion_difference=deletion_difference,
                insertion_difference=insertion_difference,
                void_reasons={
                    VOID_REASONS[code]: int((codes == code).sum()) for code in sorted(set(codes))
                },
            )
        )
    return rows


def write_tables(rows: Sequence[BenchRow], out: Path, *, facts: Mapping[str, Any]) -> str:
    """Write ``saliency.csv``, ``saliency.md`` and ``facts.json``.

    Args:
        rows: From :func:`summarise`.
        out: Folder.
        facts: What was run on what, for ``facts.json``.

    Returns:
        The Markdown text.
    """
    out.mkdir(parents=True, exist_ok=True)
    header = [
        "method", "grid", "n_ok", "n_void", "n_total", "deletion", "deletion_low", "deletion_high",
        "insertion", "insertion_low", "insertion_high", "seconds_per_map", "evaluations_per_map",
        "peak_mb", "speedup", "deletion_difference", "deletion_difference_low",
        "deletion_difference_high", "insertion_difference", "insertion_difference_low",
        "insertion_difference_high", "n_pairs", "void_reasons",
    ]  # fmt: skip
    with (out / "saliency.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for row in rows:
            pair = row.deletion_difference
            writer.writerow(
                [
                    row.method, row.grid, row.n_ok, row.n_void, row.n_total,
                    *_numbers(row.deletion), *_numbers(row.insertion),
                    f"{row.seconds:.4f}", f"{row.evaluations:.1f}", f"{row.peak_mb:.0f}",
                    "" if row.speedup is None else f"{row.speedup:.1f}",
                    *_numbers(row.deletion_difference), *_numbers(row.insertion_difference),
                    "" if pair is None else pair.n, json.dumps(dict(row.void_reasons)),
                ]
            )  # fmt: skip
    text = to_markdown(rows)
    write_text_atomic(out / "saliency.md", text)
    write_text_atomic(out / "facts.json", json.dumps(json.loads(canonical_json(facts)), indent=2))
    return text


def _numbers(estimate: Estimate | None) -> list[str]:
    if estimate is None or not estimate.is_defined:
        return ["", "", ""]
    return [f"{x:.4f}" for x in (estimate.value, estimate.low, estimate.high)]


def to_markdown(rows: Sequence[BenchRow]) -> str:
    """Return the table, one section per grid, best insertion first."""
    lines = []
    for grid in sorted({row.grid for row in rows}):
        at_grid = [row for row in rows if row.grid == grid]
        at_grid.sort(key=lambda row: -(row.insertion.value if row.insertion.is_defined else -1))
        lines += [
            f"### {grid} x {grid}",
            "",
            "| method | films (void) | deletion, lower is better | insertion, higher is better"
            " | s a map | evaluations | MiB | faster than published | deletion difference"
            " | insertion difference |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row.method} | {row.n_ok} ({row.n_void}) | {_cell(row.deletion)}"
            f" | {_cell(row.insertion)} | {row.seconds:.2f} | {row.evaluations:.0f}"
            f" | {row.peak_mb:.0f} | {'' if row.speedup is None else f'{row.speedup:.1f}x'}"
            f" | {_cell(row.deletion_difference, sign=True)}"
            f" | {_cell(row.insertion_difference, sign=True)} |"
            for row in at_grid
        ]
        lines.append("")
    return "\n".join(lines)


def _cell(estimate: Estimate | None, *, sign: bool = False) -> str:
    if estimate is None or not estimate.is_defined:
        return ""
    style = "+.3f" if sign else ".3f"
    return f"{estimate.value:{style}} ({estimate.low:{style}} to {estimate.high:{style}})"
