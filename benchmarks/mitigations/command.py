"""The sweep from films to files."""

from pathlib import Path
from typing import Final

from benchmarks.mitigations.figure import draw_sweep
from benchmarks.mitigations.sweep import Sweep, run_sweep
from benchmarks.mitigations.tables import describe_measured, measure_sweep, write_measured
from covid_debug.artifacts import write_text_atomic
from covid_debug.data.phantom.signs import CLASS_NAMES
from covid_debug.reporting.figures import to_png
from covid_debug.stages import Means

TABLE_NAME: Final = "mitigations.csv"
SUMMARY_NAME: Final = "mitigations.md"
FIGURE_NAME: Final = "mitigations.png"


def bench_mitigations(sweep: Sweep, out: Path, means: Means) -> str:
    """Train, ask and score; the files are written anew after every seed.

    Args:
        sweep: What is trained.
        out: Folder of films, checkpoints and results.
        means: How it is carried out.

    Returns:
        The tables, as Markdown.
    """
    tables = ""
    out.mkdir(parents=True, exist_ok=True)
    for answers in run_sweep(sweep, out / "artifacts", means):
        rows = measure_sweep(answers, CLASS_NAMES, seed=sweep.film_seed)
        tables = describe_measured(rows)
        write_measured(out / TABLE_NAME, rows)
        write_text_atomic(out / SUMMARY_NAME, tables)
        (out / FIGURE_NAME).write_bytes(to_png(draw_sweep(rows)))
    return tables
