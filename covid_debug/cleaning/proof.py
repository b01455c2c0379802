"""Proof that a cleaned data set is clean: verification, residual text and scars, one artifact.

Owns the artifact; each part belongs to its own module.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from covid_debug.artifacts import write_artifact
from covid_debug.cleaning.provenance import write_decisions
from covid_debug.cleaning.residual import ResidualScan, Scan, scan_residual
from covid_debug.cleaning.scar import ProbeParams, ScarProbe, probe_scars
from covid_debug.cleaning.verify import Verification, verify_cleaned
from covid_debug.data.filmset import FilmSet
from covid_debug.evaluation.statistics import Estimate

Progress = Callable[[int, int], None]
PROOF_NAME: Final = "PROOF.md"


@dataclass(frozen=True, slots=True)
class CleaningProof:
    """All that is known about how clean a data set is.

    Attributes:
        verification: Is every file what the manifest says?
        residual: What another detector still sees.
        scars: What a probe sees of the fills.
    """

    verification: Verification
    residual: ResidualScan
    scars: ScarProbe

    def to_markdown(self) -> str:
        """Return the proof as a short page."""
        residual, scars = self.residual, self.scars
        kind = "" if residual.is_independent else " (not independent)"
        lines = [
            "# Proof of cleaning",
            "",
            f"- {self.verification.describe()}",
            f"- residual text, seen by {residual.detector}{kind}: {_percent(residual.share)} of"
            f" films; at cleaned places {_percent(residual.share_in_filled)};"
            f" {residual.n_failed} films could not be scanned",
            f"- scar probe, AUC of filled against untouched patches: {_auc(scars.patch_auc)}"
            f" ({scars.n_filled} against {scars.n_untouched} patches)",
            "",
            "| class | residual text | AUC from the masks alone |",
            "|---|---:|---:|",
        ]
        lines += [
            f"| {name} | {_percent(residual.by_class[name])} | {_auc(scars.class_auc[name])} |"
            for name in residual.by_class
        ]
        flags = (*residual.flags, *scars.flags)
        lines += ["", *(f"- **{flag.severity}** {flag.message}" for flag in flags), ""]
        lines.append("AUC: 0.5 is chance, 1 is certainty; held-out patients, 95 % intervals.")
        return "\n".join(lines) + "\n"


def prove_cleaning(
    cleaned: FilmSet,
    original: FilmSet,
    scan: Scan,
    detector: str,
    out: Path,
    *,
    params: ProbeParams | None = None,
    inputs: Mapping[str, str] | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
) -> CleaningProof:
    """Verify, scan again and probe a cleaned data set; keep it as a ``cleaning-proof``.

    Args:
        cleaned: A cleaned data set.
        original: The data set that it was made from.
        scan: The second detector, see :func:`covid_debug.cleaning.residual.scan_residual`.
        detector: Its name.
        out: Folder to write; must not exist.
        params: How to probe for scars.
        inputs: Name -> key of the artifacts that went in, for the manifest.
        n_workers: Processes.
        progress: Called with (films done, films in total), for verification and probe in turn.

    Returns:
        The proof; also written as ``proof.json`` and ``PROOF.md``, and what is left as ``add``
        decisions for a second build in ``decisions.jsonl``.

    Raises:
        ArtifactError: If ``out`` exists, cannot be written, or ``cleaned`` is no cleaned data set.
        DataIntegrityError: If its provenance cannot be read.
        InputContractError: If the scan leaves films out.
    """
    params = params or ProbeParams()
    with write_artifact(out, kind="cleaning-proof", parameters=params, inputs=inputs) as draft:
        verification = verify_cleaned(
            cleaned.root, original, n_workers=n_workers, progress=progress
        )
        proof = CleaningProof(
            verification,
            scan_residual(cleaned, scan, detector),
            probe_scars(cleaned, original, params, n_workers=n_workers, progress=progress),
        )
        content = {
            "verification": {
                "n_films": verification.n_films,
                "n_verified": verification.n_verified,
                "problems": list(verification.problems),
            },
            "residual": proof.residual.to_json(),
            "scars": proof.scars.to_json(),
        }
        text = json.dumps(content, indent=2, allow_nan=False)
        (draft.path / "proof.json").write_text(text + "\n", encoding="utf-8")
        (draft.path / PROOF_NAME).write_text(proof.to_markdown(), encoding="utf-8")
        write_decisions(draft.path, proof.residual.to_decisions())
        draft.facts.update(
            n_ok=verification.n_verified,
            n_total=verification.n_films,
            n_residual=len(proof.residual.films),
            patch_auc=proof.scars.patch_auc.to_json(),
        )
    return proof


def _percent(value: Estimate) -> str:
    if not value.is_defined:
        return "n/a"
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]"


def _auc(value: Estimate) -> str:
    if not value.is_defined:
        return f"n/a ({value.reason})"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
