"""The comparison as the report shows it: one number a cell, pooled over seeds.

Computes no metric; pools and arranges those that it is given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from covid_debug.evaluation.statistics import Estimate, pool_seeds
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
        verdict: ``"improved"``, ``"no evidence"`` or ``"worse"``.
        p_value: Exact McNemar p-value; NaN where there is none.
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
        n_seeds: Trainings behind a pooled number.
        cells: (arm, test) -> (class or ``"all"``, metric) -> estimate.
        differences: (arm, test) -> same key -> difference to the original arm.
    """

    arms: tuple[str, ...]
    tests: tuple[str, ...]
    classes: tuple[str, ...]
    n_seeds: int
    cells: dict[Key, dict[Key, Estimate]]
    differences: dict[Key, dict[Key, Difference]]

    def get(self, arm: str, test: str, class_name: str, metric: str) -> Estimate | None:
        """Return one number, or None where the run has none."""
        return self.cells.get((arm, test), {}).get((class_name, metric))

    def get_difference(
        self, arm: str, test: str, class_name: str, metric: str
    ) -> Difference | None:
        """Return one difference to the original arm, or None where the run has none."""
        return self.differences.get((arm, test), {}).get((class_name, metric))


def arrange_comparison(rows: Sequence[Row], pairs: Sequence[Row]) -> ComparisonTable:
    """Pool over seeds and sort for display.

    Args:
        rows: ``ReportInputs.comparison``.
        pairs: ``ReportInputs.pairs``.

    Returns:
        The table; rows of seed ``"pooled"`` win over pooling here.
    """
    single: dict[Key, dict[Key, list[Estimate]]] = {}
    pooled: dict[Key, dict[Key, Estimate]] = {}
    seeds = set()
    classes: dict[str, None] = {}
    for row in rows:
        cell, key = (row["train_data"], row["test_data"]), (row["class_name"], row["metric"])
        if row["seed"] == POOLED:
            pooled.setdefault(cell, {})[key] = _to_estimate(row)
            continue
        seeds.add(row["seed"])
        if row["class_name"] != "all":
            classes.setdefault(row["class_name"])
        single.setdefault(cell, {}).setdefault(key, []).append(_to_estimate(row))
    cells = {
        cell: {key: pooled.get(cell, {}).get(key) or _pool(list_) for key, list_ in table.items()}
        for cell, table in single.items()
    }
    return ComparisonTable(
        arms=_in_order({arm for arm, _ in cells}),
        tests=_in_order({test for _, test in cells}),
        classes=tuple(classes),
        n_seeds=len(seeds),
        cells=cells,
        differences=_arrange_pairs(pairs),
    )


def _arrange_pairs(pairs: Sequence[Row]) -> dict[Key, dict[Key, Difference]]:
    groups: dict[Key, list[Row]] = {}
    for pair in pairs:
        if pair["train_a"] == BASE:
            groups.setdefault((pair["train_b"], pair["test_data"]), []).append(pair)
    differences = {}
    for cell, members in groups.items():
        pooled = [pair for pair in members if pair["seed"] == POOLED]
        found: dict[Key, list[Row]] = {}
        for pair in pooled or members:
            for entry in pair["differences"]:
                found.setdefault((entry["class_name"], entry["metric"]), []).append(entry)
        differences[cell] = {key: _to_difference(entries) for key, entries in found.items()}
    return differences


def _to_difference(entries: Sequence[Row]) -> Difference:
    estimates = [_to_estimate(entry["difference"]) for entry in entries]
    if len(entries) == 1:
        p = entries[0].get("mcnemar_p")
        return Difference(estimates[0], entries[0]["verdict"], math.nan if p is None else p)
    total = _pool(estimates, bounds=(-1.0, 1.0))
    verdict = "improved" if total.low > 0 else "worse" if total.high < 0 else "no evidence"
    return Difference(total, verdict, math.nan)


def _pool(estimates: Sequence[Estimate], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    if len(estimates) == 1:
        return estimates[0]
    summary = pool_seeds(estimates, bounds=bounds)
    return Estimate(summary.mean, summary.low, summary.high, max(e.n for e in estimates))


def _to_estimate(row: Row) -> Estimate:
    value, low, high = (math.nan if row[k] is None else row[k] for k in ("value", "low", "high"))
    return Estimate(value, low, high, row.get("n") or 0, row.get("reason") or "")


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)))
