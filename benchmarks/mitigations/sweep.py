"""Every arm on phantoms whose text goes with the class more and more strongly.

Owns films, trainings and answers, each kept and found again; what is made of the answers is in
``tables`` and ``figure``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from covid_debug.arms import ARMS, VERSIONS, arm_training
from covid_debug.cleaning.film import CleaningParams
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.phantom import TEXT_FREE, TEXT_SWAPPED, TRUTH_REGIONS_NAME
from covid_debug.data.stage import PhantomData
from covid_debug.errors import InputContractError, suggest
from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM
from covid_debug.evaluation.predictions import FilmPredictions, predict_test_films
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.stages import Means, find_or_make
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

OWN_TEXT: Final = "original"
STRENGTHS: Final = (0.5, 0.75, 0.9, 1.0)
TESTS: Final = (OWN_TEXT, TEXT_FREE, TEXT_SWAPPED)
DEFAULT_ARMS: Final = (
    *(BASE_ARM, CLEANED_ARM, "placebo", "random_text", "right_reasons"),
    *("balanced_sources", "group_dro", "matched_sources", "last_layer"),
)
Answers = dict[float, list[FilmPredictions]]


@dataclass(frozen=True)
class Sweep:
    """What is trained.

    Attributes:
        strengths: Shares of training patients whose site, and so whose text, is of their class.
        arms: Names in :data:`covid_debug.arms.ARMS`.
        seeds: Of the trainings.
        n_train: Films for training and validation.
        n_test: Test films; their text is independent of the class.
        film_seed: Of the films.
        image_size: Side in pixels that the models see.
        n_epochs: Epochs.
    """

    strengths: tuple[float, ...] = STRENGTHS
    arms: tuple[str, ...] = DEFAULT_ARMS
    seeds: tuple[int, ...] = (0, 1, 2)
    n_train: int = 300
    n_test: int = 150
    film_seed: int = 0
    image_size: int = 64
    n_epochs: int = 8

    @property
    def training(self) -> TrainingParams:
        """The recipe that the arms change."""
        return TrainingParams(arch="resnet18_half", n_epochs=self.n_epochs, precision="bf16-mixed")

    def __post_init__(self) -> None:
        """Check the arms.

        Raises:
            InputContractError: If one is unknown or cannot be tested on the generator's twins.
        """
        for name in self.arms:
            if name not in ARMS:
                raise InputContractError(
                    f"bench mitigations: {name!r} is no arm{suggest(name, ARMS)}"
                    f" (known: {', '.join(ARMS)})"
                )
            if ARMS[name].sees:
                raise InputContractError(
                    f"bench mitigations: models of {name!r} see films as {ARMS[name].sees}, and"
                    " the films' twins without text have no such version; leave it out"
                )


def run_sweep(sweep: Sweep, store: Path, means: Means) -> Iterator[Answers]:
    """Train and ask every model, one seed after the other.

    Args:
        sweep: What is trained.
        store: Folder of films and checkpoints; whatever is there already is not made again.
        means: How it is carried out.

    Yields:
        After each seed, all answers so far: strength -> answers of arms and seeds on own text,
        without text and with the text of another class.
    """
    answers: Answers = {strength: [] for strength in sweep.strengths}
    for seed in sweep.seeds:
        for strength in sweep.strengths:
            films = find_or_make(_choose_films(sweep, strength), store, means)
            tests = _load_tests(films)
            for arm in sweep.arms:
                checkpoint = _train(sweep, arm, seed, films, store, means)
                answers[strength] += [
                    predict_test_films(
                        load_checkpoint(checkpoint, device=means.device),
                        version,
                        arm=arm,
                        seed=seed,
                        test_data=test,
                        cache_dir=means.cache_dir,
                        n_workers=means.n_workers,
                    )
                    for test, version in tests.items()
                ]
                means.listener.say(f"seed {seed}, strength {strength:g}: {arm}")
        yield answers


def _choose_films(sweep: Sweep, strength: float) -> PhantomData:
    return PhantomData(
        "phantom",
        sweep.n_train,
        sweep.n_test,
        seed=sweep.film_seed,
        text_correlation=strength,
    )


def _load_tests(films: Path) -> Mapping[str, FilmSet]:
    filmset = load_filmset(films)
    return {OWN_TEXT: filmset, **load_counterfactuals(filmset)}


def _train(sweep: Sweep, arm: str, seed: int, films: Path, store: Path, means: Means) -> Path:
    training = arm_training(sweep.training, arm)

    def make(version: str) -> Path:
        regions = films / TRUTH_REGIONS_NAME
        request = VERSIONS[version].request(films, regions, CleaningParams(), sweep.film_seed)
        return find_or_make(request, store, means)

    shown = films if ARMS[arm].films == BASE_ARM else make(ARMS[arm].films)
    text_free = make(CLEANED_ARM) if training.mitigation.needs_text_free else None
    request = TrainRequest(shown, training, ViewSpec(sweep.image_size), seed, text_free=text_free)
    return find_or_make(request, store, means)
