"""What the report is made from; reads no file."""

from dataclasses import dataclass
from pathlib import Path

from covid_debug.audit.calibration import FlagCalibration
from covid_debug.audit.confounds import Confound
from covid_debug.evaluation.comparison import Comparison
from covid_debug.imaging.geometry import ViewSpec


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything that one report shows.

    Attributes:
        title: Name of the run.
        filmset: Artifact of the original films; ``ingest_audit.json`` inside is shown.
        regions: ``regions.jsonl`` of the original films.
        view: What the model sees of a film.
        cleaned: Artifact of the cleaned films, or None.
        audit: Artifact of kind ``"audit"``, or None.
        proof: Artifact of kind ``"cleaning-proof"`` about ``cleaned``, or None.
        comparison: The comparison, or None. Test data named ``text_free`` or ``text_swapped`` are
            counterfactual films of a phantom.
        baselines: Models that see no lung.
        calibration: The audit against the phantom's truth; None for real films.
        config: The run's configuration as text.
        command: Command line that makes the run again.
        max_cards: At most this many films get a card; all of them are in ``flags.csv``.
    """

    title: str
    filmset: Path
    regions: Path
    view: ViewSpec
    cleaned: Path | None = None
    audit: Path | None = None
    proof: Path | None = None
    comparison: Comparison | None = None
    baselines: tuple[Confound, ...] = ()
    calibration: FlagCalibration | None = None
    config: str = ""
    command: str = ""
    max_cards: int = 200
