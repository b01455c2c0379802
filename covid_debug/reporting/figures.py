"""The figures of a run, drawn without global state.

Owns how numbers look as pictures; the numbers come ready-made.
"""

import base64
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covid_debug.arms import ARM_NAMES
from covid_debug.audit.artifact import AuditedFilm
from covid_debug.audit.verdicts import VERDICTS
from covid_debug.evaluation.comparison import Cell
from covid_debug.evaluation.questions import NOT_MEASURED, PrimaryAnswer
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.comparison import COUNTERFACTUALS, ComparisonTable, name_metric
from covid_debug.reporting.verdicts import VERDICT_NAMES

INK = "#1f2933"
MUTED = "#8794a1"
# In the order of the arms, so that a new one has a colour.
COLOURS = ("#b3541e", "#1f6f8b", "#7a7f85", "#7b5ea7", "#4f7f3f", "#b08900")
ARM_COLOURS = dict(zip(ARM_NAMES, itertools.cycle(COLOURS), strict=False))
VERDICT_COLOURS = {
    "text_driven": "#b42318",
    "text_sensitive": "#c77700",
    "inconclusive": "#7a7f85",
    "not_text_driven": "#2f7d4f",
}
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # class names are not formulas
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "covid_debug",
}


def draw_confusion(cell: Cell) -> Figure:
    """Draw a confusion matrix with counts; the shade is the share of the row.

    Args:
        cell: One model on one version of the test films.

    Returns:
        The figure.
    """
    counts, class_names = np.asarray(cell.confusion, np.float64), cell.class_names
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    with figure_style():
        figure = Figure(figsize=(1.6 + 0.9 * len(class_names), 1.3 + 0.75 * len(class_names)))
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.2)
        ticks = range(len(class_names))
        names = list(class_names)
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, names)
        for i in ticks:
            for j in ticks:
                colour = "white" if shares[i, j] > 0.65 else INK
                axes.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color=colour)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(f"trained on {cell.train_data}, tested on {cell.test_data}")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.set_layout_engine("constrained")
    return figure


