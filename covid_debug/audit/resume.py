"""What a killed audit had finished: answers and maps by film, kept beside the artifact.

Owns the lines; the file belongs to :mod:`covid_debug.journal`. An audit of the same model, films,
text and parameters goes on from them and ends with the same bytes.
"""

import base64
import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import artifact_key, canonical_json
from covid_debug.audit.artifact import SaliencyEvidence
from covid_debug.audit.case import Case, Explained
from covid_debug.audit.planning import AuditSubject
from covid_debug.audit.verdicts import Evidence
from covid_debug.journal import Journal
from covid_debug.models.classifier import Classifier
from covid_debug.records_json import parse_plain, to_plain

_VERSION = 3  # of what is computed for a film


@dataclass(frozen=True, slots=True)
class _Answers:
    evidence: Evidence
    text_area_share: float
    n_border_matched: int


@dataclass(frozen=True, slots=True)
class _Map:
    evidence: SaliencyEvidence
    side: int
    float16: str


class FinishedFilms:
    """The films of one audit that are done; what failed is tried again."""

    def __init__(self, out: Path, subject: AuditSubject) -> None:
        """Open what an earlier start left, or begin.

        Args:
            out: The artifact that is being made.
            subject: What is audited; another subject finds nothing.

        Raises:
            ArtifactError: If the file cannot be read or written.
        """
        place = out.with_name(f".{out.name}.{_identify(subject)}.partial")
        place.parent.mkdir(parents=True, exist_ok=True)
        for stale in place.parent.glob(f".{glob.escape(out.name)}.films-*.partial"):
            if stale != place:
                stale.unlink(missing_ok=True)
        self._journal = Journal(place, "name")

    def restore(self, case: Case) -> bool:
        """Fill in the answers of a film, and tell whether there were any."""
        name = f"film {case.film.image_id}"
        if name not in self._journal:
            return False
        found = parse_plain(self._journal[name]["value"], _Answers)
        case.evidence = found.evidence
        case.text_area_share = found.text_area_share
        case.n_border_matched = found.n_border_matched
        return True

    def add(self, case: Case) -> None:
        """Keep the answers of a film."""
        if case.evidence is not None:
            value = _Answers(case.evidence, case.text_area_share, case.n_border_matched)
            self._journal.add({"name": f"film {case.film.image_id}", "value": to_plain(value)})

    def restore_maps(self, group: Sequence[Case], method: str) -> dict[str, Explained] | None:
        """Return a method's maps of films explained together, or None if one is missing."""
        found: dict[str, Explained] = {}
        for case in group:
            name = _name_map(case.film.image_id, method)
            if name not in self._journal:
                return None
            kept = parse_plain(self._journal[name]["value"], _Map)
            pixels = np.frombuffer(base64.b64decode(kept.float16), np.float16)
            found[case.film.image_id] = (kept.evidence, pixels.reshape(-1, kept.side))
        return found

    def add_maps(self, explained: dict[str, Explained], method: str) -> None:
        """Keep a method's maps of films that were explained together."""
        for image_id, result in explained.items():
            if not isinstance(result, str):
                evidence, saliency = result
                value = _Map(evidence, saliency.shape[1], _encode(saliency))
                name = _name_map(image_id, method)
                self._journal.add({"name": name, "value": to_plain(value)})

    def discard(self) -> None:
        """Delete the file, once the artifact stands."""
        self._journal.path.unlink(missing_ok=True)


def _name_map(image_id: str, method: str) -> str:
    return f"map {method} {image_id}"


def _encode(saliency: NDArray[np.float16]) -> str:
    return base64.b64encode(np.ascontiguousarray(saliency).tobytes()).decode()


def _identify(subject: AuditSubject) -> str:
    classifier = subject.model.classifier
    how = [subject.params, subject.run_seed, subject.model.view, classifier.class_names]
    texts = [subject.regions.get(film.image_id) for film in subject.films]
    digest = hashlib.sha256(canonical_json([to_plain(each) for each in texts]).encode())
    films = [(film.image_id, film.sha256) for film in subject.films]
    return artifact_key(
        "films", _VERSION, how, [_hash_weights(classifier), digest.hexdigest(), films]
    )


def _hash_weights(classifier: Classifier) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(classifier.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()
