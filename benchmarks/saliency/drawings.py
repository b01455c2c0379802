"""Pictures of explanations side by side: montages and deletion/insertion curves.

Owns how maps and curves look next to each other; maps and numbers come ready-made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from covid_debug.imaging.overlays import overlay_saliency


@dataclass(frozen=True, slots=True)
class MontageCell:
    """One map of a montage.

    Attributes:
        saliency: ``(S, S)``, larger = more evidence.
        caption: Short text below the picture, such as its scores.
        is_void: Drawn pale, because the map means nothing.
    """

    saliency: NDArray[np.float32]
    caption: str
    is_void: bool


def draw_montage(
    views: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    rows: Mapping[str, Sequence[MontageCell]],
) -> Figure:
    """Lay out films as columns and methods as rows.

    Args:
        views: ``(S, S)`` uint8 each, the top row.
        titles: One text per film.
        rows: Method -> one cell per film.

    Returns:
        The figure.
    """
    n_rows, n_columns = len(rows) + 1, len(views)
    figure = Figure(figsize=(1.75 * n_columns + 1.2, 1.95 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    for axis, view, title in zip(axes[0], views, titles, strict=True):
        axis.imshow(view, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=7, loc="center")
    for line, (method, cells) in zip(axes[1:], rows.items(), strict=True):
        line[0].set_ylabel(method, fontsize=8, rotation=0, ha="right", va="center")
        for axis, view, cell in zip(line, views, cells, strict=True):
            picture = overlay_saliency(view, cell.saliency)
            axis.imshow(picture, alpha=0.35 if cell.is_void else 1.0)
            text = f"void - {cell.caption}" if cell.is_void else cell.caption
            axis.set_xlabel(text, fontsize=6.5)
    return figure


@dataclass(frozen=True, slots=True)
class MeanCurve:
    """Mean curves of one method over the films that are not void.

    Attributes:
        fraction: ``(T,)`` share of units perturbed, 0 to 1.
        deletion: ``(T,)`` mean target score while salient units go; lower is better.
        insertion: ``(T,)`` mean target score while salient units come; higher is better.
    """

    fraction: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


def draw_curves(curves: Mapping[str, MeanCurve], title: str) -> Figure:
    """Return a figure with deletion at the left and insertion at the right, one line per method."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    markers = "osD^vP*X"
    for i, (method, curve) in enumerate(curves.items()):
        style = {
            "label": method,
            "color": f"C{i % 10}",
            "marker": markers[i % len(markers)],
            "markevery": (i % 5, 10),
            "markersize": 4,
            "linewidth": 1.3,
            "linestyle": ("-", "--", ":")[(i // 10) % 3],
        }
        left.plot(curve.fraction, curve.deletion, **style)
        right.plot(curve.fraction, curve.insertion, **style)
    left.set_title(f"{title}: deletion (lower is better)", fontsize=9)
    right.set_title("insertion (higher is better)", fontsize=9)
    left.set_ylabel("probability of the target class")
    for axis in (left, right):
        axis.set_xlabel("share of the film perturbed")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.25)
    right.legend(fontsize=6.5, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure
