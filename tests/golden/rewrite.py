"""Golden maps: one per catalogue entry on a network whose weights come from a formula.

Rewrite with ``make golden``; it prints what changed. A change of a
stored map needs a line in CHANGELOG.md.
"""

import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "contracts")]

from cases import CASES  # noqa: E402

from covid_debug.saliency.catalog import build_explainer  # noqa: E402
from tests.toys import SIDE, SmallNet, bright_patch_images, wrap  # noqa: E402

PATH = Path(__file__).with_name("saliency.npz")


def make_maps() -> dict[str, np.ndarray]:
    """Explain two fixed images by every case."""
    torch.set_num_threads(1)
    classifier = wrap(SmallNet(3), SIDE, 3)
    images = bright_patch_images(2)
    images[1] = images[1].flip(-1)
    with torch.no_grad():
        targets = classifier(images).argmax(dim=1)
    return {
        name: build_explainer(name, **params)
        .explain(classifier, images, targets, seeds=[5, 6], scale="logit")
        .saliency.numpy()
        for name, params in CASES.items()
    }


def main() -> None:
    maps = make_maps()
    old = dict(np.load(PATH)) if PATH.exists() else {}
    for name in sorted(set(maps) | set(old)):
        if name not in old or name not in maps:
            print(f"{name}: {'added' if name in maps else 'removed'}")
        else:
            change = float(np.abs(maps[name] - old[name]).max())
            print(f"{name}: largest change {change:.2e}")
    np.savez_compressed(PATH, **maps)


if __name__ == "__main__":
    main()
