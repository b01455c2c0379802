"""Versions of the test films whose text is known to differ: the generator's ground truth.

Reads ``counterfactuals.csv`` (image_id, kind, path, sha256) of a data set; makes no films itself.
"""

import csv
from dataclasses import replace

from covid_debug.data.filmset import FilmSet
from covid_debug.errors import DataIntegrityError

COUNTERFACTUALS_NAME = "counterfactuals.csv"


def load_counterfactuals(filmset: FilmSet) -> dict[str, FilmSet]:
    """Return the counterfactual versions of the test films.

    Args:
        filmset: A data set; only phantoms have counterfactuals.

    Returns:
        Kind (``"text_free"``, ``"text_swapped"``) -> the same films with their counterfactual
        pixels; empty for a data set without known truth.

    Raises:
        DataIntegrityError: If the table names a film that the set does not have.
    """
    path = filmset.root / COUNTERFACTUALS_NAME
    if not path.is_file():
        return {}
    films = {film.image_id: film for film in filmset.films}
    kinds: dict[str, list[str]] = {}
    places: dict[tuple[str, str], tuple[str, str]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            image_id, kind = row["image_id"], row["kind"]
            if image_id not in films:
                raise DataIntegrityError(
                    f"{path}: names film {image_id!r}, which films.csv does not have;"
                    " make the data set again"
                )
            kinds.setdefault(kind, []).append(image_id)
            places[kind, image_id] = row["path"], row["sha256"]
    return {
        kind: replace(
            filmset,
            name=f"{filmset.name}/{kind}",
            films=tuple(
                replace(films[i], path=path, sha256=sha256)
                for i in image_ids
                for path, sha256 in [places[kind, i]]
            ),
            n_total=len(image_ids),
        )
        for kind, image_ids in kinds.items()
    }
