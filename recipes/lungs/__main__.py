"""Train the lung finder: ``python -m recipes.lungs --data FILMSET --out FILE``."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from recipes.lungs.films import load_real_films
from recipes.lungs.synthesis import render_phantoms
from recipes.lungs.training import LungTrainingParams, save_lung_net, train_lung_net


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the training from the command line."""
    defaults = LungTrainingParams()
    parser = argparse.ArgumentParser(
        prog="python -m recipes.lungs", description="Train the lung finder."
    )
    parser.add_argument("--data", type=Path, required=True, help="data set of the annotated films")
    parser.add_argument("--out", type=Path, required=True, help="file for the weights")
    parser.add_argument("--steps", type=int, default=defaults.n_steps)
    parser.add_argument("--real-share", type=float, default=defaults.real_share)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(chosen.threads)
    cv2.setNumThreads(chosen.threads)
    params = LungTrainingParams(
        n_steps=chosen.steps, real_share=chosen.real_share, seed=chosen.seed
    )
    real = load_real_films(chosen.data)
    phantoms = render_phantoms(params.n_phantoms, params.seed)
    save_lung_net(train_lung_net(real, phantoms, params), real, chosen.out)


if __name__ == "__main__":
    main()
