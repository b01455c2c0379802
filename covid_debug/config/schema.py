"""What a run's configuration file may say.

Composes the requests and parameter classes that live beside their algorithms; adds no numbers of
its own to them.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from covid_debug.arms import (
    ARM_NAMES,
    ARMS,
    SWAPPED_TEST,
    TEST_NAMES,
    VERSIONS,
    arm_training,
)
from covid_debug.audit.planning import AuditParams
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.proof import ProofParams
from covid_debug.data.stage import Count, CovidxData, PhantomData, Seed, SourceData, TableData
from covid_debug.errors import ConfigError
from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM, UNSEEN_SOURCE
from covid_debug.evaluation.questions import QUESTION_NAMES
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.text.stage import TextParams
from covid_debug.training.params import TrainingParams

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TAKEN_TESTS = (BASE_ARM, *TEST_NAMES, "text_free", "text_swapped", UNSEEN_SOURCE)


@dataclass(frozen=True)
class TrackingParams:
    """Where results are tracked.

    Attributes:
        uri: MLflow tracking URI; None is an SQLite file ``mlflow.db`` in the working directory.
        experiment: MLflow experiment.
    """

    uri: str | None = None
    experiment: str = "covid_debug"


@dataclass(frozen=True)
class ComputeParams:
    """The machine.

    Attributes:
        device: Torch device, e.g. ``"cpu"`` or ``"cuda"``; never changed silently.
        devices: How many devices of that kind share each training, or processes of the CPU; they
            share every batch, so that no result depends on it but by the rounding of sums.
        n_workers: Processes of detection and cleaning, threads that read films; no result depends
            on it.
        runner: Who works on the films of a stage: ``n_workers`` processes of its own, as many
            threads of the run, or the workers of a Dask cluster. No result depends on it.
        address: Dask's scheduler, e.g. ``tcp://10.0.0.5:8786``; None starts a cluster of
            ``n_workers`` processes on this machine.
        max_failed_share: The run stops when more than this share of the films fails in a stage.
    """

    device: str = "cpu"
    devices: Count = 1
    n_workers: Count = 2
    runner: Literal["processes", "threads", "dask"] = "processes"
    address: str | None = None
    max_failed_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05

    def __post_init__(self) -> None:
        """Refuse an address that nobody would go to.

        Raises:
            ConfigError: If another runner than Dask has an address.
        """
        if self.address is not None and self.runner != "dask":
            raise ConfigError(
                f"compute.address is {self.address} and compute.runner is {self.runner!r}; expected"
                " dask, or no address"
            )

    def describe_runner(self) -> str:
        """Return in a few words who works on films."""
        if self.address is not None:
            return f"the Dask cluster at {self.address}"
        kind = "Dask workers" if self.runner == "dask" else self.runner
        return f"{self.n_workers} {kind} on this machine"


@dataclass(frozen=True)
class RunConfig:
    """One run of the debugging flow.

    Attributes:
        name: Names the run; first part of the report's folder. Letters, digits, ``-``, ``_`` and
            ``.``, at most 100, the first one no ``-`` or ``.``.
        data: Where the films come from.
        seeds: One training per arm and seed; the original model of the first one gets maps and
            the report's cards.
        run_seed: Of everything random that is no training: audit, placebo, proof, bootstrap,
            confounds.
        arms: What is compared: films and recipes of :data:`covid_debug.arms.ARMS`;
            ``"original"`` is required.
        tests: Versions of the test films that every model is tested on besides the original ones:
            any of ``cleaned``, ``placebo``, ``decoys``, ``swapped``. The known counterfactuals of
            phantoms are always there.
        leave_out_sources: Whether every arm and seed is also trained without each source and
            tested on it, or the sources for which this is done; multiplies the trainings.
        external: Name -> folder of a film set whose test films every model is tested on too; its
            classes may be some of the run's.
        questions: The primary questions, of
            :data:`covid_debug.evaluation.questions.QUESTION_NAMES`; only they get a verdict, and
            it is corrected for their number.
        audited_seeds: How many trainings of each arm are audited, the first ones; None is all. For
            those of the original arm markers are laid and the shortcut map is made.
        view: What the model sees of a film.
        text: Text detection.
        training: Recipe, the same for every arm.
        audit: Text interventions and iGOS++.
        cleaning: How text is removed.
        proof: How much of the cleaned films is scanned again and probed for scars.
        tracking: MLflow.
        compute: Device, processes, tolerated failures.
        data_dir: Folder of artifacts and caches.
        reports_dir: Folder of reports.
    """

    name: str
    data: Annotated[PhantomData | SourceData | CovidxData | TableData, Field(discriminator="kind")]
    seeds: tuple[Seed, ...] = (0,)
    run_seed: Seed = 0
    arms: tuple[str, ...] = (BASE_ARM, CLEANED_ARM)
    tests: tuple[str, ...] = (CLEANED_ARM, SWAPPED_TEST)
    leave_out_sources: bool | tuple[str, ...] = False
    external: Mapping[str, Path] = field(default_factory=dict)
    questions: tuple[str, ...] = QUESTION_NAMES
    audited_seeds: Count | None = None
    view: ViewSpec = field(default_factory=ViewSpec)
    text: TextParams = field(default_factory=TextParams)
    training: TrainingParams = field(default_factory=TrainingParams)
    audit: AuditParams = field(default_factory=AuditParams)
    cleaning: CleaningParams = field(default_factory=CleaningParams)
    proof: ProofParams = field(default_factory=ProofParams)
    tracking: TrackingParams = field(default_factory=TrackingParams)
    compute: ComputeParams = field(default_factory=ComputeParams)
    data_dir: Path = Path("data")
    reports_dir: Path = Path("reports")

    def __post_init__(self) -> None:
        """Refuse what no field alone can refuse.

        Raises:
            ConfigError: If the name is no name of a folder, seeds repeat, the arms lack the
                original or their films do not suit the recipe, or a test set or question is
                unknown.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"name = {self.name!r}: expected letters, digits, '-', '_' and '.', at most 100,"
                " the first one a letter, a digit or '_'"
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds = {list(self.seeds)}: expected at least one, all different")
        self._check_arms()
        self._check_tests()

    def _check_arms(self) -> None:
        known = set(self.arms) <= set(ARM_NAMES)
        if not known or BASE_ARM not in self.arms or len(set(self.arms)) != len(self.arms):
            others = ", ".join(name for name in ARM_NAMES if name != BASE_ARM)
            raise ConfigError(
                f"arms = {list(self.arms)}: expected {BASE_ARM!r} and any of {others}, once"
            )
        self._check_text_free()

    def _check_text_free(self) -> None:
        """Refuse recipes for which the cleaned films lack more, or other things, than text."""
        changed = [arm for arm in self.arms if ARMS[arm].films not in {BASE_ARM, CLEANED_ARM}]
        if self.training.mitigation.needs_text_free and changed:
            raise ConfigError(
                "training.mitigation: random_text and right_reasons take what the cleaned films"
                f" lack for text, and more than text differs in the films of {', '.join(changed)};"
                " leave these out, or use arms named random_text and right_reasons instead"
            )
        recipes = {arm: arm_training(self.training, arm).mitigation for arm in self.arms}
        asking = [arm for arm, recipe in recipes.items() if recipe.needs_text_free]
        if asking and (self.cleaning.decoy_sets or self.cleaning.uniform_marker):
            raise ConfigError(
                f"arms: {', '.join(asking)} take what the cleaned films lack for text, and with"
                " cleaning.decoy_sets or cleaning.uniform_marker they differ in more; leave"
                " those out, or use the arms decoys and uniform_marker"
            )

    def _check_tests(self) -> None:
        if not set(self.tests) <= set(TEST_NAMES) or len(set(self.tests)) != len(self.tests):
            raise ConfigError(
                f"tests = {list(self.tests)}: expected any of {', '.join(TEST_NAMES)}, once;"
                " the original films are always tested on"
            )
        is_known = set(self.questions) <= set(QUESTION_NAMES)
        if not is_known or len(set(self.questions)) != len(self.questions):
            raise ConfigError(
                f"questions = {list(self.questions)}: expected any of"
                f" {', '.join(QUESTION_NAMES)}, once"
            )
        for name in self.external:
            if not _NAME.fullmatch(name) or name in _TAKEN_TESTS:
                raise ConfigError(
                    f"external.{name}: expected a name of letters, digits, '-', '_' and '.' other"
                    f" than {', '.join(_TAKEN_TESTS)}"
                )

    @property
    def made_versions(self) -> tuple[str, ...]:
        """Versions of all films that the run makes: those of its arms, and the cleaned ones."""
        wanted = {CLEANED_ARM, *(ARMS[arm].films for arm in self.arms)}
        return tuple(name for name in VERSIONS if name in wanted)

    def choose_folds(self, possible: Collection[str]) -> tuple[str, ...]:
        """Return the sources that are left out, of those that can be."""
        wanted = self.leave_out_sources
        if isinstance(wanted, bool):
            return tuple(sorted(possible)) if wanted else ()
        return tuple(source for source in wanted if source in possible)

    @property
    def audited(self) -> tuple[tuple[str, int], ...]:
        """Arm and seed of every training that is audited."""
        seeds = self.seeds[: self.audited_seeds]
        return tuple((arm, seed) for arm in self.arms for seed in seeds)

    def without_places(self) -> dict[str, Any]:
        """Return what decides the results: everything but folders, tracking and processes."""
        tree = dataclasses.asdict(self)
        for name in ("data_dir", "reports_dir", "tracking", "compute"):
            del tree[name]
        return tree
