"""What a run's configuration file may say.

Composes the requests and parameter classes that live beside their algorithms; adds no numbers of
its own to them.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from covid_debug.audit.planning import AuditParams
from covid_debug.cleaning.arms import ARM_NAMES, CLEANED_ARM, MADE_ARMS
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.proof import ProofParams
from covid_debug.data.stage import Count, CovidxData, PhantomData, Seed, SourceData
from covid_debug.errors import ConfigError
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.text.stage import TextParams
from covid_debug.training.params import TrainingParams

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


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
        n_workers: Processes of detection and cleaning, threads that read films; no result depends
            on it.
        max_failed_share: The run stops when more than this share of the films fails in a stage.
    """

    device: str = "cpu"
    n_workers: Count = 2
    max_failed_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05


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
        arms: Training sets that are compared; ``"original"`` is required.
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
    data: Annotated[PhantomData | SourceData | CovidxData, Field(discriminator="kind")]
    seeds: tuple[Seed, ...] = (0,)
    run_seed: Seed = 0
    arms: tuple[str, ...] = ("original", "cleaned")
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
            ConfigError: If the name is no name of a folder, seeds repeat or the arms lack the
                original.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"name = {self.name!r}: expected letters, digits, '-', '_' and '.', at most 100,"
                " the first one a letter, a digit or '_'"
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds = {list(self.seeds)}: expected at least one, all different")
        known = set(self.arms) <= set(ARM_NAMES)
        if not known or BASE_ARM not in self.arms or len(set(self.arms)) != len(self.arms):
            raise ConfigError(
                f"arms = {list(self.arms)}: expected {BASE_ARM!r} and any of"
                f" {', '.join(MADE_ARMS)}, once"
            )

    @property
    def made_arms(self) -> tuple[str, ...]:
        """Versions of the films that the run makes: its arms, and the cleaned films to test on."""
        return tuple(arm for arm in MADE_ARMS if arm == CLEANED_ARM or arm in self.arms)

    def without_places(self) -> dict[str, Any]:
        """Return what decides the results: everything but folders, tracking and processes."""
        tree = dataclasses.asdict(self)
        for name in ("data_dir", "reports_dir", "tracking", "compute"):
            del tree[name]
        return tree
