"""The shortcut map in the report: one figure.

The numbers, and the sentences that stand first in the report, come ready-made from
:mod:`covid_debug.audit.shortcut_map`.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covid_debug.audit.shortcut_map import ShortcutMap
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.figures import INK, MUTED, figure_style

_RELIANCE = "#b3541e"
_UTILITY = "#1f6f8b"
_CLEANED = "#7b5ea7"
_GRID = "#eceff2"
_SHIFT = 0.17


def draw_shortcut_map(found: ShortcutMap) -> Figure:
    """Draw the attributes from the most to the least relied on.

    Args:
        found: The map.

    Returns:
        The figure: reliance with its interval, beside it utility and detectability, before and
        after cleaning. Attributes that hold others, and the lungs, stand below a line.
    """
    items = found.attributes
    with figure_style():
        figure = Figure(figsize=(9.6, 1.5 + 0.36 * len(items)))
        reliance, utility, readable = figure.subplots(
            1, 3, sharey=True, width_ratios=(2.2, 1.2, 1.2)
        )
        pulls = [item.share for item in items]
        _draw(reliance, pulls, 0.0, _RELIANCE, "", unit=100.0)
        reliance.axvline(0.0, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        for y, (item, pull) in enumerate(zip(items, pulls, strict=True)):
            if not pull.is_defined:
                text = "nothing to exchange" if not item.pulls else pull.reason
                reliance.text(
                    0.02,
                    y,
                    text,
                    color=MUTED,
                    va="center",
                    fontsize=8,
                    transform=reliance.get_yaxis_transform(),
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                )
        _draw(utility, [item.utility for item in items], 0.0, _UTILITY, "")
        has_cleaned = any(item.detectability_cleaned is not None for item in items)
        shift = _SHIFT if has_cleaned else 0.0
        before = [item.detectability for item in items]
        _draw(readable, before, -shift, _UTILITY, "films as they are")
        if has_cleaned:
            after = [item.detectability_cleaned or Estimate.undefined(0, "") for item in items]
            _draw(readable, after, shift, _CLEANED, "cleaned films")
            figure.legend(
                *readable.get_legend_handles_labels(),
                loc="outside lower right",
                ncols=2,
                frameon=False,
            )
        for axes in (utility, readable):
            axes.set_xlim(min(0.35, axes.dataLim.x0 - 0.03), 1.03)
            axes.axvline(0.5, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
            axes.set_xlabel("area under the curve")
        n_parts = sum(item.is_part for item in items)
        for axes in (reliance, utility, readable):
            axes.grid(visible=True, axis="x", color=_GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(axis="y", length=0)
            if 0 < n_parts < len(items):
                axes.axhline(n_parts - 0.5, color="#d9dee3", linewidth=0.8, zorder=0)
        reliance.set_yticks(range(len(items)), [item.title for item in items], color=INK)
        reliance.set_ylim(len(items) - 0.4, -0.6)
        reliance.set_xlabel("points more films called the donor's class")
        reliance.set_title("does the model rely on it?")
        utility.set_title("does it tell the class?")
        readable.set_title("can it be read from the film?")
        figure.set_layout_engine("constrained")
    return figure


def _draw(
    axes: Axes,
    estimates: Sequence[Estimate],
    shift: float,
    colour: str,
    name: str,
    unit: float = 1.0,
) -> None:
    shown = [(y + shift, each) for y, each in enumerate(estimates) if each.is_defined]
    values = [unit * each.value for _, each in shown]
    below = [unit * max(0.0, each.value - each.low) for _, each in shown]
    above = [unit * max(0.0, each.high - each.value) for _, each in shown]
    places = [place for place, _ in shown]
    axes.errorbar(
        values, places, xerr=(below, above), fmt="o", ms=4.5, lw=1.4, color=colour, label=name
    )
