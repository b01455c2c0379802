"""Models trained on different versions of the films, tested on different versions of the films.

Owns the table "training arm x test set x seed", its pooling over seeds and the verdicts against the
original arm. The metrics live in :mod:`covid_debug.evaluation.classification`.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import InputContractError
from covid_debug.evaluation.classification import (
    Classification,
    PairedComparison,
    Verdict,
    compare_predictions,
    compute_classification,
    decide_verdict,
)
from covid_debug.evaluation.statistics import Estimate, SeedSummary, nan_to_none, pool_seeds
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.inference import predict_probabilities

BASE_ARM = "original"
POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class FilmPredictions:
    """One model's answers on one version of the test films.

    Attributes:
        arm: Films that the model was trained on.
        seed: Seed of the training.
        test_data: Version of the test films.
        image_ids: ``(N,)`` film identities, shared between versions.
        patients: ``(N,)`` patients.
        sources: ``(N,)`` sources.
        labels: ``(N,)`` true class indices.
        probabilities: ``(N, K)`` class probabilities.
        n_total: Films that the version should hold; ``n_total - N`` failed earlier.
    """

    arm: str
    seed: int
    test_data: str
    image_ids: tuple[str, ...]
    patients: tuple[str, ...]
    sources: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    n_total: int

    def restricted(self, image_ids: Sequence[str]) -> "FilmPredictions":
        """Return the same answers for the given films only, in the given order."""
        place = {image_id: i for i, image_id in enumerate(self.image_ids)}
        index = np.array([place[image_id] for image_id in image_ids], dtype=np.int64)
        return FilmPredictions(
            self.arm,
            self.seed,
            self.test_data,
            tuple(image_ids),
            tuple(self.patients[i] for i in index),
            tuple(self.sources[i] for i in index),
            self.labels[index],
            self.probabilities[index],
            self.n_total,
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of the table: one training arm and seed on one version of the test films."""

    arm: str
    seed: int
    test_data: str
    classification: Classification
    n_total: int


