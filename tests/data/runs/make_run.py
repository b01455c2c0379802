"""Make the small run that is kept of a release, below ``tests/data/runs/<version>``.

Runs the whole loop on phantoms of a quarter of their size and keeps what the report is made from,
without the pixels of films that the report does not show::

    python -m tests.data.runs.make_run tests/data/runs/0.1

Do it once, when a release is made; a kept run is never made again.
"""

import contextlib
import csv
import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from covid_debug.data.phantom import generate

SHRINK = 4
CONFIG = """\
name: kept
data: {kind: phantom, n_train: 21, n_test: 15, seed: 3}
arms: [original, cleaned, placebo]
view: {image_size: 64}
text: {detector: strokes}
training: {arch: resnet18_half, n_epochs: 1}
proof: {max_films: 12}
audit: {grid_size: 8, max_explained: 2, n_nulls: 4}
compute: {n_workers: 1}
"""
STAGES = (
    *("filmset", "cleaned", "regions", "audit", "comparison", "cleaning-proof"),
    *("confounds", "flag-calibration"),
)
LEFT_OUT = (
    *("train", "counterfactuals*", "truth*", "provenance.csv", "contact_sheet.jpg"),
    *("predictions.csv", "comparison.csv", "*.md", "decisions.jsonl"),
)
RUN_FILES = ("summary.json", "flags.csv", "comparison.csv", "manifest.json")


def render_small(seed: int, plan: generate.FilmPlan) -> generate.PhantomFilm:
    """Draw a phantom and shrink it with its regions."""
    film = _RENDER(seed, plan)
    height, width = film.marked.shape
    size = (width // SHRINK, height // SHRINK)

    def shrink(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)

    regions = tuple(
        dataclasses.replace(r, polygon=tuple((x / SHRINK, y / SHRINK) for x, y in r.polygon))
        for r in film.regions
    )
    pixels = {name: shrink(getattr(film, name)) for name in ("bare", "marked", "swapped")}
    return dataclasses.replace(film, regions=regions, **pixels)


_RENDER = generate.render_phantom


def make_run(target: Path) -> None:
    """Run the loop and keep what the report needs below ``target``."""
    from covid_debug.cli.main import main

    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("kept.yaml").write_text(CONFIG, encoding="utf-8")
        with (
            mock.patch.object(generate, "render_phantom", render_small),
            mock.patch.object(sys, "argv", ["covid-debug", "run", "kept.yaml"]),
            contextlib.suppress(SystemExit),
        ):
            main()
        (run_dir,) = Path("reports").glob("kept-*")
        (target / "report").mkdir(parents=True)
        for file in RUN_FILES:
            shutil.copy(run_dir / file, target / "report" / file)
        for stage in STAGES:
            for folder in Path("data").glob(f"{stage}-????????????????"):
                shutil.copytree(folder, target / stage, ignore=shutil.ignore_patterns(*LEFT_OUT))
    with (target / "report" / "flags.csv").open(newline="", encoding="utf-8") as stream:
        shown = {Path(row["path"]).name for row in csv.DictReader(stream)}
    (target / "cleaned" / "regions.jsonl").unlink()
    for path in target.glob("*/test/*.png"):
        if path.name not in shown:
            path.unlink()


if __name__ == "__main__":
    make_run(Path(sys.argv[1]).absolute())
