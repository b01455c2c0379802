"""Figures and the gallery page of the saliency benchmark.

Owns which films and runs are shown; how they are drawn is reporting's.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.saliency.drawings import (
    MeanCurve,
    MontageCell,
    draw_curves,
    draw_montage,
)
from benchmarks.saliency.runs import BenchFilms, MethodRun
from covid_debug.artifacts import write_text_atomic
from covid_debug.reporting.figures import to_jpeg, to_png


def write_figures(
    runs: Sequence[MethodRun],
    films: BenchFilms,
    views: NDArray[np.uint8],
    class_names: Sequence[str],
    out: Path,
    *,
    n_shown: int = 6,
) -> None:
    """Write a montage and mean curves per grid.

    Args:
        runs: What was measured.
        films: The films.
        views: Their views.
        class_names: For the titles.
        out: Folder.
        n_shown: Films in the montage: the first that are not void for iGOS++, then others.
    """
    for grid in sorted({run.grid for run in runs}):
        at_grid = [run for run in runs if run.grid == grid]
        leading = next((r for r in at_grid if r.method == "igos_pp"), at_grid[0])
        order = np.argsort(leading.void != 0, kind="stable")[:n_shown]
        montage = {
            run.method: [
                MontageCell(
                    run.saliency[i],
                    f"{run.deletion[i]:.2f} / {run.insertion[i]:.2f}",
                    bool(run.void[i] != 0),
                )
                for i in order
            ]
            for run in at_grid
        }
        titles = [class_names[int(films.targets[i])] for i in order]
        figure = draw_montage([views[i] for i in order], titles, montage)
        (out / f"montage_{grid}.jpg").write_bytes(to_jpeg(figure))
        curves = {}
        for run in at_grid:
            ok = (run.void == 0) & np.isfinite(run.deletion)
            if ok.any():
                curves[run.method] = MeanCurve(
                    run.fraction,
                    run.deletion_curve[ok].mean(axis=0),
                    run.insertion_curve[ok].mean(axis=0),
                )
        if curves:
            figure = draw_curves(curves, f"{grid} x {grid}")
            (out / f"curves_{grid}.png").write_bytes(to_png(figure))


def write_gallery(
    gallery: Path, out: Path, table: str, *, n_films: int, yardsticks: Sequence[int] = ()
) -> None:
    """Write a page that shows the montage, the curves and the table of a benchmark.

    Args:
        gallery: Folder of the page, ``README.md`` and its pictures.
        out: Folder of the benchmark.
        table: Its Markdown tables.
        n_films: Films behind the averages.
        yardsticks: Grids at which the plain published algorithm ran.
    """
    gallery.mkdir(parents=True, exist_ok=True)
    montages = sorted(out.glob("montage_*.jpg"), key=lambda path: len(path.name))
    grids = [montage.stem.removeprefix("montage_") for montage in montages]
    options = [f"--films {n_films}", *(f"--grid {grid}" for grid in grids)]
    options += [f"--yardstick {grid}" for grid in yardsticks]
    lines = [
        "# Gallery: every method on the same films",
        "",
        f"Made by `covid-debug bench saliency {' '.join(options)}",
        "--gallery docs/gallery --out DIR`.",
        "Bright: evidence for the class above the film. Below each map: deletion (lower is",
        "better) / insertion (higher is better). Pale maps are void: they mean nothing and are in",
        "no average.",
        "",
    ]
    for grid, montage in zip(grids, montages, strict=True):
        curves = out / f"curves_{grid}.png"
        for picture in (montage, curves):
            if picture.is_file():
                (gallery / picture.name).write_bytes(picture.read_bytes())
        lines += [
            f"## {grid} x {grid}",
            "",
            f"![Maps of every method at {grid} x {grid}]({montage.name})",
            "",
            f"![Mean deletion and insertion curves at {grid} x {grid}]({curves.name})",
            "",
        ]
    lines += [f"## Averages over {n_films} films", "", table]
    write_text_atomic(gallery / "README.md", "\n".join(lines))
