"""File names of cleaned films: the published ones, all PNG, all different."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from covid_debug.records import Film

_MAX_NAME: Final = 255  # bytes that file systems take


def choose_file_names(films: Sequence[Film]) -> dict[str, str]:
    """Choose the path of every cleaned film below the data set's folder.

    The published name is kept with the suffix ``.png``. Where two films would get the same name
    (``a.jpg`` and ``a.png``), a film that is published under exactly that name keeps it and the
    others carry their ``image_id``. A name that is too long for a file becomes ``image_id``.

    Args:
        films: All films of the data set.

    Returns:
        ``image_id`` -> ``"train/<name>"`` or ``"test/<name>"``; validation films lie in train.
    """
    wanted = {film.image_id: _wanted_name(film) for film in films}
    n_wanting = Counter(name.casefold() for name in wanted.values())
    kept: set[str] = set()
    names = {}
    for film in films:
        name = wanted[film.image_id]
        if n_wanting[name.casefold()] > 1:
            is_exact = Path(name).name == Path(film.path).name
            if is_exact and name.casefold() not in kept:
                kept.add(name.casefold())
            else:
                name = f"{name.removesuffix('.png')}-{film.image_id}.png"
        too_long = len(Path(name).name.encode()) > _MAX_NAME
        names[film.image_id] = f"{Path(name).parent}/{film.image_id}.png" if too_long else name
    return names


def _wanted_name(film: Film) -> str:
    folder = "test" if film.split == "test" else "train"
    published = Path(film.path)
    return f"{folder}/{published.name if published.suffix == '.png' else published.stem + '.png'}"
