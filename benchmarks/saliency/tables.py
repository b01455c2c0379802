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
from numpy.typing import NDArray

from benchmarks.saliency.measure import YARDSTICK, BenchFilms, MethodRun
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
                speedup = float(
                    np.median(reference.cpu_seconds[both]) / np.median(run.cpu_seconds[both])
                    if films.images.device.type == "cpu"
                    else np.median(reference.seconds[both]) / np.median(run.seconds[both])
                )
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
                seconds=_median(run.seconds[ok]),
                cpu_seconds=_median(run.cpu_seconds[ok]),
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
        "insertion", "insertion_low", "insertion_high", "seconds_per_map", "cpu_seconds_per_map",
        "evaluations_per_map",
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
                    f"{row.seconds:.4f}", f"{row.cpu_seconds:.4f}", f"{row.evaluations:.1f}",
                    f"{row.peak_mb:.0f}",
                    "" if row.speedup is None else f"{row.speedup:.1f}",
                    *_numbers(row.deletion_difference), *_numbers(row.insertion_difference),
                    "" if pair is None else pair.n, json.dumps(dict(row.void_reasons)),
                ]
            )  # fmt: skip
    text = to_markdown(rows)
    write_text_atomic(out / "saliency.md", text)
    write_text_atomic(out / "facts.json", json.dumps(json.loads(canonical_json(facts)), indent=2))
    return text


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if values.size else float("nan")


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
            " | s a map | CPU s a map | evaluations | MiB | faster than published"
            " | deletion difference | insertion difference |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row.method} | {row.n_ok} ({row.n_void}) | {_cell(row.deletion)}"
            f" | {_cell(row.insertion)} | {row.seconds:.2f} | {row.cpu_seconds:.2f}"
            f" | {row.evaluations:.0f}"
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


PAPER_ROWS: tuple[tuple[str, str, int, float, float], ...] = (
    ("grad_cam", "ResNet50", 7, 0.1675, 0.6521),
    ("integrated_gradients", "ResNet50", 224, 0.0907, 0.2921),
    ("rise", "ResNet50", 224, 0.1196, 0.5637),
    ("mask", "ResNet50", 224, 0.0468, 0.4962),
    ("mask", "ResNet50", 28, 0.1151, 0.5559),
    ("mask", "ResNet50", 7, 0.2259, 0.6003),
    ("igos", "ResNet50", 224, 0.0420, 0.5846),
    ("igos", "ResNet50", 28, 0.1059, 0.5986),
    ("igos", "ResNet50", 7, 0.1607, 0.6632),
    ("igos_pp", "ResNet50", 224, 0.0328, 0.7261),
    ("igos_pp", "ResNet50", 28, 0.0929, 0.7284),
    ("igos_pp", "ResNet50", 7, 0.1810, 0.7332),
    ("grad_cam", "VGG19", 14, 0.1527, 0.5938),
    ("integrated_gradients", "VGG19", 224, 0.0663, 0.2551),
    ("rise", "VGG19", 224, 0.1082, 0.5139),
    ("mask", "VGG19", 224, 0.0482, 0.4158),
    ("mask", "VGG19", 28, 0.1056, 0.5335),
    ("mask", "VGG19", 14, 0.1753, 0.5647),
    ("igos", "VGG19", 224, 0.0336, 0.5246),
    ("igos", "VGG19", 28, 0.0899, 0.5701),
    ("igos", "VGG19", 14, 0.1213, 0.6387),
)
"""Method, network, grid, deletion, insertion as printed in the iGOS++ paper, tables 1 and 2."""


def paper_markdown(rows: Sequence[BenchRow]) -> str:
    """Return the papers' table with this run's numbers beside it, where both have one."""
    ours = {(row.method, row.grid): row for row in rows}
    lines = [
        "### The paper's ImageNet numbers and ours",
        "",
        "Other images, another network and another number of classes: the orders compare, the"
        " values do not.",
        "",
        "| method | grid | network | paper deletion | paper insertion | our deletion"
        " | our insertion |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, network, grid, deletion, insertion in PAPER_ROWS:
        row = ours.get((method, grid))
        lines.append(
            f"| {method} | {grid} | {network} | {deletion:.4f} | {insertion:.4f}"
            f" | {_cell(row.deletion) if row else ''} | {_cell(row.insertion) if row else ''} |"
        )
    return "\n".join([*lines, ""])
