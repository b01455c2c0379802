"""The stages of the audit: the audit, its power, its flags against known truth, and confounds."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import ArtifactDraft, write_artifact
from covid_debug.audit.artifact import AUDIT_KIND, Audit
from covid_debug.audit.calibration import (
    CALIBRATION_KIND,
    TEXT_FREE,
    FlagCalibration,
    calibrate,
    write_calibration,
)
from covid_debug.audit.confounds import (
    CONFOUNDS_KIND,
    Confound,
    compute_confounds,
    write_confounds,
)
from covid_debug.audit.inputs import choose_kinds, read_text_of
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams, AuditSubject, audited_classes
from covid_debug.audit.planting import (
    PlantingParams,
    PowerReport,
    measure_power,
    write_power,
)
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.predictions import predict_test_films
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.devices import describe_device
from covid_debug.models.factories import describe_factory, load_factory
from covid_debug.stages import Means, Request
from covid_debug.text.catalog import build_detector
from covid_debug.text.contents import build_content_reader
from covid_debug.text.scan import scan_films


@dataclass(frozen=True)
class AuditRequest(Request):
    """Test whether text drives the predictions on the test films.

    Attributes:
        checkpoint: The model.
        filmset: The films.
        regions: Artifact of the regions, or a file of JSON lines; None looks for text first, with
            the default detector.
        params: How to audit; a grid finer than the model's view becomes as coarse as that.
        run_seed: Every film's seed is derived from it.
        factory: ``"package.module:function"`` that builds the user's own network.
    """

    checkpoint: Path
    filmset: Path
    regions: Path | None
    params: AuditParams = field(default_factory=AuditParams)
    run_seed: int = 0
    factory: str | None = None

    stage: ClassVar[str] = AUDIT_KIND
    makes: ClassVar[str] = AUDIT_KIND
    code_version: ClassVar[int] = 11
    uses_device: ClassVar[bool] = True

    def parameters(self) -> object:
        """Return how to audit and the seed; where they are used, the detector and the factory."""
        detector = {} if self.regions is not None else {"text": build_detector().params}
        factory = describe_factory(self.factory)
        return {"audit": self.params, "seed": self.run_seed, **detector, **factory}

    def load(self, means: Means) -> AuditSubject:
        """Load model, films and text.

        Args:
            means: How the text is looked for, where it is.

        Returns:
            What is audited.

        Raises:
            DataIntegrityError: If the data set has no test films, or the text is that of others.
            InputContractError: If a shard is asked for, and no text is given.
        """
        if self.regions is None and means.shard is not None:
            raise InputContractError(
                f"audit: shard {means.shard} needs the text of all films; find it with detect-text"
                " (it has --shard, too) and give it with --regions"
            )
        filmset = load_filmset(self.filmset)
        films = filmset.select("test")
        if not films:
            raise DataIntegrityError(f"{self.filmset}: has no test films to audit")
        factory = load_factory(self.factory) if self.factory else None
        model = load_checkpoint(
            self.checkpoint,
            device=means.device,
            factory=factory,
            finding=self.params.target_class,
            classes=filmset.class_names,
        )
        # Before text is looked for on every film.
        model.classifier.require_classes(f"audit of {self.checkpoint}")
        audited_classes(model.classifier.class_names, self.params.target_class)
        grid = min(self.params.grid_size, *model.classifier.image_size)
        params = replace(self.params, grid_size=grid)
        if self.regions is not None:
            regions = read_text_of(films, self.regions, params.kinds)
            return AuditSubject(model, filmset, films, regions, params, self.run_seed)
        pairs = [(film.image_id, filmset.file_of(film)) for film in films]
        with means.listener.progress("text") as progress:
            lines = scan_films(
                pairs,
                contents=build_content_reader(),
                n_workers=means.n_workers,
                progress=progress,
            )
            found = choose_kinds({line.image: line for line in lines}, params.kinds)
        detect = build_detector().detect
        return AuditSubject(model, filmset, films, found, params, self.run_seed, detect)

    def make(self, out: Path, means: Means) -> Audit:
        """Load what is audited, and audit it."""
        return audit_filmset(self.load(means), out, means, inputs=self.inputs())


def plant(
    subject: AuditSubject,
    out: Path,
    means: Means,
    inputs: Mapping[str, str],
) -> PowerReport:
    """Plant text of known effect on the films of an audit: how often would it notice?

    Args:
        subject: What :meth:`AuditRequest.load` returned.
        out: Artifact of kind ``"audit_power"`` to write.
        means: How it is carried out.
        inputs: Names of the artifacts that went in.

    Returns:
        What planting showed.
    """
    planting = PlantingParams()
    n_plants = planting.n_films * len(planting.height_shares) * len(planting.contrasts)
    n_evaluations = n_plants * (4 + subject.params.n_nulls)
    means.listener.say(f"planting {n_plants} texts: {n_evaluations:,} model evaluations")
    with means.listener.progress("films with planted text") as progress:
        report = measure_power(subject, planting, progress)
    write_power(
        out,
        report,
        planting,
        run_seed=subject.run_seed,
        inputs=inputs,
        device=describe_device(means.device),
    )
    return report


@dataclass(frozen=True)
class CalibrationRequest(Request):
    """Hold an audit's flags against known truth, where the films have text-free twins.

    Attributes:
        audit: The audit.
        checkpoint: The audited model.
        filmset: The audited films.
    """

    audit: Path
    checkpoint: Path
    filmset: Path

    stage: ClassVar[str] = CALIBRATION_KIND
    makes: ClassVar[str] = CALIBRATION_KIND
    code_version: ClassVar[int] = 2

    def make(self, out: Path, means: Means) -> FlagCalibration | None:
        """Ask the model about the films and their twins, and count; None without twins."""
        original = load_filmset(self.filmset)
        twins = load_counterfactuals(original)
        answers = []
        if TEXT_FREE in twins:
            model = load_checkpoint(self.checkpoint, device=means.device)
            answers = [
                predict_test_films(
                    model,
                    films,
                    arm=BASE_ARM,
                    seed=0,
                    test_data=name,
                    cache_dir=means.cache_dir,
                    n_workers=means.n_workers,
                )
                for name, films in (("original", original), (TEXT_FREE, twins[TEXT_FREE]))
            ]
        found = calibrate(answers, self.audit)
        with _draft(self, out, means) as draft:
            write_calibration(draft.path, found)
        return found


@dataclass(frozen=True)
class ConfoundsRequest(Request):
    """Test models that never see a lung.

    Attributes:
        filmset: The films.
        regions: Artifact of the regions, or a file of JSON lines.
        view: What the compared models see of a film.
        seed: Of the bootstrap.
    """

    filmset: Path
    regions: Path
    view: ViewSpec = field(default_factory=ViewSpec)
    seed: int = 0

    stage: ClassVar[str] = CONFOUNDS_KIND
    makes: ClassVar[str] = CONFOUNDS_KIND
    code_version: ClassVar[int] = 3

    def make(self, out: Path, means: Means) -> tuple[Confound, ...]:
        """Fit every baseline on the training films and test it on the test films."""
        found = compute_confounds(
            load_filmset(self.filmset),
            read_regions(self.regions),
            seed=self.seed,
            view=self.view,
            cache_dir=means.cache_dir,
            n_workers=means.n_workers,
        )
        with _draft(self, out, means) as draft:
            write_confounds(draft.path, found)
        return found


def _draft(request: Request, out: Path, means: Means) -> AbstractContextManager[ArtifactDraft]:
    return write_artifact(
        out,
        kind=request.makes,
        parameters=request.parameters(),
        inputs=request.inputs(),
        device=describe_device(means.device),
    )
