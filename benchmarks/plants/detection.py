"""What the text detector found, of plants and in the view; it is never told where they are."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.plants.dealing import PlantedFilm
from covid_debug.audit.interventions import text_in_view
from covid_debug.audit.planning import AuditParams
from covid_debug.data.filmset import FilmSet
from covid_debug.imaging.geometry import ViewSpec, render_view_mask
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.records import FilmRegions

_LEAST_COVER = 0.5  # share of a plant's box that detected regions must cover
_HEIGHTS = ((0.03, 0.04), (0.04, 0.06), (0.06, 0.08))


@dataclass(frozen=True, slots=True)
class DetectedPlants:
    """How many plants the detector found, by role and height.

    Attributes:
        role: ``"learned"`` or ``"harmless"``.
        heights: Smallest and largest height of the letters, as shares of the film's height.
        n: Plants.
        n_found: Of them, those whose box is covered by half or more.
    """

    role: str
    heights: tuple[float, float]
    n: int
    n_found: int


def count_detected(
    plants: Mapping[str, PlantedFilm], regions: Mapping[str, FilmRegions]
) -> tuple[DetectedPlants, ...]:
    """Count the plants that the detector covers.

    Args:
        plants: What each film bears.
        regions: What was detected on it.

    Returns:
        Counts by role and height.
    """
    found: dict[tuple[str, tuple[float, float]], list[bool]] = {}
    for record in plants.values():
        film = regions[record.image_id]
        mask = regions_to_mask(film.regions, film.width, film.height)
        for plant in record.plants:
            heights = next((h for h in _HEIGHTS if plant.height_share <= h[1]), _HEIGHTS[-1])
            covered = bool(mask[plant.window].mean() >= _LEAST_COVER)
            found.setdefault((plant.role, heights), []).append(covered)
    return tuple(
        DetectedPlants(role, heights, len(hits), sum(hits))
        for (role, heights), hits in sorted(found.items())
    )


def measure_areas(
    filmset: FilmSet, regions: Mapping[str, FilmRegions], spec: ViewSpec
) -> dict[str, float]:
    """Measure how much of each view detected text covers, grown as for the audit.

    Args:
        filmset: The films.
        regions: Text by ``image_id``.
        spec: How views are made.

    Returns:
        ``image_id`` -> share of the view in [0, 1].
    """
    dilation_px = AuditParams().dilation_px
    areas = {}
    for film in filmset.films:
        found = regions[film.image_id].regions
        inside = text_in_view(found, film.width, film.height, spec, dilation_px=dilation_px)[1]
        areas[film.image_id] = float(render_view_mask(inside, spec).mean())
    return areas
