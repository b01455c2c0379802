"""The arms of a comparison: the films that a model trains on, and how it trains.

A version of the films is what a data set looks like (cleaned, placebo, ...); an arm is a version
and a change of the recipe. Both are added here, with their request, and nowhere else. Names alone
load no stage.
"""

# ruff: noqa: PLC0415

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM

if TYPE_CHECKING:
    from covid_debug.cleaning.film import CleaningParams
    from covid_debug.stages import Request
    from covid_debug.training.params import TrainingParams

SWAPPED_TEST: Final = "swapped"


@dataclass(frozen=True)
class Version:
    """A version of the films that is made from others.

    Attributes:
        title: What making it is called on the terminal.
        request: Makes it, from films, regions, how to clean and the run's seed.
        needs_text: Whether the regions decide the result.
    """

    title: str
    request: "Callable[[Path, Path, CleaningParams, int], Request]"
    needs_text: bool = True


@dataclass(frozen=True)
class Arm:
    """What the models of an arm are trained on, and how.

    Attributes:
        films: Version of the films that they train on.
        training: Fields of ``training.mitigation`` that differ from the run's recipe.
        sees: Version through which every film goes before these models see it, test films too:
            it is part of what would be deployed. Empty for the films as they are.
    """

    films: str = BASE_ARM
    training: Mapping[str, str | float | bool] = field(default_factory=dict)
    sees: str = ""


def _request_cleaned(films: Path, regions: Path, how: "CleaningParams", _seed: int) -> "Request":
    from covid_debug.cleaning.stage import CleanRequest

    return CleanRequest(films, regions, how)


def _request_placebo(films: Path, regions: Path, how: "CleaningParams", seed: int) -> "Request":
    from covid_debug.cleaning.stage import PlaceboRequest

    return PlaceboRequest(films, regions, how, seed)


def _request_decoys(films: Path, regions: Path, how: "CleaningParams", _seed: int) -> "Request":
    from covid_debug.cleaning.stage import DecoysRequest

    return DecoysRequest(films, regions, how)


def _request_marker(films: Path, regions: Path, how: "CleaningParams", _seed: int) -> "Request":
    from covid_debug.cleaning.stage import UniformMarkerRequest

    return UniformMarkerRequest(films, regions, how)


def _request_crop(films: Path, _regions: Path, _how: "CleaningParams", _seed: int) -> "Request":
    from covid_debug.cleaning.lung_crop import LungCropRequest

    return LungCropRequest(films)


def _request_swapped(films: Path, regions: Path, how: "CleaningParams", seed: int) -> "Request":
    from covid_debug.cleaning.swapped import SwapRequest

    return SwapRequest(films, regions, how, seed)


VERSIONS: Final[Mapping[str, Version]] = {
    CLEANED_ARM: Version("Clean: COVIDx++", _request_cleaned),
    "placebo": Version("Clean as much elsewhere: the placebo", _request_placebo),
    "decoys": Version("Clean, and fill as much on every film: decoys", _request_decoys),
    "uniform_marker": Version("Clean, and draw one marker on every film", _request_marker),
    "lung_crop": Version("Blank all but the lungs", _request_crop, needs_text=False),
    SWAPPED_TEST: Version("Exchange the text of the test films", _request_swapped),
}
"""Name -> version of the films; ``swapped`` holds test films only."""

ARMS: Final[Mapping[str, Arm]] = {
    BASE_ARM: Arm(),
    CLEANED_ARM: Arm(CLEANED_ARM),
    "placebo": Arm("placebo"),
    "decoys": Arm("decoys"),
    "uniform_marker": Arm("uniform_marker", sees="uniform_marker"),
    "lung_crop": Arm("lung_crop", sees="lung_crop"),
    "random_text": Arm(training={"random_text": 1.0}),
    "balanced_sources": Arm(training={"sampling": "source"}),
    "group_dro": Arm(training={"sampling": "source", "objective": "group_dro"}),
    "last_layer": Arm(training={"last_layer": True}),
    "right_reasons": Arm(training={"right_reasons": 0.1}),
    "matched_sources": Arm(training={"sampling": "source", "matching": 0.3}),
}
ARM_NAMES: Final = tuple(ARMS)
TEST_NAMES: Final = (CLEANED_ARM, "placebo", "decoys", SWAPPED_TEST)
"""Versions of the test films that a run may be tested on, besides the original ones."""


def arm_training(training: "TrainingParams", arm: str) -> "TrainingParams":
    """Return the recipe of an arm: the run's, with the arm's own countermeasure against shortcuts.

    Args:
        training: The run's recipe, the same for every arm.
        arm: Name in :data:`ARMS`.
    """
    changes: dict[str, Any] = dict(ARMS[arm].training)
    return replace(training, mitigation=replace(training.mitigation, **changes))
