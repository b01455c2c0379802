"""Proof that a cleaned data set is clean: verification, residual text and scars, one artifact.

Owns the artifact; each part belongs to its own module.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from covid_debug.artifacts import check_absent, read_manifest, write_artifact
from covid_debug.cleaning.provenance import write_decisions
from covid_debug.cleaning.residual import ResidualScan, Scan, scan_residual
from covid_debug.cleaning.scar import ProbeParams, ScarProbe, draw_films, probe_scars
from covid_debug.cleaning.verify import Verification, make_again, sum_up_checks
from covid_debug.data.filmset import FilmSet
from covid_debug.evaluation.statistics import Estimate
from covid_debug.ranges import check_range
from covid_debug.records import Flag
from covid_debug.records_json import read_record, to_plain, write_record
from covid_debug.stages import Means

PROOF_KIND: Final = "cleaning-proof"
PROOF_NAME: Final = "PROOF.md"
_PROOF_JSON: Final = "proof.json"


@dataclass(frozen=True)
class ProofParams:
    """How much of a cleaned data set the main flow proves.

    Attributes:
        max_films: Films that are scanned again and probed, drawn at random, the classes alike; 0
            leaves the proof out.
    """

    max_films: int = 240

    def __post_init__(self) -> None:
        """Check the range."""
        check_range(self, "[0, inf)", "max_films")


@dataclass(frozen=True, slots=True)
class CleaningProof:
    """All that is known about how clean a data set is.

    Attributes:
        verification: Is every file what the manifest says? None where that was not asked.
        residual: What another detector still sees.
        scars: What a probe sees of the fills.
        n_total: Films of the data set.
    """

    verification: Verification | None
    residual: ResidualScan
    scars: ScarProbe
    n_total: int

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All findings."""
        return (*self.residual.flags, *self.scars.flags)

    @property
    def lines(self) -> tuple[str, ...]:
        """All results as lines of plain text."""
        done = self.verification
        return (*(() if done is None else (done.describe(),)), *self.describe())

    def describe(self) -> tuple[str, ...]:
        """Return the findings as lines of plain text, without the verification."""
        residual, scars = self.residual, self.scars
        kind = "" if residual.is_independent else " (not independent)"
        before = residual.share_before
        return (
            f"residual text, seen by {residual.detector}{kind} on {residual.n_scanned} of "
            f"{self.n_total} films: {_percent(residual.share)} of films"
            + (f" (before cleaning {_percent(before)})" if before.is_defined else "")
            + f"; at cleaned places {_percent(residual.share_in_filled)};"
            f" {residual.n_failed} films could not be scanned;"
            f" ink goes on outside a mask on {len(residual.incomplete)}",
            f"scar probe, AUC of filled against untouched patches: {_auc(scars.patch_auc)}"
            f" ({scars.n_filled} pairs of {scars.n_films} films; untouched against untouched, which"
            f" should be 0.5: {_auc(scars.calibration_auc)})",
            "class from number, size and place of the fills, AUC: "
            + ", ".join(f"{name} {_auc(value)}" for name, value in scars.class_auc.items()),
        )

    def to_markdown(self) -> str:
        """Return the proof as a short page."""
        residual, scars = self.residual, self.scars
        lines = [
            "# Proof of cleaning",
            "",
            *(f"- {line}" for line in self.lines),
            "",
            "| class | text before | residual text | at cleaned places | AUC from the masks |",
            "|---|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {name} | "
            + " | ".join(
                _percent(shares[name]) if name in shares else ""
                for shares in (
                    residual.by_class_before,
                    residual.by_class,
                    residual.by_class_in_filled,
                )
            )
            + f" | {_auc(scars.class_auc[name])} |"
            for name in residual.by_class
        ]
        lines += ["", *(f"- **{flag.severity}** {flag.message}" for flag in self.flags), ""]
        lines.append("AUC: 0.5 is chance, 1 is certainty; held-out patients, 95 % intervals.")
        return "\n".join(lines) + "\n"


