"""Who is on which film: patients, classes, sites, and the planted correlation.

Draws no pixels. Every decision about film ``i`` depends on the seed and on ``i`` only, never on
how many films are made.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from covid_debug.data.phantom.markers import SITES
from covid_debug.data.phantom.signs import CLASS_NAMES
from covid_debug.records import Split
from covid_debug.seeding import derive_seed

Pool = Literal["train", "test"]
_ROUNDS = 4  # films of one class in a block
_SITE_NAMES = tuple(site.name for sites in SITES.values() for site in sites)


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """What film ``index`` of a pool shows, before any pixel is drawn.

    Attributes:
        pool: ``"train"`` (training and validation) or ``"test"``.
        index: Place in the pool.
        patient: Patient, numbered within pool and class.
        label_index: Place of the class in ``CLASS_NAMES``.
        site: Name of the site that took the film.
        split: The patient's split.
    """

    pool: Pool
    index: int
    patient: int
    label_index: int
    site: str
    split: Split


def plan_pool(
    pool: Pool, n_films: int, *, seed: int, text_correlation: float, val_share: float
) -> list[FilmPlan]:
    """Plan the films of one pool.

    Every three films hold each class once; of every three patients of a class one has two films.
    In the training pool a patient's site belongs to the patient's class with probability
    ``text_correlation``; in the test pool each six patients of a class visit the six sites once.

    Args:
        pool: Which pool.
        n_films: Films wanted, >= 0.
        seed: Seed of the whole data set.
        text_correlation: Probability in [0, 1]; one third means no correlation.
        val_share: Share of the training patients of each class held out for validation.

    Returns:
        One plan a film, in order.
    """
    plans = []
    for index in range(n_films):
        group, member = divmod(index, len(CLASS_NAMES))
        block, film_round = divmod(group, _ROUNDS)
        order = _rng(seed, pool, "order", group).permutation(len(CLASS_NAMES))
        label = int(order[member])
        doubled = int(_rng(seed, pool, "doubled", block, label).integers(_ROUNDS - 1))
        patient = block * (_ROUNDS - 1) + film_round - (1 if film_round > doubled else 0)
        site = (
            _train_site(seed, label, patient, text_correlation)
            if pool == "train"
            else _test_site(seed, label, patient)
        )
        split: Split = "test"
        if pool == "train":
            split = "val" if _is_held_out(patient, val_share) else "train"
        plans.append(FilmPlan(pool, index, patient, label, site, split))
    return plans


def swapped_site(seed: int, plan: FilmPlan) -> str:
    """Return a site that goes with neither the film's class nor the class of its own site."""
    foreign = [
        site.name
        for class_name, sites in SITES.items()
        for site in sites
        if class_name != CLASS_NAMES[plan.label_index]
        and plan.site not in {sibling.name for sibling in sites}
    ]
    return foreign[int(_rng(seed, plan.pool, "swap", plan.index).integers(len(foreign)))]


def _rng(seed: int, *scope: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "phantom", *scope))


def _train_site(seed: int, label: int, patient: int, text_correlation: float) -> str:
    rng = _rng(seed, "train", "site", label, patient)
    own = {site.name for site in SITES[CLASS_NAMES[label]]}
    goes_along = rng.random() < text_correlation
    choices = [name for name in _SITE_NAMES if (name in own) == goes_along]
    return choices[int(rng.integers(len(choices)))]


def _test_site(seed: int, label: int, patient: int) -> str:
    block, place = divmod(patient, len(_SITE_NAMES))
    order = _rng(seed, "test", "site", label, block).permutation(len(_SITE_NAMES))
    return _SITE_NAMES[int(order[place])]


def _is_held_out(patient: int, val_share: float) -> bool:
    """Return whether a patient is held out; evenly spread, the first after half a period."""
    return math.floor((patient + 1) * val_share + 0.5) > math.floor(patient * val_share + 0.5)