@dataclass(frozen=True, slots=True)
class PooledMetric:
    """One difference between two arms over all seeds.

    Attributes:
        class_name: Class, or ``"all"``.
        metric: As in :meth:`Classification.rows`.
        summary: ``arm - original``.
        n: Films that it rests on.
        mcnemar_p: Exact McNemar p-value of the two models of a single seed, else NaN.
        verdict: What it says about the arms.
    """

    class_name: str
    metric: str
    summary: SeedSummary
    n: int
    mcnemar_p: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ArmContrast:
    """An arm against the original arm on one version of the test films.

    Attributes:
        arm: The arm that is compared with :data:`BASE_ARM`.
        test_data: Version of the test films.
        per_seed: Seed -> paired comparison, ``arm - original``.
        pooled: Differences over all seeds, with a verdict each.
    """

    arm: str
    test_data: str
    per_seed: Mapping[int, PairedComparison]
    pooled: tuple[PooledMetric, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole table and what may be concluded from it."""

    class_names: tuple[str, ...]
    cells: tuple[Cell, ...]
    contrasts: tuple[ArmContrast, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return the long table of ``comparison.csv``: one row a metric, seed and cell."""
        rows = []
        for cell in self.cells:
            rows += [
                _row(cell.arm, cell.test_data, cell.seed, name, metric, estimate)
                for name, metric, estimate in cell.classification.rows()
            ]
        for (arm, test_data), cells in _by_arm_and_test(self.cells).items():
            for (name, metric), estimates in _collect(cells).items():
                pooled = _as_estimate(pool_seeds(estimates), estimates)
                rows.append(_row(arm, test_data, POOLED, name, metric, pooled))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the table for ``comparison.json``; undefined numbers are ``null``."""
        return {
            "class_names": list(self.class_names),
            "rows": self.rows(),
            "cells": [
                {
                    "train_data": cell.arm,
                    "test_data": cell.test_data,
                    "seed": cell.seed,
                    "n_ok": int(cell.classification.confusion.sum()),
                    "n_total": cell.n_total,
                    **cell.classification.to_json(),
                }
                for cell in self.cells
            ],
            "contrasts": [
                {
                    "train_data": contrast.arm,
                    "against": BASE_ARM,
                    "test_data": contrast.test_data,
                    "per_seed": {
                        str(seed): paired.to_json() for seed, paired in contrast.per_seed.items()
                    },
                    "pooled": [_pooled_json(entry) for entry in contrast.pooled],
                }
                for contrast in self.contrasts
            ],
        }


def predict_test_films(
    model: LoadedModel,
    filmset: FilmSet,
    *,
    arm: str,
    seed: int,
    test_data: str,
    cache_dir: Path,
    n_workers: int = 2,
) -> FilmPredictions:
    """Run a model on the test films of a set.

    Args:
        model: Loaded checkpoint.
        filmset: Version of the films; its classes must be the model's.
        arm: Films that the model was trained on, for the record.
        seed: Training seed, for the record.
        test_data: Name of the version, for the record.
        cache_dir: Folder of decoded views.
        n_workers: Threads that decode them.

    Returns:
        The answers, in the order of the test split.

    Raises:
        InputContractError: If the classes differ or the set has no test films.
    """
    if tuple(model.classifier.class_names) != filmset.class_names:
        raise InputContractError(
            f"{filmset.root}: has classes {list(filmset.class_names)}, the model has"
            f" {list(model.classifier.class_names)}; compare models and films of the same classes"
        )
    films = filmset.select("test")
    if not films:
        raise InputContractError(f"{filmset.root}: has no test films to compare models on")
    views = load_views(filmset, films, model.view, cache_dir, n_workers=n_workers)
    return FilmPredictions(
        arm=arm,
        seed=seed,
        test_data=test_data,
        image_ids=tuple(film.image_id for film in films),
        patients=tuple(film.patient_id for film in films),
        sources=tuple(film.source for film in films),
        labels=np.array([filmset.label_index(film) for film in films], dtype=np.int64),
        probabilities=predict_probabilities(model.classifier, views),
        n_total=len(films),
    )


def compare_arms(
    predictions: Iterable[FilmPredictions],
    class_names: Sequence[str],
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Comparison:
    """Score every cell and contrast every arm with the original arm, film by film.

    Films that failed in one version of the test set are left out of the paired contrasts only;
    every cell states its own counts.

    Args:
        predictions: Answers of all models on all versions of the test films.
        class_names: Classes in index order.
        seed: Seed of the bootstrap.
        n_resamples: Resamples of patients.

    Returns:
        The table with intervals and verdicts.
    """
    answers = {(p.arm, p.seed, p.test_data): p for p in predictions}
    names = tuple(class_names)
    cells = tuple(
        Cell(
            answer.arm,
            answer.seed,
            answer.test_data,
            compute_classification(
                answer.labels,
                answer.probabilities,
                names,
                answer.patients,
                seed=seed,
                n_resamples=n_resamples,
            ),
            answer.n_total,
        )
        for answer in answers.values()
    )
    contrasts = []
    for arm, test_data in _by_arm_and_test(cells):
        per_seed = {}
        for (other, training_seed, version), answer in answers.items():
            base = answers.get((BASE_ARM, training_seed, test_data))
            if (other, version) != (arm, test_data) or arm == BASE_ARM or base is None:
                continue
            known = set(answer.image_ids)
            shared = [image_id for image_id in base.image_ids if image_id in known]
            first, second = base.restricted(shared), answer.restricted(shared)
            per_seed[training_seed] = compare_predictions(
                first.labels,
                first.probabilities,
                second.probabilities,
                names,
                first.patients,
                seed=seed,
                n_resamples=n_resamples,
            )
        if per_seed:
            contrasts.append(ArmContrast(arm, test_data, per_seed, _pool_contrast(per_seed)))
    return Comparison(names, cells, tuple(contrasts))


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write ``comparison.csv`` and ``comparison.json`` into a folder."""
    rows = comparison.rows()
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    text = json.dumps(comparison.to_json(), indent=1, allow_nan=False)
    (folder / "comparison.json").write_text(text + "\n", encoding="utf-8")


def write_predictions(
    path: Path, predictions: Sequence[FilmPredictions], class_names: Sequence[str]
) -> None:
    """Write every answer: one row a film, version, arm and seed."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        head = ["train_data", "seed", "test_data", "image_id", "patient_id", "source", "label"]
        writer.writerow([*head, "predicted", *(f"p_{name}" for name in class_names)])
        for answer in predictions:
            for i, image_id in enumerate(answer.image_ids):
                values = answer.probabilities[i]
                writer.writerow(
                    [
                        answer.arm,
                        answer.seed,
                        answer.test_data,
                        image_id,
                        answer.patients[i],
                        answer.sources[i],
                        class_names[answer.labels[i]],
                        class_names[int(values.argmax())],
                        *(f"{value:.6f}" for value in values),
                    ]
                )


def _by_arm_and_test(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.test_data), []).append(cell)
    return groups


def _collect(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Estimate]]:
    table: dict[tuple[str, str], list[Estimate]] = {}
    for cell in cells:
        for name, metric, estimate in cell.classification.rows():
            table.setdefault((name, metric), []).append(estimate)
    return table


def _pool_contrast(per_seed: Mapping[int, PairedComparison]) -> tuple[PooledMetric, ...]:
    table: dict[tuple[str, str], list[Any]] = {}
    for paired in per_seed.values():
        for entry in paired.differences:
            table.setdefault((entry.class_name, entry.metric), []).append(entry)
    pooled = []
    for (name, metric), entries in table.items():
        differences = [entry.difference for entry in entries]
        summary = pool_seeds(differences, bounds=(-1.0, 1.0))
        estimate = _as_estimate(summary, differences)
        p = entries[0].mcnemar_p if len(entries) == 1 else float("nan")
        verdict = decide_verdict(estimate, summary.n_seeds)
        pooled.append(PooledMetric(name, metric, summary, estimate.n, p, verdict))
    return tuple(pooled)


def _as_estimate(summary: SeedSummary, estimates: Sequence[Estimate]) -> Estimate:
    n = max(estimate.n for estimate in estimates)
    return Estimate(summary.mean, summary.low, summary.high, n)


def _pooled_json(entry: PooledMetric) -> dict[str, Any]:
    return {
        "class_name": entry.class_name,
        "metric": entry.metric,
        "mean": nan_to_none(entry.summary.mean),
        "sd": nan_to_none(entry.summary.sd),
        "low": nan_to_none(entry.summary.low),
        "high": nan_to_none(entry.summary.high),
        "n": entry.n,
        "n_seeds": entry.summary.n_seeds,
        "mcnemar_p": nan_to_none(entry.mcnemar_p),
        "verdict": entry.verdict,
    }


def _row(
    arm: str, test_data: str, seed: int | str, name: str, metric: str, estimate: Estimate
) -> dict[str, Any]:
    return {
        "train_data": arm,
        "test_data": test_data,
        "seed": seed,
        "class_name": name,
        "metric": metric,
        "value": nan_to_none(estimate.value),
        "low": nan_to_none(estimate.low),
        "high": nan_to_none(estimate.high),
        "n": estimate.n,
    }