def prove_cleaning(
    cleaned: FilmSet,
    original: FilmSet,
    scan: Scan,
    detector: str,
    out: Path,
    *,
    members: Collection[str] = (),
    made_with: Collection[str] = (),
    params: ProbeParams | None = None,
    is_sample: bool = False,
    inputs: Mapping[str, str] | None = None,
    means: Means | None = None,
) -> CleaningProof:
    """Verify, scan again and probe a cleaned data set; keep it as a ``cleaning-proof``.

    The second detector is also asked what it sees on the originals: one that is blind to this
    text proves nothing. Scanning and making films again go film by film, in shards and after a
    kill alike; the probe is of all.

    Args:
        cleaned: A cleaned data set.
        original: The data set that it was made from.
        scan: The second detector, see :func:`covid_debug.cleaning.residual.scan_residual`.
        detector: Its name.
        out: Folder to write; must not exist.
        members: Detectors that take part in it; empty means itself alone.
        made_with: Detectors known to have found what was cleaned.
        params: How to probe for scars.
        is_sample: Look at ``params.max_films`` films only, the same for text and scars, and leave
            out the verification.
        inputs: Name -> key of the artifacts that went in, for the manifest.
        means: How it is carried out; None works in this process.

    Returns:
        The proof; also written as ``proof.json`` and ``PROOF.md``, and what is left as ``add``
        decisions for a second build in ``decisions.jsonl``.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        ArtifactError: If ``out`` exists, cannot be written, or ``cleaned`` is no cleaned data set.
        DataIntegrityError: If its provenance cannot be read.
        InputContractError: If the scan leaves films out.
    """
    check_absent(out)
    params, means = params or ProbeParams(), means or Means(n_workers=1)
    part = draw_films(cleaned, params.max_films, params.seed) if is_sample else cleaned
    residual = scan_residual(
        part, scan, detector, original=original, members=members, made_with=made_with
    )
    checks = None if is_sample else make_again(cleaned.root, original, out, means)
    verification = None if checks is None else sum_up_checks(cleaned.root, original, checks)
    with means.listener.progress("probed films") as progress:
        scars = probe_scars(part, original, params, n_workers=means.n_workers, progress=progress)
    proof = CleaningProof(verification, residual, scars, len(cleaned.films))
    with write_artifact(out, kind=PROOF_KIND, parameters=params, inputs=inputs) as draft:
        write_proof(draft.path, proof)
        write_decisions(draft.path, proof.residual.to_decisions())
        draft.facts.update(
            n_ok=residual.n_scanned,
            n_total=len(cleaned.films),
            n_residual=len(proof.residual.films),
            patch_auc=to_plain(proof.scars.patch_auc),
        )
    if checks is not None:
        checks.remove()
    return proof


def write_proof(folder: Path, proof: CleaningProof) -> None:
    """Write ``proof.json`` and ``PROOF.md`` into a folder that is being filled."""
    # Lines and flags follow from the rest: they are written for readers, not read back.
    values = to_plain(proof) | to_plain({"lines": proof.lines, "flags": proof.flags})
    order = ("n_total", "lines", "flags", "verification", "residual", "scars")
    write_record(folder / _PROOF_JSON, {name: values[name] for name in order})
    (folder / PROOF_NAME).write_text(proof.to_markdown(), encoding="utf-8")


def load_proof(folder: Path) -> CleaningProof:
    """Load a proof of cleaning.

    Args:
        folder: Artifact of kind ``"cleaning-proof"``.

    Returns:
        The proof as written.

    Raises:
        ArtifactError: If the folder is no readable proof.
    """
    read_manifest(folder, kind=PROOF_KIND)
    return read_record(
        folder / _PROOF_JSON,
        CleaningProof,
        broken="is not a readable proof",
        remedy="prove the cleaning again",
    )


def _percent(value: Estimate) -> str:
    if not value.is_defined:
        return "n/a"
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]"


def _auc(value: Estimate) -> str:
    if not value.is_defined:
        return f"n/a ({value.reason})"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
