"""The comparison as the report shows it: one number a cell, over all seeds.

Arranges the numbers that it is given and names versions and metrics; computes none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from covid_debug.arms import ARM_NAMES
from covid_debug.evaluation.comparison import (
    BASE_ARM,
    POOLED,
    Comparison,
    Design,
    Footing,
    GroupRecall,
    PooledDifference,
    TextLoss,
)
from covid_debug.evaluation.questions import PrimaryAnswer
from covid_debug.evaluation.statistics import Estimate

COUNTERFACTUALS = ("text_free", "text_swapped")
# Order of arms and test sets in every table; unknown names come last.
ORDER = (*ARM_NAMES, "swapped", *COUNTERFACTUALS, "unseen_source")
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "worst_group_recall": "Worst recall of a source",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "specificity": "Specificity",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "calibration_error": "Calibration error",
}
_TEST_NAMES = {
    "original": "the original test films",
    "cleaned": "the cleaned test films",
    "placebo": "test films with text and fills elsewhere",
    "decoys": "test films without text and with fills elsewhere",
    "swapped": "test films with the text of another class",
    "text_free": "the test films without any text",
    "text_swapped": "the test films with text of another class",
    "unseen_source": "films of sources left out of the training",
}
_MACRO = ("precision", "specificity", "auroc", "average_precision")  # means over the classes
Key = tuple[str, str]


def name_test(test: str) -> str:
    """Say in words what a version of the test films is."""
    return _TEST_NAMES.get(test, f"the films {test}")


def name_metric(class_name: str, metric: str) -> str:
    """Say in words what a metric of a class, or of all classes, is; without the class's name."""
    name = METRIC_NAMES.get(metric, metric.replace("_", " ").capitalize())
    if class_name == "all":
        return f"Macro {_decapitalise(name)}" if metric in _MACRO else name
    return _decapitalise(name)


def _decapitalise(name: str) -> str:
    return name if name[:2].isupper() or name == "F1" else name[:1].lower() + name[1:]


def join_words(words: Sequence[str]) -> str:
    """Join words as in a sentence: ``"a, b and c"``."""
    return " and ".join((", ".join(words[:-1]), words[-1]) if len(words) > 1 else words)


@dataclass(frozen=True)
class ComparisonTable:
    """Everything that the report shows of a comparison.

    Attributes:
        arms: Training sets, in display order.
        tests: Test sets, in display order.
        classes: Class names, in the order of the rows.
        positive: Class whose precision and recall stand first.
        keys: Class (or ``"all"``) and metric of every number, in the order of the rows.
        n_seeds: Trainings behind a number.
        cells: (arm, test) -> (class or ``"all"``, metric) -> estimate.
        differences: (arm, against, test) -> same key -> difference over all seeds.
        audited: Same key -> estimate of the audited model alone, the first training on the
            original films, on the original test films.
        answers: To the questions; only they have verdicts.
        footing: Arms against chance and against the source alone.
        groups: Recall by source and class.
        text_losses: Arm -> what it loses when text is exchanged.
        design: What was compared; None in runs of version 0.1.
    """

    arms: tuple[str, ...]
    tests: tuple[str, ...]
    classes: tuple[str, ...]
    positive: str
    keys: tuple[Key, ...]
    n_seeds: int
    cells: dict[Key, dict[Key, Estimate]]
    differences: dict[tuple[str, str, str], dict[Key, PooledDifference]]
    audited: dict[Key, Estimate]
    answers: tuple[PrimaryAnswer, ...]
    footing: tuple[Footing, ...]
    groups: tuple[GroupRecall, ...]
    text_losses: dict[str, TextLoss]
    design: Design | None

    def get(self, arm: str, test: str, class_name: str, metric: str) -> Estimate | None:
        """Return one number, or None where the run has none."""
        return self.cells.get((arm, test), {}).get((class_name, metric))

    def get_difference(
        self, arm: str, test: str, class_name: str, metric: str, against: str = BASE_ARM
    ) -> PooledDifference | None:
        """Return one difference between arms, or None where the run has none."""
        return self.differences.get((arm, against, test), {}).get((class_name, metric))

    @property
    def is_lone(self) -> bool:
        """Whether nothing is compared: one model on one version of the films, and no question."""
        return len(self.cells) == self.n_seeds == 1 and not self.answers

    @property
    def pairs(self) -> tuple[Key, ...]:
        """Arms that were compared, as ``(arm, against)``, the original arm's first."""
        found = dict.fromkeys((arm, against) for arm, against, _ in self.differences)
        return tuple(sorted(found, key=lambda pair: pair[1] != BASE_ARM))

    def group_rows(self, test: str) -> list[tuple[str, str, dict[str, GroupRecall]]]:
        """Return source, class and arm -> recall of every group on a version of the films."""
        rows: dict[Key, dict[str, GroupRecall]] = {}
        for one in self.groups:
            if one.test_data == test:
                rows.setdefault((one.source, one.class_name), {})[one.train_data] = one
        return [(*key, row) for key, row in sorted(rows.items())]


def arrange_comparison(
    comparison: Comparison | None, positive: str | None = None
) -> ComparisonTable:
    """Sort the numbers of all seeds for display.

    Args:
        comparison: The comparison; None gives an empty table.
        positive: Class whose precision and recall stand first; None takes the last one.

    Returns:
        The table.
    """
    found = comparison or Comparison((), (), (), ())
    cells: dict[Key, dict[Key, Estimate]] = {}
    audited: dict[Key, Estimate] = {}
    for row in found.rows:
        cell, key = (row.train_data, row.test_data), (row.class_name, row.metric)
        if row.seed == POOLED:
            cells.setdefault(cell, {})[key] = row.estimate
        elif cell == (BASE_ARM, BASE_ARM):
            audited.setdefault(key, row.estimate)
    return ComparisonTable(
        arms=_in_order({arm for arm, _ in cells}),
        tests=_in_order({test for _, test in cells}),
        classes=found.class_names,
        positive=positive or (found.class_names[-1] if found.class_names else ""),
        keys=tuple(dict.fromkeys(key for cell in cells.values() for key in cell)),
        n_seeds=len({row.seed for row in found.rows} - {POOLED}),
        cells=cells,
        differences={
            (contrast.train_data, contrast.against, contrast.test_data): {
                (entry.class_name, entry.metric): entry for entry in contrast.pooled
            }
            for contrast in found.contrasts
        },
        audited=audited,
        answers=found.questions,
        footing=found.footing,
        groups=found.groups,
        text_losses={one.train_data: one for one in found.text_losses},
        design=found.design,
    )


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)))
