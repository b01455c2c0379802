"""Places filled on films where nothing was written, so that the fill says nothing about a film.

Owns the drawing of decoys. Places that stand in for the text of the same film are
:mod:`covid_debug.cleaning.placebo`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.seeding import derive_seed

_DECOY_DETECTOR = "decoy"


def plan_decoys(
    films: Sequence[Film], regions: Mapping[str, FilmRegions], n_sets: int, seed: int
) -> Callable[[Film], tuple[TextRegion, ...]]:
    """Prepare the drawing of decoys for the films of a data set.

    A set is all regions of one film. Films are filled up to ``n_sets`` sets, their own counted,
    with the sets of films drawn from all classes alike, scaled to the film's size. The more sets,
    the less number, size and place of the fills say about the class.

    Args:
        films: All films of the data set.
        regions: Their text regions by ``image_id``.
        n_sets: Sets that every film ends with; 0 for no decoys.
        seed: Seed of the build.

    Returns:
        A function from a film to its decoys; empty where no other film has text.
    """
    donors = [
        film.image_id
        for film in films
        if (found := regions.get(film.image_id)) is not None and found.regions
    ]

    place_of = {image_id: at for at, image_id in enumerate(donors)}

    def draw(film: Film) -> tuple[TextRegion, ...]:
        own = regions.get(film.image_id)
        n_wanted = n_sets - bool(own is not None and own.regions)
        own_place = place_of.get(film.image_id, len(donors))
        n_others = len(donors) - (film.image_id in place_of)
        if n_wanted < 1 or not n_others:
            return ()
        generator = np.random.default_rng(derive_seed(seed, film.image_id, _DECOY_DETECTOR))
        chosen = generator.choice(n_others, min(n_wanted, n_others), replace=False)
        givers = [donors[index + (index >= own_place)] for index in chosen]
        return tuple(
            _scale(region, regions[giver], film.width, film.height)
            for giver in givers
            for region in regions[giver].regions
        )

    return draw


def _scale(region: TextRegion, donor: FilmRegions, width: int, height: int) -> TextRegion:
    by_x, by_y = width / donor.width, height / donor.height
    polygon = tuple((x * by_x, y * by_y) for x, y in region.polygon)
    return TextRegion(polygon, region.confidence, None, _DECOY_DETECTOR)
