"""Models trained on different versions of the films, tested on different versions of the films.

Owns the records of a comparison and its files; they are made in
:mod:`covid_debug.evaluation.comparing`.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal

from covid_debug.artifacts import read_manifest
from covid_debug.evaluation.classification import PairedComparison
from covid_debug.evaluation.questions import PrimaryAnswer
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records_json import Number, read_record, to_plain, write_record

Pooled = Literal["pooled"]
BASE_ARM: Final = "original"
CLEANED_ARM: Final = "cleaned"
POOLED: Final = "pooled"
UNSEEN_SOURCE: Final = "unseen_source"
COMPARISON_KIND: Final = "comparison"
COMPARISON_NAME: Final = "comparison.json"
STATISTICS_NAME: Final = "statistics.json"


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
        mean: ``arm - against``, mean over the seeds; NaN where undefined, as the interval.
        sd: Standard deviation over the seeds; NaN below two.
        low: Lower end of the interval over patients and seeds; over patients alone from one seed.
        high: Upper end.
        n: Films that it rests on.
        n_seeds: Seeds with a defined value.
        mcnemar_p: Exact McNemar p-value of the two models of a single seed, else NaN.
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

    @property
    def estimate(self) -> Estimate:
        """The difference with its interval."""
        return Estimate(self.mean, self.low, self.high, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """An arm against another one on one version of the test films.

    Attributes:
        train_data: The arm.
        against: The arm that it is compared with.
        test_data: Version of the test films.
        per_seed: Seed -> paired comparison, ``arm - against``.
        pooled: Differences over all seeds; overall accuracy first.
    """

    train_data: str
    against: str
    test_data: str
    per_seed: Mapping[int, PairedComparison]
    pooled: tuple[PooledDifference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecall:
    """Recall of one class among the films of one source, over all seeds.

    Attributes:
        train_data: The arm.
        test_data: Version of the test films.
        source: Source of the films.
        class_name: Their class.
        value: Recall; the interval is over patients and seeds.
        low: Lower end of the interval.
        high: Upper end.
        n: Films.
        n_patients: Patients.
        is_worst: Whether no other group of at least 10 films has less.
    """

    train_data: str
    test_data: str
    source: str
    class_name: str
    value: Number
    low: Number
    high: Number
    n: int
    n_patients: int
    is_worst: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """Whether an arm's models know more than chance, and more than where a film comes from.

    Attributes:
        train_data: The arm.
        test_data: Version of the test films.
        balanced_accuracy: Over all seeds.
        chance: 1 / number of classes with films.
        from_source: Balanced accuracy of naming, for each source, the class of which it has the
            largest share of the training films; NaN where the training films are not known.
        over_source: ``balanced_accuracy - from_source`` on the same films.
        is_above_chance: Whether the interval lies above chance.
        is_above_source: Whether the interval of ``over_source`` lies above 0; None where unknown.
    """

    train_data: str
    test_data: str
    balanced_accuracy: Estimate
    chance: float
    from_source: Number
    over_source: Estimate
    is_above_chance: bool
    is_above_source: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLoss:
    """What an arm loses when the text of the test films is exchanged for another class's.

    Attributes:
        train_data: The arm.
        test_data: The films with exchanged text.
        loss: Balanced accuracy on the films' own text (phantoms: without text) minus that on the
            exchanged; above 0 where the models follow text.
        less_original: ``loss`` minus that of the original arm, on the same films and seeds.
    """

    train_data: str
    test_data: str
    loss: Estimate
    less_original: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What was compared.

    Attributes:
        arms: Trainings, in the order given.
        tests: Versions of the test films, in the order given.
        seeds: Arm -> seeds of its trainings.
        n_films: Version -> films.
        n_patients: Version -> patients.
        alpha: Chance of a wrong verdict among all questions, if there is nothing to find.
        n_resamples: Resamples of patients behind every interval.
    """

    arms: tuple[str, ...]
    tests: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    n_films: Mapping[str, int]
    n_patients: Mapping[str, int]
    alpha: float
    n_resamples: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole table and what may be concluded from it.

    Attributes:
        class_names: Classes in index order.
        rows: Its long form, with a row over all seeds for each of the seeds' rows.
        cells: One an arm, seed and version of the test films.
        contrasts: Pairs of arms.
        design: What was compared; None in comparisons of version 0.1, as what follows is empty.
        questions: The answers, and the only verdicts.
        groups: Recall by source and class.
        footing: Warnings come from here.
        text_losses: How much each arm leans on text.
    """

    class_names: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    contrasts: tuple[Contrast, ...]
    design: Design | None = None
    questions: tuple[PrimaryAnswer, ...] = ()
    groups: tuple[GroupRecall, ...] = ()
    footing: tuple[Footing, ...] = ()
    text_losses: tuple[TextLoss, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """What ``statistics.json`` holds: the comparison without its single seeds."""

    design: Design | None
    questions: tuple[PrimaryAnswer, ...]
    footing: tuple[Footing, ...]
    contrasts: tuple["FlatContrast", ...]
    groups: tuple[GroupRecall, ...]
    text_losses: tuple[TextLoss, ...]


@dataclass(frozen=True, slots=True)
class FlatContrast:
    """A :class:`Contrast` without its single seeds."""

    train_data: str
    against: str
    test_data: str
    differences: tuple[PooledDifference, ...]


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write ``comparison.csv``, ``comparison.json`` and ``statistics.json`` into a folder."""
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=[field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(to_plain(row) for row in comparison.rows)
    write_record(folder / COMPARISON_NAME, comparison, indent=1)
    statistics = Statistics(
        comparison.design,
        comparison.questions,
        comparison.footing,
        tuple(
            FlatContrast(one.train_data, one.against, one.test_data, one.pooled)
            for one in comparison.contrasts
        ),
        comparison.groups,
        comparison.text_losses,
    )
    write_record(folder / STATISTICS_NAME, statistics, indent=1)


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
