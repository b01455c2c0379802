"""The papers' numbers beside ours."""

from collections.abc import Sequence

from benchmarks.saliency.tables import BenchRow, format_estimate
from benchmarks.tables import to_markdown

PAPER_ROWS: tuple[tuple[str, str, int, float, float], ...] = (
    ("grad_cam", "ResNet50", 7, 0.1675, 0.6521),
    ("integrated_gradients", "ResNet50", 224, 0.0907, 0.2921),
    ("rise", "ResNet50", 224, 0.1196, 0.5637),
    ("mask", "ResNet50", 224, 0.0468, 0.4962),
    ("mask", "ResNet50", 28, 0.1151, 0.5559),
    ("mask", "ResNet50", 7, 0.2259, 0.6003),
    ("igos", "ResNet50", 224, 0.0420, 0.5846),
    ("igos", "ResNet50", 28, 0.1059, 0.5986),
    ("igos", "ResNet50", 7, 0.1607, 0.6632),
    ("igos_pp", "ResNet50", 224, 0.0328, 0.7261),
    ("igos_pp", "ResNet50", 28, 0.0929, 0.7284),
    ("igos_pp", "ResNet50", 7, 0.1810, 0.7332),
    ("grad_cam", "VGG19", 14, 0.1527, 0.5938),
    ("integrated_gradients", "VGG19", 224, 0.0663, 0.2551),
    ("rise", "VGG19", 224, 0.1082, 0.5139),
    ("mask", "VGG19", 224, 0.0482, 0.4158),
    ("mask", "VGG19", 28, 0.1056, 0.5335),
    ("mask", "VGG19", 14, 0.1753, 0.5647),
    ("igos", "VGG19", 224, 0.0336, 0.5246),
    ("igos", "VGG19", 28, 0.0899, 0.5701),
    ("igos", "VGG19", 14, 0.1213, 0.6387),
)
"""Method, network, grid, deletion, insertion as printed in the iGOS++ paper, tables 1 and 2."""


def paper_markdown(rows: Sequence[BenchRow]) -> str:
    """Return the papers' table with this run's numbers beside it, where both have one."""
    ours = {(row.method, row.grid): row for row in rows}
    lines = []
    for method, network, grid, deletion, insertion in PAPER_ROWS:
        row = ours.get((method, grid))
        lines.append(
            {
                "method": method,
                "grid": grid,
                "network": network,
                "paper deletion": f"{deletion:.4f}",
                "paper insertion": f"{insertion:.4f}",
                "our deletion": format_estimate(row.deletion) if row else "",
                "our insertion": format_estimate(row.insertion) if row else "",
            }
        )
    return (
        "### The paper's ImageNet numbers and ours\n\n"
        "Other images, another network and another number of classes: the orders compare, the"
        f" values do not.\n\n{to_markdown(lines)}"
    )
