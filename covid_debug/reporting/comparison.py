"""The comparison as the report shows it: one number a cell, over all seeds.

Arranges the numbers and verdicts that it is given; computes none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.inputs import Row

POOLED = "pooled"
BASE = "original"
CLEANED = "cleaned"
# Order of arms and test sets in every table; unknown names come last.
ORDER = ("original", "cleaned", "placebo", "text_free", "text_swapped")
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}
CLASS_METRIC_NAMES = {"precision": "precision", "recall": "recall", "f1": "F1"}
COUNTERFACTUALS = ("text_free", "text_swapped")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of one arm minus that of another on the same films.

    Attributes:
        estimate: Difference with its paired interval.
        verdict: See :data:`covid_debug.evaluation.classification.Verdict`.
        p_value: Exact McNemar p-value of the two models of a single seed; NaN where there is none.
    """

    estimate: Estimate
    verdict: str
    p_value: float


@dataclass(frozen=True)
class ComparisonTable:
    """Everything that the 2x2 shows.

    Attributes:
        arms: Training sets, in display order.
        tests: Test sets, in display order.
        classes: Class names, in the order of the rows.
        n_seeds: Trainings behind a number.
        cells: (arm, test) -> (class or ``"all"``, metric) -> estimate.
        differences: (arm, test) -> same key -> difference to the original arm.
        audited: Same key -> estimate of the audited model alone, the first training on the
            original films, on the original test films.
    """

    arms: tuple[str, ...]
    tests: tuple[str, ...]
    classes: tuple[str, ...]
    n_seeds: int
    cells: dict[Key, dict[Key, Estimate]]
    differences: dict[Key, dict[Key, Difference]]
    audited: dict[Key, Estimate]

    def get(self, arm: str, test: str, class_name: str, metric: str) -> Estimate | None:
        """Return one number, or None where the run has none."""
        return self.cells.get((arm, test), {}).get((class_name, metric))

    def get_difference(
        self, arm: str, test: str, class_name: str, metric: str
    ) -> Difference | None:
        """Return one difference to the original arm, or None where the run has none."""
        return self.differences.get((arm, test), {}).get((class_name, metric))


def arrange_comparison(rows: Sequence[Row], contrasts: Sequence[Row]) -> ComparisonTable:
    """Sort the numbers of all seeds for display.

    Args:
        rows: ``ReportInputs.comparison``.
        contrasts: ``ReportInputs.contrasts``.

    Returns:
        The table.
    """
    cells: dict[Key, dict[Key, Estimate]] = {}
    audited: dict[Key, Estimate] = {}
    classes: dict[str, None] = {}
    for row in rows:
        cell, key = (row["train_data"], row["test_data"]), (row["class_name"], row["metric"])
        if row["seed"] != POOLED:
            if cell == (BASE, BASE):
                audited.setdefault(key, _to_estimate(row))
            continue
        if row["class_name"] != "all":
            classes.setdefault(row["class_name"])
        cells.setdefault(cell, {})[key] = _to_estimate(row)
    return ComparisonTable(
        arms=_in_order({arm for arm, _ in cells}),
        tests=_in_order({test for _, test in cells}),
        classes=tuple(classes),
        n_seeds=len({row["seed"] for row in rows} - {POOLED}),
        cells=cells,
        differences={
            (contrast["train_data"], contrast["test_data"]): {
                (entry["class_name"], entry["metric"]): _to_difference(entry)
                for entry in contrast["pooled"]
            }
            for contrast in contrasts
        },
        audited=audited,
    )


def _to_difference(entry: Row) -> Difference:
    p = entry["mcnemar_p"]
    estimate = _to_estimate({**entry, "value": entry["mean"]})
    return Difference(estimate, entry["verdict"], math.nan if p is None else p)


def _to_estimate(row: Row) -> Estimate:
    value, low, high = (math.nan if row[k] is None else row[k] for k in ("value", "low", "high"))
    return Estimate(value, low, high, row.get("n") or 0, row.get("reason") or "")


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)))
