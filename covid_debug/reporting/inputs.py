"""What the report is made from.

Names the artifacts and tables and their keys; reads no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covid_debug.imaging.geometry import ViewSpec

Row = Mapping[str, Any]


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
        comparison: Rows with ``train_data, test_data, seed, class_name, metric, value, low, high,
            n``; ``class_name`` is ``"all"`` for accuracy and macro_f1, undefined values are None;
            ``seed`` is ``"pooled"`` for rows over all seeds, which the tables show.
            Test data named ``text_free`` or ``text_swapped`` are counterfactual films of a phantom.
        contrasts: Arms minus the original arm: ``train_data, test_data`` and ``pooled``, entries
            over all seeds with ``class_name, metric, mean, low, high, n, mcnemar_p, verdict``, as
            ``comparison.json`` holds them.
        confusions: ``train_data, test_data, seed, class_names, matrix`` (rows are the true class).
        baselines: Models that see no lung: ``name, description, value, low, high, n, chance``
            (accuracy on the test films; ``chance`` is the share of the commonest label).
        calibration: The audit against the phantom's truth: ``precision`` and ``recall``
            (``Estimate.to_json()``), ``n_audited, n_flagged, n_changed`` and ``definition``, one
            sentence that says what counts as changed; None for real films.
        config: The run's configuration.
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
    comparison: Sequence[Row] = ()
    contrasts: Sequence[Row] = ()
    confusions: Sequence[Row] = ()
    baselines: Sequence[Row] = ()
    calibration: Row | None = None
    config: Row = field(default_factory=dict)
    command: str = ""
    max_cards: int = 200
