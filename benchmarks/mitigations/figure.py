"""The sweep as one figure."""

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.figure import Figure

from benchmarks.mitigations.tables import RELIANCE, Measured
from covid_debug.data.phantom import TEXT_SWAPPED
from covid_debug.reporting.figures import figure_style

_SHIFT = 0.0035  # between the arms' bars, in units of the strength


def draw_sweep(rows: Sequence[Measured]) -> Figure:
    """Draw reliance on text and accuracy with exchanged text over the strength.

    Args:
        rows: What was measured.

    Returns:
        The figure: two panels, a line an arm, bars its 95 % intervals, set side by side.
    """
    alone = [row for row in rows if not row.against]
    arms = list(dict.fromkeys(row.arm for row in alone))
    with figure_style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True)
        for axes, quantity, title in zip(
            panels,
            (RELIANCE, TEXT_SWAPPED),
            ("lost when text is exchanged, points", "right with another class's text, %"),
            strict=True,
        ):
            for number, arm in enumerate(arms):
                mine = [row for row in alone if row.arm == arm and row.quantity == quantity]
                values = [100 * row.estimate.value for row in mine]
                below = [100 * (row.estimate.value - row.estimate.low) for row in mine]
                above = [100 * (row.estimate.high - row.estimate.value) for row in mine]
                shift = _SHIFT * (number - (len(arms) - 1) / 2)
                axes.errorbar(
                    [row.strength + shift for row in mine],
                    values,
                    yerr=(below, above),
                    marker="o",
                    ms=4,
                    lw=1.4,
                    elinewidth=0.7,
                    color=colormaps["tab10"](number % 10),
                    label=arm,
                )
            axes.set_xlabel("share of training patients with the text of their class")
            axes.set_title(title)
        panels[0].axhline(0, color="0.6", lw=0.8, zorder=0)
        panels[1].axhline(100 / 3, color="0.6", lw=0.8, ls=":", zorder=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return figure
