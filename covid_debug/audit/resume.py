"""What an audit keeps of each film as soon as it is done: answers and maps, beside the artifact.

Owns the records; who writes them and who reads them belongs to :mod:`covid_debug.stages`. An audit
of the same model, films, text and parameters goes on from them and ends with the same bytes.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covid_debug.artifacts import artifact_key, canonical_json
from covid_debug.audit.artifact import SaliencyEvidence
from covid_debug.audit.case import Case, Explained, Predicted
from covid_debug.audit.planning import AuditSubject
from covid_debug.audit.verdicts import Evidence
from covid_debug.models.checkpoint import hash_weights
from covid_debug.records_json import parse_plain, to_plain
from covid_debug.shards import NAME, Record, Records
from covid_debug.stages import FILES, Means, has_its_files, keep_file, work_on_films

_VERSION = 4  # of what is computed for a film
_ERROR = "error"  # tried again by the next start
_LOST = "lost"  # no worker survived it; not tried again
_VALUE = "value"


@dataclass(frozen=True, slots=True)
class _Answers:
    evidence: Evidence
    text_area_share: float
    n_border_matched: int


@dataclass(frozen=True, slots=True)
class _Maps:
    evidence: Mapping[str, SaliencyEvidence]
    missing: Mapping[str, str]


class Parts:
    """The parts of one audit, each of them film by film, the next one when all films are done."""

    def __init__(self, out: Path, subject: AuditSubject, means: Means) -> None:
        """Name the work.

        Args:
            out: The artifact that is being made.
            subject: What is audited; another subject finds nothing of this one.
            means: How it is carried out.
        """
        self._out, self._means = out, means
        self._content = _identify(subject)
        self._done: list[Records] = []

    def work(
        self,
        title: str,
        names: Sequence[str],
        work: Callable[[Sequence[str], Path], Iterator[Record]],
        decided: object = None,
        *,
        is_last: bool = False,
    ) -> Records:
        """Do a part, see :func:`covid_debug.stages.work_on_films`.

        Args:
            title: What is counted; its last word names the part.
            names: All names of the part.
            work: Makes the records.
            decided: What earlier parts decided about this one.
            is_last: Whether no part follows.

        Returns:
            The records; what failed on a film is tried again by the next start.

        Raises:
            ShardFinished: If a shard did its part, and others or a later part are to follow.
        """
        key = artifact_key(title.rsplit(maxsplit=1)[-1], _VERSION, decided, self._content)
        self._done.append(
            work_on_films(
                self._out,
                key,
                names,
                work,
                self._means,
                title=title,
                refuse=lambda name, reason: {NAME: name, _LOST: reason},
                is_intact=_is_intact,
                is_last=is_last,
            )
        )
        return self._done[-1]

    def discard(self) -> None:
        """Delete all records, once the artifact stands."""
        for records in self._done:
            records.remove()


def keep_prediction(name: str, said: Predicted | str) -> Record:
    """Return the record of what the model says of a film, or of why it cannot be read."""
    return {NAME: name} | ({_ERROR: said} if isinstance(said, str) else {_VALUE: to_plain(said)})


def restore_prediction(record: Record) -> Predicted | None:
    """Return what :func:`keep_prediction` kept; None of a film that cannot be read."""
    return parse_plain(record[_VALUE], Predicted) if _VALUE in record else None


def keep_answers(case: Case) -> Record:
    """Return the record of a film's answers, or of what failed on it."""
    if case.evidence is None:
        return {NAME: case.film.image_id, _ERROR: str(case.error)}
    value = _Answers(case.evidence, case.text_area_share, case.n_border_matched)
    return {NAME: case.film.image_id, _VALUE: to_plain(value)}


def restore_answers(record: Record, case: Case) -> None:
    """Fill a film's answers in; its margin is what it is now."""
    if _VALUE not in record:
        case.error = _read_failure(record)
        return
    found = parse_plain(record[_VALUE], _Answers)
    case.evidence = replace(found.evidence, margin=case.margin)
    case.text_area_share = found.text_area_share
    case.n_border_matched = found.n_border_matched


def keep_maps(name: str, method: str, explained: Mapping[str, Explained], folder: Path) -> Record:
    """Write a method's maps of films that were explained together, a file each.

    Args:
        name: Name of the record.
        method: Who made them.
        explained: ``image_id`` -> evidence and map, or the error.
        folder: Where the files go.

    Returns:
        The record, without the maps.
    """
    missing = {film: found for film, found in explained.items() if isinstance(found, str)}
    evidence, files = {}, {}
    for film, found in explained.items():
        if not isinstance(found, str):
            evidence[film] = found[0]
            stream = io.BytesIO()
            np.save(stream, found[1])
            file = find_map(folder, film, method).name
            files[file] = keep_file(folder, file, stream.getvalue())
    failed = {_ERROR: next(iter(missing.values()))} if missing else {}
    return {NAME: name, _VALUE: to_plain(_Maps(evidence, missing)), FILES: files, **failed}


def restore_maps(record: Record, films: Sequence[str]) -> dict[str, SaliencyEvidence | str]:
    """Return what the maps of films say, or why a film has none."""
    if _VALUE not in record:
        return dict.fromkeys(films, _read_failure(record))
    found = parse_plain(record[_VALUE], _Maps)
    return {**found.evidence, **found.missing}


def find_map(folder: Path, film: str, method: str) -> Path:
    """Return the file of a film's map."""
    return folder / f"{method}-{film}.npy"


def _is_intact(record: Record, folder: Path) -> bool:
    return _ERROR not in record and has_its_files(record, folder)


def _read_failure(record: Record) -> str:
    return str(record.get(_ERROR) or f"no worker survived it: {record[_LOST]}")


def _identify(subject: AuditSubject) -> list[object]:
    classifier = subject.model.classifier
    how = [subject.params, subject.run_seed, subject.model.view, classifier.class_names]
    texts = [subject.regions.get(film.image_id) for film in subject.films]
    digest = hashlib.sha256(canonical_json([to_plain(each) for each in texts]).encode())
    films = [(film.image_id, film.sha256) for film in subject.films]
    return [how, hash_weights(classifier), digest.hexdigest(), films]
