"""The comparison as the report shows it: one number a cell, over all seeds.

Arranges the numbers that it is given; computes none.
"""

from dataclasses import dataclass

from covid_debug.arms import ARM_NAMES
from covid_debug.evaluation.comparison import BASE_ARM, POOLED, Comparison, PooledDifference
from covid_debug.evaluation.statistics import Estimate

# Order of arms and test sets in every table; unknown names come last.
ORDER = (*ARM_NAMES, "text_free", "text_swapped")
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


@dataclass(frozen=True)
class ComparisonTable:
    """Everything that the 2x2 shows.

    Attributes:
        arms: Training sets, in display order.
        tests: Test sets, in display order.
        classes: Class names, in the order of the rows.
        n_seeds: Trainings behind a number.
        cells: (arm, test) -> (class or ``"all"``, metric) -> estimate.
        differences: (arm, test) -> same key -> difference to the original arm, over all seeds.
        audited: Same key -> estimate of the audited model alone, the first training on the
            original films, on the original test films.
    """

    arms: tuple[str, ...]
    tests: tuple[str, ...]
    classes: tuple[str, ...]
    n_seeds: int
    cells: dict[Key, dict[Key, Estimate]]
    differences: dict[Key, dict[Key, PooledDifference]]
    audited: dict[Key, Estimate]

    def get(self, arm: str, test: str, class_name: str, metric: str) -> Estimate | None:
        """Return one number, or None where the run has none."""
        return self.cells.get((arm, test), {}).get((class_name, metric))

    def get_difference(
        self, arm: str, test: str, class_name: str, metric: str
    ) -> PooledDifference | None:
        """Return one difference to the original arm, or None where the run has none."""
        return self.differences.get((arm, test), {}).get((class_name, metric))


def arrange_comparison(comparison: Comparison | None) -> ComparisonTable:
    """Sort the numbers of all seeds for display; None gives an empty table."""
    rows, contrasts = (comparison.rows, comparison.contrasts) if comparison else ((), ())
    cells: dict[Key, dict[Key, Estimate]] = {}
    audited: dict[Key, Estimate] = {}
    for row in rows:
        cell, key = (row.train_data, row.test_data), (row.class_name, row.metric)
        if row.seed == POOLED:
            cells.setdefault(cell, {})[key] = row.estimate
        elif cell == (BASE_ARM, BASE_ARM):
            audited.setdefault(key, row.estimate)
    return ComparisonTable(
        arms=_in_order({arm for arm, _ in cells}),
        tests=_in_order({test for _, test in cells}),
        classes=() if comparison is None else comparison.class_names,
        n_seeds=len({row.seed for row in rows} - {POOLED}),
        cells=cells,
        differences={
            (contrast.train_data, contrast.test_data): {
                (entry.class_name, entry.metric): entry for entry in contrast.pooled
            }
            for contrast in contrasts
            if contrast.against == BASE_ARM
        },
        audited=audited,
    )


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)))