def draw_questions(answers: Sequence[PrimaryAnswer]) -> Figure:
    """Draw the answers with their intervals, one line a question.

    Args:
        answers: At least one that was measured; the others are named and empty.

    Returns:
        The figure; the gray band is what was too small to be seen.
    """
    with figure_style():
        figure = Figure(figsize=(8.4, 1.2 + 0.62 * len(answers)))
        axes = figure.subplots()
        for y, answer in enumerate(answers):
            colour, text = _ANSWER_COLOURS.get(answer.verdict, MUTED), str(answer.verdict)
            if answer.verdict != NOT_MEASURED:
                if not math.isnan(answer.smallest):
                    width = 200 * min(answer.smallest, 1.0)  # no difference is larger
                    axes.barh(y, width, 0.5, -width / 2, color="#e9edf0", zorder=1)
                value, low, high = (100 * x for x in (answer.value, answer.low, answer.high))
                ends = ([max(0.0, value - low)], [max(0.0, high - value)])
                axes.errorbar([value], [y], xerr=ends, fmt="o", ms=6, lw=1.8, color=colour)
                text = f"{value:+.1f}\n{answer.verdict}"
            place = axes.get_yaxis_transform()
            axes.text(1.02, y, text, color=colour, va="center", fontsize=8, transform=place)
        axes.axvline(0.0, color=INK, lw=1, zorder=2)
        names = [_question_name(answer) for answer in answers]
        axes.set_yticks(range(len(answers)), names)
        axes.set_ylim(len(answers) - 0.5, -0.75)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("points; right: better. Gray: too small to be shown by such data")
        axes.grid(visible=True, axis="x", color="#eceff2", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.set_layout_engine("constrained")
    return figure


_ANSWER_COLOURS = {"improved": "#2f7d4f", "worse": "#b42318"}


def _question_name(answer: PrimaryAnswer) -> str:
    question = answer.question
    test = question.test_data + (f" minus {question.minus}" if question.minus else "")
    name = question.name.replace("_", " ")
    return f"{name}\n{question.arm} against {question.against}\n{test.replace('_', '-')} films"


def draw_comparison(table: ComparisonTable) -> Figure:
    """Draw every arm with its intervals, one panel a test set.

    Args:
        table: The comparison.

    Returns:
        The figure; metrics from top to bottom, one colour an arm. Counterfactual films have a
        figure of their own.
    """
    tests = [test for test in table.tests if test not in COUNTERFACTUALS]
    overall = [("all", "accuracy"), ("all", "balanced_accuracy"), ("all", "macro_f1")]
    keys = [key for key in overall if key in table.keys]
    keys += [(name, metric) for name in table.classes for metric in ("precision", "recall", "f1")]
    n_columns = min(len(tests), _MAX_PANELS)
    n_rows = -(-len(tests) // _MAX_PANELS)
    with figure_style():
        size = (2.2 + 3.6 * n_columns, 0.4 + n_rows * (0.6 + 0.34 * len(keys)))
        figure = Figure(figsize=size)
        panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
        for axes in panels[len(tests) :]:
            axes.set_visible(False)
        for axes, test in zip(panels, tests, strict=False):
            for i, arm in enumerate(table.arms):
                shift = (i - (len(table.arms) - 1) / 2) * min(0.24, 0.72 / len(table.arms))
                _draw_arm(axes, table, arm, test, keys, shift)
            for y in np.flatnonzero([metric == "precision" for _, metric in keys]) - 0.5:
                axes.axhline(y, color="#d9dee3", linewidth=0.8, zorder=0)
            if not table.is_lone:
                axes.set_title(f"tested on {test.replace('_', ' ')} films")
            axes.set_xlim(-0.02, 1.02)
            axes.grid(visible=True, axis="x", color="#eceff2", linewidth=0.8)
            axes.set_axisbelow(True)
        panels[0].set_yticks(range(len(keys)), [_key_name(*key) for key in keys])
        panels[0].set_ylim(len(keys) - 0.4, -0.6)
        handles, names = panels[0].get_legend_handles_labels()
        if not table.is_lone:
            figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
        figure.set_layout_engine("constrained")
    return figure


_MAX_PANELS = 3


def _draw_arm(
    axes: Axes,
    table: ComparisonTable,
    arm: str,
    test: str,
    keys: Sequence[tuple[str, str]],
    shift: float,
) -> None:
    places, points = [], []
    for y, key in enumerate(keys):
        estimate = table.get(arm, test, *key)
        if estimate is not None and estimate.is_defined:
            places.append(y + shift)
            points.append(estimate)
    _draw_points(axes, points, places, ARM_COLOURS.get(arm, INK), f"trained on {arm} films")


def _draw_points(
    axes: Axes, points: Sequence[Estimate], places: Sequence[float], colour: str, name: str
) -> None:
    x = [p.value for p in points]
    below = [max(0.0, p.value - p.low) for p in points]
    above = [max(0.0, p.high - p.value) for p in points]
    axes.errorbar(x, places, xerr=(below, above), fmt="o", ms=4.5, lw=1.4, color=colour, label=name)


def draw_probability_shift(films: Sequence[AuditedFilm]) -> Figure:
    """Draw the target probability with and without the text, one point a film.

    Args:
        films: Audited films.

    Returns:
        The figure; points on the diagonal do not depend on the text.
    """
    with figure_style():
        figure = Figure(figsize=(5.2, 4.6))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        for verdict in reversed(VERDICTS):
            chosen = [
                film for film in films if film.verdict == verdict and not math.isnan(film.drop)
            ]
            if chosen:
                axes.scatter(
                    [film.probability for film in chosen],
                    [film.interventions.text_removed for film in chosen],
                    s=24,
                    alpha=0.75,
                    color=VERDICT_COLOURS[verdict],
                    edgecolor="white",
                    linewidth=0.5,
                    label=f"{VERDICT_NAMES[verdict]} ({len(chosen)})",
                    zorder=2,
                )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
        classes = {film.target_class for film in films}
        name = classes.pop() if len(classes) == 1 else "predicted class"
        axes.set_xlabel(f"p({name}), film as it is")
        axes.set_ylabel(f"p({name}), text removed")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, loc="upper left", fontsize=8)
        figure.set_layout_engine("constrained")
    return figure


def draw_counterfactuals(table: ComparisonTable) -> Figure:
    """Draw accuracy on phantom films whose text is absent or exchanged.

    Args:
        table: The comparison, with the counterfactual test sets.

    Returns:
        The figure: one group a version of the films, one colour an arm.
    """
    tests = [test for test in ("original", "text_free", "text_swapped") if test in table.tests]
    with figure_style():
        figure = Figure(figsize=(6.4, 1.2 + 0.62 * len(tests)))
        axes = figure.subplots()
        for i, arm in enumerate(table.arms):
            shift = (i - (len(table.arms) - 1) / 2) * 0.22
            found = [(y, table.get(arm, test, "all", "accuracy")) for y, test in enumerate(tests)]
            points = [(y + shift, e) for y, e in found if e is not None and e.is_defined]
            name = f"trained on {arm} films"
            colour = ARM_COLOURS.get(arm, INK)
            _draw_points(axes, [e for _, e in points], [y for y, _ in points], colour, name)
        axes.set_yticks(range(len(tests)), [COUNTERFACTUAL_NAMES[test] for test in tests])
        axes.set_ylim(len(tests) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("accuracy")
        axes.grid(visible=True, axis="x", color="#eceff2", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.set_layout_engine("constrained")
    return figure


COUNTERFACTUAL_NAMES = {
    "original": "films as they are",
    "text_free": "same films without text",
    "text_swapped": "same films, text of another class",
}


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG, 160 dots an inch; equal figures give equal bytes."""
    stream = io.BytesIO()
    with figure_style():
        figure.savefig(stream, format="png", dpi=160, metadata={"Software": None})
    return stream.getvalue()


def to_jpeg(figure: Figure) -> bytes:
    """Return a figure full of films as JPEG, 110 dots an inch: a tenth of the size as PNG."""
    stream = io.BytesIO()
    with figure_style():
        figure.savefig(stream, format="jpeg", dpi=110, pil_kwargs={"quality": 82})
    return stream.getvalue()


def to_svg_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` address of an SVG picture; equal figures, equal text."""
    stream = io.BytesIO()
    with figure_style():
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and write in the style of the report.

    Yields:
        Nothing.
    """
    with mpl.rc_context(_STYLE):
        yield


def _key_name(class_name: str, metric: str) -> str:
    name = name_metric(class_name, metric)
    return name if class_name == "all" else f"{class_name}: {name}"
