"""The audit artifact as the report reads it, one record a film.

Owns reading ``verdicts.jsonl``; the verdicts themselves are made by :mod:`covid_debug.audit`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import read_manifest
from covid_debug.errors import ArtifactError

# Severity order: what a reviewer should see first.
VERDICTS = ("text_driven", "text_sensitive", "inconclusive", "not_text_driven")
VERDICT_NAMES = {
    "text_driven": "Driven by text",
    "text_sensitive": "Sensitive to text",
    "inconclusive": "Inconclusive",
    "not_text_driven": "Not driven by text",
}
# What the audit shows instead of a removed film: (all of it, as a ground for what is left).
BASELINE_NAMES = {
    "blur": ("blurred", "a blurred film"),
    "black": ("black", "a black picture"),
    "gray": ("gray", "a gray picture"),
    "white": ("white", "a white picture"),
}
UNKNOWN_BASELINE = ("removed", "an empty picture")


@dataclass(frozen=True, slots=True)
class AuditedFilm:
    """One line of ``verdicts.jsonl``; ``record`` holds it as written."""

    record: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401  foreign JSON
        """Return a value of the line, None where it is missing."""
        return self.record.get(key)

    @property
    def image_id(self) -> str:
        """Identity of the film."""
        return str(self.record["image_id"])

    @property
    def verdict(self) -> str:
        """Verdict of the audit."""
        return str(self.record["verdict"])

    @property
    def interventions(self) -> Mapping[str, Any]:
        """Probabilities of the target class after each intervention."""
        values: Mapping[str, Any] = self.record["interventions"]
        return values

    @property
    def drop(self) -> float:
        """Probability of the target class that goes away with the text; NaN where untested."""
        removed = self.interventions["text_removed"]
        return math.nan if removed is None else float(self.record["probability"] - removed)

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sort key: most severe verdict first, then the largest drop."""
        place = VERDICTS.index(self.verdict) if self.verdict in VERDICTS else len(VERDICTS)
        return place, math.inf if math.isnan(self.drop) else -self.drop, self.image_id


def read_verdicts(folder: Path) -> tuple[AuditedFilm, ...]:
    """Read the verdicts of an audit.

    Args:
        folder: Artifact of kind ``"audit"``.

    Returns:
        The films, most severe first.

    Raises:
        ArtifactError: If the artifact is missing, broken or of another kind.
    """
    read_manifest(folder, kind="audit")
    path = folder / "verdicts.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        films = [AuditedFilm(json.loads(line)) for line in lines if line.strip()]
        return tuple(sorted(films, key=lambda film: film.rank))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: has a line that is not a verdict ({error!r}); make the audit again"
        ) from error


def read_audit_counts(folder: Path) -> dict[str, Any]:
    """Return the audit's own ``summary.json``.

    Raises:
        ArtifactError: If the file is missing or broken.
    """
    path = folder / "summary.json"
    try:
        counts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: is not readable; make the audit again") from error
    return counts


def read_map(folder: Path, image_id: str) -> NDArray[np.float32] | None:
    """Return the saliency map of a film, ``(S, S)``, or None where none was made.

    Raises:
        ArtifactError: If the file is broken.
    """
    path = folder / "maps" / f"{image_id}.npy"
    if not path.is_file():
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: is not a saliency map; make the audit again") from error
