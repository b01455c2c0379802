"""The real films that the finder learns from: training split, free licence, annotated by eye.

Owns the reading of the annotations (``benchmarks/lungs/annotations.json``: polygons of film pixels
by image id); films marked ``fit`` there are of the NIH subset, or of Cohen et al. under CC BY.
"""

import json
from pathlib import Path

from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import draw_outlines
from recipes.lungs.synthesis import KnownFilm, to_square

ANNOTATIONS = Path(__file__).parents[2] / "benchmarks" / "lungs" / "annotations.json"


def load_real_films(folder: Path, annotations: Path = ANNOTATIONS) -> list[KnownFilm]:
    """Read the films marked ``fit`` with their lungs.

    Args:
        folder: Data set that ingest wrote.
        annotations: The polygons.

    Returns:
        One square a film, in the order of the annotations.

    Raises:
        DataIntegrityError: If a film is missing in the data set or not of its training split.
    """
    filmset = load_filmset(folder)
    films = {film.image_id: film for film in filmset.select("train")}
    known = []
    for image_id, entry in json.loads(annotations.read_text(encoding="utf-8")).items():
        if entry["use"] != "fit":
            continue
        if image_id not in films:
            raise DataIntegrityError(
                f"{folder}: has no training film {image_id}; expected the data set that"
                f" {annotations.name} was drawn on"
            )
        pixels = read_film(filmset.file_of(films[image_id])).to_uint8()
        lungs = draw_outlines(entry["lungs"], pixels.shape[1], pixels.shape[0])
        known.append(to_square(pixels, lungs))
    return known
