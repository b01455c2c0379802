"""Tables of the saliency benchmark: averages, intervals, paired differences.

Owns aggregation and text; runs nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.saliency.runs import BenchFilms, MethodRun
from benchmarks.saliency.yardstick import YARDSTICK
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import canonical_json, write_text_atomic
from covid_debug.evaluation.statistics import Estimate, paired_bootstrap_difference
from covid_debug.saliency.base import VOID_REASONS


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
        cpu_seconds: Median processor seconds a map.
        evaluations: Mean images passed through the model a map.
        peak_mb: MiB above the start.
        speedup: Yardstick's processor seconds over this method's (seconds on a GPU), medians on
            the common films.
        fewer_evaluations: Yardstick's evaluations over this method's, means on the common films.
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
    cpu_seconds: float
    evaluations: float
    peak_mb: float
    speedup: float | None
    fewer_evaluations: float | None
    deletion_difference: Estimate | None
    insertion_difference: Estimate | None
    void_reasons: Mapping[str, int]


def summarise(runs: Sequence[MethodRun], films: BenchFilms, *, seed: int = 0) -> list[BenchRow]:
    """Return each run averaged over its valid films and compared with the yardstick."""
    yardsticks = {run.grid: run for run in runs if run.method == YARDSTICK}
    patients = np.array([str(patient) for patient in films.patients])
    rows = []
    for run in runs:
        ok = (run.void == 0) & np.isfinite(run.deletion) & np.isfinite(run.insertion)
        zeros = np.zeros(int(ok.sum()))
        reference = yardsticks.get(run.grid)
        speedup = fewer_evaluations = deletion_difference = insertion_difference = None
        if reference is not None and run is not reference:
            both = ok & (reference.void == 0)
            if both.any():
                speedup = float(
                    np.median(reference.cpu_seconds[both]) / np.median(run.cpu_seconds[both])
                    if films.images.device.type == "cpu"
                    else np.median(reference.seconds[both]) / np.median(run.seconds[both])
                )
                fewer_evaluations = float(
                    reference.evaluations[both].mean() / run.evaluations[both].mean()
                )
                deletion_difference = paired_bootstrap_difference(
                    reference.deletion[both], run.deletion[both], patients[both], seed=seed
                )
                insertion_difference = paired_bootstrap_difference(
                    reference.insertion[both], run.insertion[both], patients[both], seed=seed
                )
        codes = run.void[run.void > 0]
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
                seconds=_median(run.seconds[ok]),
                cpu_seconds=_median(run.cpu_seconds[ok]),
                evaluations=float(run.evaluations[ok].mean()) if ok.any() else float("nan"),
                peak_mb=run.peak_mb,
                speedup=speedup,
                fewer_evaluations=fewer_evaluations,
                deletion_difference=deletion_difference,
                insertion_difference=insertion_difference,
                void_reasons={
                    VOID_REASONS[code]: int((codes == code).sum()) for code in sorted(set(codes))
                },
            )
        )
    return rows


def write_tables(rows: Sequence[BenchRow], out: Path, *, facts: Mapping[str, Any]) -> None:
    """Write ``saliency.csv``, ``saliency.md`` and ``facts.json``.

    Args:
        rows: From :func:`summarise`.
        out: Folder.
        facts: What was run on what, for ``facts.json``.
    """
    out.mkdir(parents=True, exist_ok=True)
    cells = [_to_cells(row) for row in rows]
    write_csv(out / "saliency.csv", list(cells[0]), cells)
    write_text_atomic(out / "saliency.md", to_sections(rows))
    write_text_atomic(out / "facts.json", json.dumps(json.loads(canonical_json(facts)), indent=2))


def _to_cells(row: BenchRow) -> dict[str, object]:
    """Return the line of ``saliency.csv``."""
    pair = row.deletion_difference
    return {
        "method": row.method,
        "grid": row.grid,
        "n_ok": row.n_ok,
        "n_void": row.n_void,
        "n_total": row.n_total,
        **_interval("deletion", row.deletion),
        **_interval("insertion", row.insertion),
        "seconds_per_map": f"{row.seconds:.4f}",
        "cpu_seconds_per_map": f"{row.cpu_seconds:.4f}",
        "evaluations_per_map": f"{row.evaluations:.1f}",
        "peak_mb": f"{row.peak_mb:.0f}",
        "speedup": "" if row.speedup is None else f"{row.speedup:.1f}",
        "fewer_evaluations": (
            "" if row.fewer_evaluations is None else f"{row.fewer_evaluations:.1f}"
        ),
        **_interval("deletion_difference", row.deletion_difference),
        **_interval("insertion_difference", row.insertion_difference),
        "n_pairs": "" if pair is None else pair.n,
        "void_reasons": json.dumps(dict(row.void_reasons)),
    }


def _interval(name: str, estimate: Estimate | None) -> dict[str, str]:
    names = (name, f"{name}_low", f"{name}_high")
    if estimate is None or not estimate.is_defined:
        return dict.fromkeys(names, "")
    values = (estimate.value, estimate.low, estimate.high)
    return {key: f"{value:.4f}" for key, value in zip(names, values, strict=True)}


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else float("nan")


def to_sections(rows: Sequence[BenchRow]) -> str:
    """Return one Markdown table per grid, best insertion first."""
    sections = []
    for grid in sorted({row.grid for row in rows}):
        at_grid = [row for row in rows if row.grid == grid]
        at_grid.sort(key=lambda row: -(row.insertion.value if row.insertion.is_defined else -1))
        sections.append(f"### {grid} x {grid}\n\n{to_markdown([_to_line(r) for r in at_grid])}")
    return "\n".join(sections)


def _to_line(row: BenchRow) -> dict[str, str]:
    """Return the line of the Markdown table."""
    return {
        "method": row.method,
        "films (void)": f"{row.n_ok} ({row.n_void})",
        "deletion, lower is better": format_estimate(row.deletion),
        "insertion, higher is better": format_estimate(row.insertion),
        "s a map": f"{row.seconds:.2f}",
        "CPU s a map": f"{row.cpu_seconds:.2f}",
        "evaluations": f"{row.evaluations:.0f}",
        "MiB": f"{row.peak_mb:.0f}",
        "faster than published": "" if row.speedup is None else f"{row.speedup:.1f}x",
        "fewer evaluations": (
            "" if row.fewer_evaluations is None else f"{row.fewer_evaluations:.1f}x"
        ),
        "deletion difference": format_estimate(row.deletion_difference, sign=True),
        "insertion difference": format_estimate(row.insertion_difference, sign=True),
    }


def format_estimate(estimate: Estimate | None, *, sign: bool = False) -> str:
    """Return value and interval, ``""`` where there is none."""
    if estimate is None or not estimate.is_defined:
        return ""
    style = "+.3f" if sign else ".3f"
    return f"{estimate.value:{style}} ({estimate.low:{style}} to {estimate.high:{style}})"
