"""The stage of marker transfer: models and films in, effects with intervals out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import write_artifact
from covid_debug.audit.inputs import check_seeds, read_text_of
from covid_debug.audit.transfer import TransferParams, TransferSubject, lay_markers
from covid_debug.audit.transfer_effects import compute_effects
from covid_debug.audit.transfer_record import TRANSFER_KIND, MarkerTransfer, write_transfer
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.devices import describe_device
from covid_debug.models.factories import describe_factory, load_factory
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means, Request, name_input


@dataclass(frozen=True)
class TransferRequest(Request):
    """Lay markers of every source on films of the others, and ask the models.

    Attributes:
        checkpoints: The models; several are seeds of one training.
        filmset: The films; those of the test split are used.
        regions: Artifact of the regions, or a file of JSON lines.
        params: How markers are taken and laid.
        run_seed: Every film's seed is derived from it.
        factory: ``"package.module:function"`` that builds the user's own network.
    """

    checkpoints: tuple[Path, ...]
    filmset: Path
    regions: Path
    params: TransferParams = field(default_factory=TransferParams)
    run_seed: int = 0
    factory: str | None = None

    stage: ClassVar[str] = TRANSFER_KIND
    makes: ClassVar[str] = TRANSFER_KIND
    code_version: ClassVar[int] = 4
    uses_device: ClassVar[bool] = True

    def parameters(self) -> object:
        """Return how markers are laid, the seed, the order of the models and their factory."""
        factory = describe_factory(self.factory)
        order = [path.name for path in self.checkpoints]
        return {"transfer": self.params, "seed": self.run_seed, "order": order, **factory}

    def inputs(self) -> dict[str, str]:
        """Return films, text and models."""
        models = {f"checkpoint/{i}": path for i, path in enumerate(self.checkpoints)}
        places = {"filmset": self.filmset, "regions": self.regions, **models}
        return {role: name_input(path) for role, path in places.items()}

    def load(self, means: Means) -> TransferSubject:
        """Load models, films and text.

        Args:
            means: On which device.

        Returns:
            Who gives, who takes and who is asked.

        Raises:
            DataIntegrityError: If the data set has no test films, or the text is that of others.
            InputContractError: If a checkpoint is named twice.
        """
        check_seeds("transfer", self.checkpoints)
        filmset = load_filmset(self.filmset)
        films = filmset.select("test")
        if not films:
            raise DataIntegrityError(f"{self.filmset}: has no test films to lay markers on")
        build = load_factory(self.factory) if self.factory else None
        models = {
            folder.name: load_checkpoint(folder, device=means.device, factory=build)
            for folder in self.checkpoints
        }
        regions = read_text_of(films, self.regions)
        return TransferSubject(models, filmset, films, regions, self.params, self.run_seed)

    def make(self, out: Path, means: Means) -> MarkerTransfer:
        """Load what is needed, and lay the markers."""
        return transfer_markers(self.load(means), out, means, self)


def transfer_markers(
    subject: TransferSubject, out: Path, means: Means, request: Request
) -> MarkerTransfer:
    """Lay native markers on films of other sources and measure what the models make of it.

    Args:
        subject: Models and films.
        out: Artifact of kind ``"marker-transfer"`` to write.
        means: How it is carried out; the number of model evaluations is said before they start.
        request: What was asked for, for the manifest.

    Returns:
        The effects, as written.

    Raises:
        InputContractError: If there is no model, or the models differ in views or classes.
        ArtifactError: If the result cannot be written.
    """
    layings, failed = lay_markers(subject, means)
    class_names = tuple(next(iter(subject.models.values())).classifier.class_names)
    seed = derive_seed(subject.run_seed, "transfer_effects")
    result = MarkerTransfer(
        checkpoints=tuple(subject.models),
        class_names=class_names,
        n_films=len(subject.films),
        n_marked=len(layings.films),
        n_layings=len(layings.donors),
        n_evaluations=2 * (len(layings.films) + len(layings.donors)) * len(subject.models),
        failed=failed,
        effects=compute_effects(layings, class_names, seed=seed),
    )
    with write_artifact(
        out,
        kind=TRANSFER_KIND,
        parameters=request.parameters(),
        inputs=request.inputs(),
        device=describe_device(means.device),
    ) as draft:
        write_transfer(draft.path, result, layings)
        draft.facts["n_total"] = len(layings.films) + len(failed)
        draft.facts["n_ok"] = len(layings.films)
    return result
