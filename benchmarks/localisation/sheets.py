"""Maps with the truth drawn on them, for the eye: a row a film, a column a method."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.localisation.films import Masks, TruthFilms, Views
from benchmarks.localisation.measure import Located, map_path
from covid_debug.imaging.writing import write_png

_SIDE = 168
_HEAD = 16


def write_sheet(
    path: Path, films: TruthFilms, lines: Sequence[Sequence[Located]], out: Path, *, n_films: int
) -> None:
    """Write one picture: each film with its truth outlined, then each line's map likewise.

    Positive values are shown, up to the 99.5th percentile of the map.

    Args:
        path: PNG.
        films: The films.
        lines: Records of each line, in the order of the films.
        out: Folder of the maps.
        n_films: Most films.
    """
    rows = []
    for i in range(min(n_films, len(films.names))):
        film = np.asarray((films.images[i, 0].cpu().numpy() * 255).round(), np.uint8)
        truth = films.truth[i, 0].cpu().numpy()
        cells = [_cell(film, truth, "film")]
        for line in lines:
            one = line[i] if i < len(line) else None
            if one is None or one.refused:
                cells.append(np.zeros_like(cells[0]))
                continue
            saliency = np.load(map_path(out, one.key)).clip(min=0)
            most = np.quantile(saliency, 0.995) or saliency.max() or 1.0
            shown = np.asarray((saliency / most).clip(0, 1) * 255, np.uint8)
            mass = "void" if one.mass is None else f"{one.mass:.2f}"
            cells.append(_cell(shown, truth, f"{one.line} {mass}"))
        rows.append(np.concatenate(cells, axis=1))
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, np.concatenate(rows, axis=0))


def _cell(picture: Views, truth: Masks, text: str) -> Views:
    shape = (_SIDE, _SIDE)
    shown = cv2.resize(picture, shape, interpolation=cv2.INTER_LINEAR)
    region = cv2.resize(truth.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST)
    outline = cv2.morphologyEx(region, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
    shown = np.where(outline > 0, 255, shown).astype(np.uint8)
    head = np.zeros((_HEAD, _SIDE), np.uint8)
    cv2.putText(head, text[:26], (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, 255, 1, cv2.LINE_AA)
    return np.concatenate([head, shown], axis=0)
