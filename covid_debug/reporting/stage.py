"""The last stage: the run's folder with the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import artifact_key
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.reporting.report import build_report
from covid_debug.reporting.summary import REPORT_KIND
from covid_debug.stages import Means, Request


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Request):
    """Write report.html, the tables and the figures of a run.

    Attributes:
        title: Name of the run; first part of the folder's name.
        filmset: The original films; what ingesting found, kept with them, is shown.
        regions: Artifact of their text.
        view: What the model sees of a film.
        cleaned: The cleaned films, or None.
        audit: Artifact of the audit whose films are shown, or None.
        audits: Arm and training seed -> audit of that model; the one above is among them.
        comparison: Artifact of the comparison, or None. Test data named ``text_free`` or
            ``text_swapped`` are counterfactual films of a phantom.
        confounds: Artifact of the models that see no lung, or None.
        calibration: Artifact of the flags against known truth, or None.
        proof: Artifact of the proof of cleaning, or None.
        transfer: Artifact of the markers laid on films of other sources, or None.
        shortcuts: Artifact of the shortcut map, or None.
        config: What the run was made with.
        command: Command line that makes the run again; decides no result.
        remarks: What a check of the audited model found, each a sentence without its stop; they
            follow from the inputs.
    """

    title: str
    filmset: Path
    regions: Path
    view: ViewSpec
    cleaned: Path | None = None
    audit: Path | None = None
    audits: Mapping[tuple[str, int], Path] = field(default_factory=dict)
    comparison: Path | None = None
    confounds: Path | None = None
    calibration: Path | None = None
    proof: Path | None = None
    transfer: Path | None = None
    shortcuts: Path | None = None
    config: object = None
    command: str = field(default="", compare=False)
    remarks: tuple[str, ...] = field(default=(), compare=False)

    stage: ClassVar[str] = REPORT_KIND
    makes: ClassVar[str] = REPORT_KIND
    code_version: ClassVar[int] = 18

    def parameters(self) -> object:
        """Return what the run was made with."""
        return self.config

    def inputs(self) -> dict[str, str]:
        """Return what the report is about; the films and regions are behind it."""
        places = {
            "audit": self.audit,
            "comparison": self.comparison,
            "confounds": self.confounds,
            "calibration": self.calibration,
            "proof": self.proof,
            "transfer": self.transfer,
            **{f"audit/{arm}/{seed}": path for (arm, seed), path in self.audits.items()},
            "shortcuts": self.shortcuts,
        }
        return {role: place.name for role, place in places.items() if place is not None}

    def key(self) -> str:
        """Return the folder's name, which starts with the run's."""
        return artifact_key(self.title, self.code_version, self.parameters(), self.inputs())

    def make(self, out: Path, means: Means) -> Path:
        """Write the folder and return the path of ``report.html``."""
        return build_report(out, self, means.n_workers)
