"""Train the marker detector: ``python -m recipes.marker_detector --films DIR --out DIR``."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from recipes.marker_detector.backgrounds import LIST_PATH
from recipes.marker_detector.export import export_weights, quantize_weights
from recipes.marker_detector.training import (
    FONT_FOLDERS,
    MarkerTrainingParams,
    train_marker_detector,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the training from the command line."""
    defaults = MarkerTrainingParams()
    parser = argparse.ArgumentParser(
        prog="python -m recipes.marker_detector", description="Train the marker detector."
    )
    parser.add_argument("--films", type=Path, required=True, help="folder of the listed films")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--listing", type=Path, default=LIST_PATH)
    parser.add_argument("--fonts", type=Path, nargs="*", default=list(FONT_FOLDERS))
    parser.add_argument("--steps", type=int, default=defaults.n_steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--renderers", type=int, default=0, help="processes that render ahead")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PREFIX",
        help="leave out films whose path begins so, to hold a source out; repeatable",
    )
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(chosen.threads)
    weights = train_marker_detector(
        chosen.films,
        chosen.out,
        MarkerTrainingParams(n_steps=chosen.steps, seed=chosen.seed, exclude=tuple(chosen.exclude)),
        listing=chosen.listing,
        font_folders=chosen.fonts,
        n_renderers=chosen.renderers,
    )
    single = export_weights(weights, chosen.out / "single.onnx")
    quantize_weights(single, chosen.out / "weights.onnx", chosen.films, chosen.listing)


if __name__ == "__main__":
    main()
