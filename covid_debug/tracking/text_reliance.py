"""Text reliance as a metric of ``mlflow.models.evaluate``.

A number for many films, beside MLflow's own metrics. The audit says which films, with a null for
each of them; this metric's only null is the placebo.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import InputContractError
from covid_debug.imaging.reading import read_film
from covid_debug.records import Film, Split

if TYPE_CHECKING:
    from mlflow.models import EvaluationMetric
    from mlflow.pyfunc import PyFuncModel

NAME = "text_reliance"
_AT_ONCE = 64


def make_text_reliance() -> "EvaluationMetric":
    """Return the metric, for ``extra_metrics``.

    A film's score is the probability of its predicted class on the placebo (as much filled away
    from text) minus that on the cleaned film, in [-1, 1]: above 0 where the prediction goes with
    the text. ``mean`` is its mean; ``share_changed`` is the share of films whose class changes with
    the cleaning and not with the placebo. Neither has an interval.

    Returns:
        A metric of the answers that :func:`ask_about_text` returns.
    """
    from mlflow.metrics import MetricValue  # noqa: PLC0415
    from mlflow.models import make_metric  # noqa: PLC0415

    def text_reliance(
        predictions: pd.Series,
        metrics: dict[str, MetricValue],  # noqa: ARG001  MLflow's signature
        p_cleaned: pd.Series,
        p_placebo: pd.Series,
        class_cleaned: pd.Series,
        class_placebo: pd.Series,
    ) -> MetricValue:
        scores = p_placebo.to_numpy() - p_cleaned.to_numpy()
        own = predictions.to_numpy()
        changed = (class_cleaned.to_numpy() != own) & (class_placebo.to_numpy() == own)
        found = {"mean": float(scores.mean()), "share_changed": float(changed.mean())}
        return MetricValue(scores=scores.tolist(), aggregate_results=found)

    return make_metric(eval_fn=text_reliance, greater_is_better=False, name=NAME)


def ask_about_text(
    model: "PyFuncModel",
    original: str | Path,
    cleaned: str | Path,
    placebo: str | Path,
    *,
    split: Split = "test",
) -> pd.DataFrame:
    """Ask a model about films, their cleaned copies and their placebos.

    Args:
        model: A registered model, from ``mlflow.pyfunc.load_model``.
        original: Film set of the films as they are.
        cleaned: Its cleaned copy.
        placebo: Its placebo.
        split: Which films.

    Returns:
        A row a film: ``image_id``, ``label``, ``prediction`` and its probability ``p_original``;
        the probability of the same class as ``p_cleaned`` and ``p_placebo``; the class predicted
        there as ``class_cleaned`` and ``class_placebo``. No pixels, since MLflow logs the table.

    Raises:
        InputContractError: If no film is in all three.
    """
    sets = [load_filmset(folder) for folder in (original, cleaned, placebo)]
    copies = [{film.image_id: film for film in one.select(split)} for one in sets]
    shared = [image_id for image_id in copies[0] if all(image_id in ids for ids in copies)]
    if not shared:
        raise InputContractError(
            f"{original}, {cleaned}, {placebo}: share no {split} film; expected copies of one set"
        )
    answers = [
        _ask(model, one, [films[image_id] for image_id in shared])
        for one, films in zip(sets, copies, strict=True)
    ]
    own = answers[0].to_numpy().argmax(axis=1)
    names = np.asarray(answers[0].columns)
    rows = np.arange(len(shared))
    table = {
        "image_id": shared,
        "label": [copies[0][image_id].label for image_id in shared],
        "prediction": names[own],
        "p_original": answers[0].to_numpy()[rows, own],
    }
    for name, answer in zip(("cleaned", "placebo"), answers[1:], strict=True):
        table[f"p_{name}"] = answer.to_numpy()[rows, own]
        table[f"class_{name}"] = names[answer.to_numpy().argmax(axis=1)]
    return pd.DataFrame(table)


def _ask(model: "PyFuncModel", filmset: FilmSet, films: Sequence[Film]) -> pd.DataFrame:
    """Ask about films as 8-bit PNG, shown by the window of the original: what its view is made of.

    Returns:
        Class probabilities, a row a film.
    """
    parts: list[pd.DataFrame] = []
    for start in range(0, len(films), _AT_ONCE):
        shown = [read_film(filmset.file_of(f)).to_uint8() for f in films[start : start + _AT_ONCE]]
        files = [bytes(cv2.imencode(".png", pixels)[1].tobytes()) for pixels in shown]
        parts.append(model.predict(pd.DataFrame({"film": files})))
    return pd.concat(parts, ignore_index=True)
