"""Models trained on different versions of the films, tested on different versions of the films.

Owns the table "training arm x test set x seed", its pooling over seeds and the verdicts against the
original arm. The metrics live in :mod:`covid_debug.evaluation.classification`.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from covid_debug.artifacts import read_manifest
from covid_debug.evaluation.classification import (
    Classification,
    PairedComparison,
    Verdict,
    compare_predictions,
    compute_classification,
    decide_verdict,
)
from covid_debug.evaluation.statistics import Estimate, SeedSummary, pool_seeds
from covid_debug.records_json import Number, read_record, to_plain, write_record

if TYPE_CHECKING:  # torch stays away from those who only read a comparison
    from covid_debug.evaluation.predictions import FilmPredictions

Pooled = Literal["pooled"]
BASE_ARM: Final = "original"
POOLED: Final = "pooled"
COMPARISON_KIND: Final = "comparison"
COMPARISON_NAME: Final = "comparison.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one training arm and seed on one version of the test films.

    Attributes:
        train_data: The arm.
        test_data: Version of the test films.
        seed: Seed of the training, or :data:`POOLED` for all of them.
        class_name: Class, or ``"all"``.
        metric: As in :meth:`Classification.rows`.
        value: The metric; NaN where undefined, as the interval.
        low: Lower end of its interval.
        high: Upper end.
        n: Films in its denominator.
    """

    train_data: str
    test_data: str
    seed: int | Pooled
    class_name: str
    metric: str
    value: Number
    low: Number
    high: Number
    n: int

    @property
    def estimate(self) -> Estimate:
        """The metric with its interval."""
        return Estimate(self.value, self.low, self.high, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a cell, see :class:`Row`; ``reason`` as in :class:`Estimate`."""

    class_name: str
    metric: str
    value: Number
    low: Number
    high: Number
    n: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One field of the table: one training arm and seed on one version of the test films.

    Attributes:
        train_data: The arm.
        test_data: Version of the test films.
        seed: Seed of the training.
        n_ok: Films that were predicted.
        n_total: Films that the version should hold.
        class_names: Classes in the order of the confusion matrix.
        n_patients: Clusters behind the intervals.
        confusion: ``K`` rows of counts, rows true class, columns predicted class.
        metrics: In the order of :meth:`Classification.rows`, overall accuracy first.
    """

    train_data: str
    test_data: str
    seed: int
    n_ok: int
    n_total: int
    class_names: tuple[str, ...]
    n_patients: int
    confusion: tuple[tuple[int, ...], ...]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledDifference:
    """One difference between two arms over all seeds.

    Attributes:
        class_name: Class, or ``"all"``.
        metric: As in :meth:`Classification.rows`.
        mean: ``arm - original``, mean over the seeds; NaN where undefined, as the interval.
        sd: Standard deviation over the seeds; NaN below two.
        low: Lower end of the pooled interval.
        high: Upper end.
        n: Films that it rests on.
        n_seeds: Seeds with a defined value.
        mcnemar_p: Exact McNemar p-value of the two models of a single seed, else NaN.
        verdict: What it says about the arms.
    """

    class_name: str
    metric: str
    mean: Number
    sd: Number
    low: Number
    high: Number
    n: int
    n_seeds: int
    mcnemar_p: Number
    verdict: Verdict

    @property
    def estimate(self) -> Estimate:
        """The difference with its interval."""
        return Estimate(self.mean, self.low, self.high, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """An arm against the original arm on one version of the test films.

    Attributes:
        train_data: The arm.
        against: The arm that it is compared with, :data:`BASE_ARM`.
        test_data: Version of the test films.
        per_seed: Seed -> paired comparison, ``arm - original``.
        pooled: Differences over all seeds, with a verdict each; overall accuracy first.
    """

    train_data: str
    against: str
    test_data: str
    per_seed: Mapping[int, PairedComparison]
    pooled: tuple[PooledDifference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole table and what may be concluded from it; ``rows`` is its long form."""

    class_names: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    contrasts: tuple[Contrast, ...]


def compare_arms(
    predictions: "Iterable[FilmPredictions]",
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
    results = {
        key: compute_classification(
            answer.labels,
            answer.probabilities,
            names,
            answer.patients,
            seed=seed,
            n_resamples=n_resamples,
        )
        for key, answer in answers.items()
    }
    pairs = list(dict.fromkeys((arm, test_data) for arm, _, test_data in answers))
    contrasts = []
    for arm, test_data in pairs:
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
            contrasts.append(
                Contrast(
                    train_data=arm,
                    against=BASE_ARM,
                    test_data=test_data,
                    per_seed=per_seed,
                    pooled=_pool_contrast(per_seed),
                )
            )
    rows = [
        _row(arm, test_data, training_seed, *entry)
        for (arm, training_seed, test_data), result in results.items()
        for entry in result.rows()
    ]
    for arm, test_data in pairs:
        same = [r for (a, _, t), r in results.items() if (a, t) == (arm, test_data)]
        # Every seed has the same metrics in the same order.
        for entries in zip(*(result.rows() for result in same), strict=True):
            estimates = [estimate for _, _, estimate in entries]
            pooled = _as_estimate(pool_seeds(estimates), estimates)
            rows.append(_row(arm, test_data, POOLED, entries[0][0], entries[0][1], pooled))
    cells = tuple(_cell(answers[key], result) for key, result in results.items())
    return Comparison(names, tuple(rows), cells, tuple(contrasts))


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write ``comparison.csv`` and ``comparison.json`` into a folder."""
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=[field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(to_plain(row) for row in comparison.rows)
    write_record(folder / COMPARISON_NAME, comparison, indent=1)


def load_comparison(folder: Path) -> Comparison:
    """Load what :func:`write_comparison` wrote.

    Args:
        folder: Artifact of kind ``"comparison"``.

    Returns:
        The comparison as written.

    Raises:
        ArtifactError: If the artifact is missing, broken, of another kind or of a newer
            covid_debug.
    """
    read_manifest(folder, kind=COMPARISON_KIND)
    path = folder / COMPARISON_NAME
    return read_record(path, Comparison, broken="is not readable", remedy="compare again")


def _pool_contrast(per_seed: Mapping[int, PairedComparison]) -> tuple[PooledDifference, ...]:
    pooled = []
    for entries in zip(*(paired.differences for paired in per_seed.values()), strict=True):
        differences = [entry.difference for entry in entries]
        summary = pool_seeds(differences, bounds=(-1.0, 1.0))
        estimate = _as_estimate(summary, differences)
        pooled.append(
            PooledDifference(
                class_name=entries[0].class_name,
                metric=entries[0].metric,
                mean=summary.mean,
                sd=summary.sd,
                low=summary.low,
                high=summary.high,
                n=estimate.n,
                n_seeds=summary.n_seeds,
                mcnemar_p=entries[0].mcnemar_p if len(entries) == 1 else math.nan,
                verdict=decide_verdict(estimate, summary.n_seeds),
            )
        )
    return tuple(pooled)


def _as_estimate(summary: SeedSummary, estimates: Sequence[Estimate]) -> Estimate:
    n = max(estimate.n for estimate in estimates)
    return Estimate(summary.mean, summary.low, summary.high, n)


def _cell(answer: "FilmPredictions", result: Classification) -> Cell:
    return Cell(
        train_data=answer.arm,
        test_data=answer.test_data,
        seed=answer.seed,
        n_ok=len(answer.image_ids),
        n_total=answer.n_total,
        class_names=result.class_names,
        n_patients=result.n_patients,
        confusion=tuple(tuple(row) for row in result.confusion.tolist()),
        metrics=tuple(
            Metric(class_name=name, metric=metric, **asdict(estimate))
            for name, metric, estimate in result.rows()
        ),
    )


def _row(
    arm: str, test_data: str, seed: int | Pooled, name: str, metric: str, estimate: Estimate
) -> Row:
    return Row(
        train_data=arm,
        test_data=test_data,
        seed=seed,
        class_name=name,
        metric=metric,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
    )
