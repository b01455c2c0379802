"""The arms: on which version of the films a classifier trains, and how that version is made.

An arm is added here, with its request, and nowhere else. Names alone load no stage.
"""

# ruff: noqa: PLC0415

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from covid_debug.evaluation.comparison import BASE_ARM

if TYPE_CHECKING:
    from covid_debug.cleaning.film import CleaningParams
    from covid_debug.stages import Request

CLEANED_ARM: Final = "cleaned"


@dataclass(frozen=True)
class Arm:
    """A version of the films that is made from the original ones.

    Attributes:
        title: What making it is called on the terminal.
        request: Makes it, from films, regions, how to clean and the run's seed.
    """

    title: str
    request: "Callable[[Path, Path, CleaningParams, int], Request]"


def _request_cleaned(films: Path, regions: Path, how: "CleaningParams", _seed: int) -> "Request":
    from covid_debug.cleaning.stage import CleanRequest

    return CleanRequest(films, regions, how)


def _request_placebo(films: Path, regions: Path, how: "CleaningParams", seed: int) -> "Request":
    from covid_debug.cleaning.stage import PlaceboRequest

    return PlaceboRequest(films, regions, how, seed)


MADE_ARMS: Final[Mapping[str, Arm]] = {
    CLEANED_ARM: Arm("Clean: COVIDx++", _request_cleaned),
    "placebo": Arm("Clean as much elsewhere: the placebo", _request_placebo),
}
ARM_NAMES: Final = (BASE_ARM, *MADE_ARMS)
