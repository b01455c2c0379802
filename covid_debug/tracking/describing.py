"""The text that MLflow shows on a run's page: the answer and a small table first, then the rest.

MLflow folds a description after some five lines.
"""

from collections.abc import Iterator, Mapping, Sequence

from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM, POOLED, Row
from covid_debug.shown import to_markdown
from covid_debug.tracking.names import SHORT_METRICS

_FIRST = (BASE_ARM, CLEANED_ARM)
_METRICS = ("precision", "recall")
_LEGEND = (
    "prec and recall: on the original test films; .cleaned: on the cleaned ones. In brackets 95 %"
    " intervals over patients and seeds."
)
_Cells = Mapping[tuple[str, str], Mapping[tuple[str, str], Row]]


def describe_run(
    answers: Sequence[str], headlines: Sequence[str], rows: Sequence[Row], target_class: str
) -> str:
    """Write a run's description.

    Args:
        answers: The short answers, each a question, its answer, and sentences about it.
        headlines: Further sentences; they come last.
        rows: Of the comparison.
        target_class: Class whose precision and recall are shown.

    Returns:
        Markdown.
    """
    cells: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
    for row in rows:
        if row.seed == POOLED:
            cells.setdefault((row.train_data, row.test_data), {})[row.class_name, row.metric] = row
    short = [f"{answer.partition('. ')[0]}." for answer in answers]
    lines = [" ".join(short), "", *_write_small(cells, target_class)]
    lines += ["", _LEGEND, ""]
    lines += [f"- {to_markdown(line)}" for line in [*answers, *headlines]]
    lines += ["", *_write_all(cells, target_class), "", "Research tool, not for clinical use."]
    return "\n".join(lines).lstrip()


def _write_small(cells: _Cells, target_class: str) -> Iterator[str]:
    arms, tests = (
        [name for name in _FIRST if any(pair[i] == name for pair in cells)] for i in (0, 1)
    )
    # The names of the ready view: longer ones would break the line.
    heads = [
        SHORT_METRICS[metric] if test == BASE_ARM else f"{SHORT_METRICS[metric]}.{test}"
        for test in tests
        for metric in _METRICS
    ]
    yield f"| {target_class}, % | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for arm in arms:
        values = [
            _in_percent(cells.get((arm, test), {}).get((target_class, metric)))
            for test in tests
            for metric in _METRICS
        ]
        yield f"| trained on {arm} | {' | '.join(values)} |"


def _write_all(cells: _Cells, target_class: str) -> Iterator[str]:
    keys = [*((target_class, metric) for metric in _METRICS), ("all", "balanced_accuracy")]
    heads = f"{target_class} precision, % | {target_class} recall, % | balanced accuracy, %"
    yield f"| trained on | tested on | {heads} |"
    yield "|---|---|---|---|---|"
    for (arm, test), cell in cells.items():
        values = " | ".join(_in_percent(cell.get(key)) for key in keys)
        yield f"| {arm} | {test.replace('_', '-')} | {values} |"


def _in_percent(row: Row | None) -> str:
    if row is None or not row.estimate.is_defined:
        return "undefined"
    value, low, high = (f"{100 * number:.0f}" for number in (row.value, row.low, row.high))
    return f"{value} [{low}, {high}]"
