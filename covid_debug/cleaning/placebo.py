"""Places without text that are as many and as large as the text of a film.

The placebo arm separates "the text is gone" from "something was inpainted". What is done at the
places is decided by the callers.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from covid_debug.data.filmset import FilmSet
from covid_debug.errors import InputContractError
from covid_debug.imaging.boxes import do_overlap
from covid_debug.records import Box, Film, FilmRegions, TextRegion
from covid_debug.seeding import derive_seed

_PLACEBO_DETECTOR = "placebo"
_MAX_TRIES = 200
_GAP_PX = 8.0


def placebo_regions(
    films: FilmSet | Film | Iterable[Film], regions: Mapping[str, FilmRegions], seed: int
) -> dict[str, FilmRegions]:
    """Move every region to a random place of its film where there is no text.

    Args:
        films: A data set, one film or several films.
        regions: Text regions by ``image_id``; films without a line, or with an error, are left out.
        seed: Seed of the run; each film has its own stream derived from it, so that the result
            does not depend on which other films are asked for.

    Returns:
        By ``image_id``: regions of the same number and shape. A region for which no free place
        was found in 200 draws stands under ``rejected`` with the reason.
    """
    chosen = _iter_films(films)
    return {
        film.image_id: _move_regions(found, derive_seed(seed, film.image_id, _PLACEBO_DETECTOR))
        for film in chosen
        if (found := regions.get(film.image_id)) is not None and found.error is None
    }


def match_shapes(
    places: Mapping[str, FilmRegions], true_regions: Mapping[str, FilmRegions]
) -> dict[str, tuple[TextRegion, ...]]:
    """Find the text region that each placebo region stands for.

    Args:
        places: Made by :func:`placebo_regions`.
        true_regions: The regions that they were made from.

    Returns:
        By ``image_id``, one text region for each placebo region, in order.

    Raises:
        InputContractError: If the places were not made from these regions.
    """
    shapes = {}
    for image_id, film in places.items():
        found = true_regions.get(image_id)
        waiting = [region for region, _ in film.rejected]
        chosen = []
        for region in found.regions if found is not None else ():
            if region in waiting:
                waiting.remove(region)
            else:
                chosen.append(region)
        if len(chosen) != len(film.regions):
            raise InputContractError(
                f"match_shapes: film {image_id!r} has {len(film.regions)} places for "
                f"{len(chosen)} text regions; expected places made from these regions"
            )
        shapes[image_id] = tuple(chosen)
    return shapes


def _iter_films(films: FilmSet | Film | Iterable[Film]) -> Iterable[Film]:
    if isinstance(films, Film):
        return (films,)
    return films.films if isinstance(films, FilmSet) else films


def _move_regions(found: FilmRegions, seed: int) -> FilmRegions:
    generator = np.random.default_rng(seed)
    taken = [region.box for region in found.regions]
    moved: list[TextRegion] = []
    rejected: list[tuple[TextRegion, str]] = []
    for region in found.regions:
        place = _draw_place(region.box, taken, found.width, found.height, generator)
        if place is None:
            rejected.append((region, f"no place without text found in {_MAX_TRIES} draws"))
            continue
        x_min, y_min, x_max, y_max = region.box
        shift_x, shift_y = place[0] - x_min, place[1] - y_min
        polygon = tuple((x + shift_x, y + shift_y) for x, y in region.polygon)
        moved.append(TextRegion(polygon, region.confidence, None, _PLACEBO_DETECTOR))
        taken.append((*place, place[0] + x_max - x_min, place[1] + y_max - y_min))
    return FilmRegions(
        found.image, found.width, found.height, tuple(moved), rejected=tuple(rejected)
    )


def _draw_place(
    box: Box, taken: list[Box], width: int, height: int, generator: np.random.Generator
) -> tuple[float, float] | None:
    wide, high = box[2] - box[0], box[3] - box[1]
    if wide > width or high > height:
        return None
    for _ in range(_MAX_TRIES):
        x = _draw_start(width - wide, box[0] % 1, generator)
        y = _draw_start(height - high, box[1] % 1, generator)
        if not any(do_overlap((x, y, x + wide, y + high), other, _GAP_PX) for other in taken):
            return x, y
    return None


def _draw_start(room: float, fraction: float, generator: np.random.Generator) -> float:
    # Whole pixels keep the shape of the rasterised region; the gap keeps its letters on the film.
    gap = _GAP_PX if room >= 3 * _GAP_PX else 0.0
    start = float(generator.integers(int(gap), int(room - gap) + 1)) + fraction
    return min(start, room)
