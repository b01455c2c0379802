"""The catalogue of arms: every name makes what it says."""

from dataclasses import replace
from pathlib import Path

import pytest

from covid_debug.arms import ARM_NAMES, ARMS, TEST_NAMES, VERSIONS, arm_training
from covid_debug.cleaning.film import CleaningParams
from covid_debug.stages import Request
from covid_debug.training.mitigation import MitigationParams
from covid_debug.training.params import TrainingParams

FILMS, REGIONS, HOW = Path("films"), Path("regions"), CleaningParams(dilation_px=5)


def test_every_arm_trains_on_films_that_can_be_made() -> None:
    versions = {"original", *VERSIONS}

    assert ARM_NAMES[:2] == ("original", "cleaned")
    assert {arm.films for arm in ARMS.values()} <= versions
    assert all(arm.sees in {"", arm.films} for arm in ARMS.values())  # as the flow expects
    assert set(TEST_NAMES) <= set(VERSIONS)


@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_is_a_request_of_its_own_that_takes_the_cleaning_along(name: str) -> None:
    version = VERSIONS[name]
    request = version.request(FILMS, REGIONS, HOW, 7)
    other = version.request(FILMS, REGIONS, replace(HOW, dilation_px=1), 7)

    assert isinstance(request, Request)
    assert request.makes == "filmset"
    assert (request.key() != other.key()) == version.needs_text
    keys = {VERSIONS[other].request(FILMS, REGIONS, HOW, 7).key() for other in VERSIONS}
    assert len(keys) == len(VERSIONS)


@pytest.mark.parametrize("name", ARM_NAMES)
def test_arms_change_only_the_countermeasures_of_the_recipe(name: str) -> None:
    recipe = TrainingParams(n_epochs=3, mitigation=MitigationParams(dro_step=0.5))

    training = arm_training(recipe, name)

    assert replace(training, mitigation=recipe.mitigation) == recipe
    assert training.mitigation.dro_step == 0.5
    assert (training == recipe) == (not ARMS[name].training)
    assert (training == recipe) or ARMS[name].films == "original"


def test_arms_of_countermeasures_are_all_different() -> None:
    recipes = {name: arm_training(TrainingParams(), name).mitigation for name in ARM_NAMES}

    assert len(set(recipes.values())) == 1 + sum(bool(arm.training) for arm in ARMS.values())
    assert recipes["random_text"].needs_text_free
    assert recipes["right_reasons"].needs_text_free
    assert recipes["matched_sources"].sampling == "source"
