"""Precision-recall curves of one training, from the answers of a comparison."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from covid_debug.evaluation.predictions import PREDICTIONS_NAME

_SIZE_INCHES = (5.2, 4.4)


def read_answers(comparison: Path) -> pd.DataFrame:
    """Return every answer of a comparison, a row a film, version of the test films and model."""
    return pd.read_csv(comparison / PREDICTIONS_NAME, dtype={"seed": int}, keep_default_na=False)


def draw_precision_recall(
    answers: pd.DataFrame, arm: str, seed: int, target_class: str
) -> Figure | None:
    """Draw precision over recall of one class, a curve for each version of the test films.

    Args:
        answers: From :func:`read_answers`.
        arm: Of the training.
        seed: Of the training.
        target_class: The class against all others.

    Returns:
        The figure; None where no version holds films of the class and of others.
    """
    chosen = answers[(answers["train_data"] == arm) & (answers["seed"] == seed)]
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    for test, films in chosen.groupby("test_data", sort=False):
        truth = (films["label"] == target_class).to_numpy()
        if truth.all() or not truth.any():
            continue
        score = films[f"p_{target_class}"].to_numpy(np.float64)
        precision, recall, _ = precision_recall_curve(truth, score)
        name = f"{str(test).replace('_', '-')} ({average_precision_score(truth, score):.2f})"
        axes.step(recall, precision, where="post", lw=1.4, label=name)
    if not axes.lines:
        return None
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"{target_class}: trained on {arm}, seed {seed}", parse_math=False)
    axes.legend(title="tested on (average precision)", frameon=False, fontsize=8)
    axes.grid(visible=True, color="#eceff2")
    return figure
