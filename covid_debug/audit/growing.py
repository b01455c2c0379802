"""The audit of a growing folder: only the films that no earlier audit of the model covered.

Owns what counts as covered, and the small table of new flags. Every batch is an audit of its own:
its nulls, its margin and its Benjamini-Hochberg family are those of its films alone, so q bounds
the expected share of false flags in each batch, not over all of them together.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from covid_debug.artifacts import MANIFEST_NAME, is_complete, read_manifest, write_text_atomic
from covid_debug.audit.artifact import AUDIT_KIND, load_audit
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import AuditRequest
from covid_debug.data.filmset import load_filmset
from covid_debug.data.folder import NewFilmsRequest, find_new_films
from covid_debug.errors import ArtifactError
from covid_debug.records import Film
from covid_debug.shown import to_cell
from covid_debug.stages import Means, find_or_make
from covid_debug.text.stage import RegionsRequest, TextParams

MIN_FILMS = 30
"""Fewest films of a batch: the margin of the test is a share of the spread of the log-odds over
the films, and thirty films give a spread to some 13 %."""
_FLAGS = ("text_driven", "text_sensitive")
_N_SAID = 20


@dataclass(frozen=True, slots=True)
class NewFlag:
    """One new film whose prediction moves with its text.

    Attributes:
        checkpoint: The model's artifact.
        batch: The audit's artifact.
        path: The film's file.
        predicted_class: Class that the film is predicted as.
        probability: Of that class.
        without_text: Its probability when the text is removed.
        verdict: ``"text_driven"`` or ``"text_sensitive"``.
        q_value: False discovery rate within the batch.
        text: What was read, as far as the detector reads.
    """

    checkpoint: str
    batch: str
    path: str
    predicted_class: str
    probability: float
    without_text: float
    verdict: str
    q_value: float
    text: str


@dataclass(frozen=True)
class GrowingAudit:
    """What is asked of a growing folder.

    Attributes:
        folder: Folder of images, at any depth.
        checkpoint: The model.
        text: How text is looked for.
        target_class: Class whose predictions are audited; None audits every film.
        min_films: New films wait until there are so many.
        run_seed: Every film's seed is derived from it.
    """

    folder: Path
    checkpoint: Path
    text: TextParams = field(default_factory=TextParams)
    target_class: str | None = None
    min_films: int = MIN_FILMS
    run_seed: int = 0


@dataclass(frozen=True)
class Batch:
    """What one look into a growing folder gave.

    Attributes:
        n_new: New films.
        audit: Artifact of their audit; None where they wait for more.
        flags: The films whose prediction moves with their text, the most severe first.
    """

    n_new: int
    audit: Path | None
    flags: tuple[NewFlag, ...]


def audit_new_films(asked: GrowingAudit, store: Path, means: Means) -> Batch:
    """Audit the films of a folder that no earlier audit of the checkpoint covered.

    Known are the films that the checkpoint was trained and validated on, and those of every audit
    of it in the store, for the same class or for all. A file that cannot be read, perhaps because
    it is still being copied, is looked at again the next time.

    Args:
        asked: Folder, model, and how to audit.
        store: Folder of artifacts, where earlier audits are looked for.
        means: How it is carried out.

    Returns:
        The batch.
    """
    known = list(_iter_known(asked, store))
    found = find_new_films(
        asked.folder,
        {film.image_id for film, _, _ in known},
        {str(path): seen for _, path, seen in known},
        means,
    )
    tell, n_new = means.listener, len(found.films)
    tell.say(f"{n_new} new films, {found.n_known} known in {asked.folder}")
    if found.unusable:
        first = found.unusable[0]
        tell.warn(
            f"{len(found.unusable)} new files cannot be used and are looked at again the next time"
            f" (first: {first.path}: {first.reason})"
        )
    if n_new < max(asked.min_films, 1):
        if n_new:
            tell.say(f"they wait until there are {asked.min_films}: fewer make no good null")
        return Batch(n_new, None, ())
    filmset = find_or_make(NewFilmsRequest(asked.folder, found), store, means)
    regions = find_or_make(RegionsRequest(filmset, asked.text), store, means)
    params = AuditParams(target_class=asked.target_class, max_explained=0)
    request = AuditRequest(asked.checkpoint, filmset, regions, params, asked.run_seed)
    audit = find_or_make(request, store, means)
    for line in describe_audit(load_audit(audit).summary):
        tell.say(line)
    return Batch(n_new, audit, _list_flags(audit))


def describe_flags(batch: Batch, table: Path) -> Iterator[str]:
    """Say what came out of a batch, the most severe flags a line each."""
    if batch.audit is None:
        return
    for flag in batch.flags[:_N_SAID]:
        yield (
            f"{flag.verdict.replace('_', ' ')}: {flag.path}: {flag.predicted_class}"
            f" {flag.probability:.2f}, without the text {flag.without_text:.2f}"
            f" (q = {flag.q_value:.3f})"
        )
    yield (
        f"{len(batch.flags)} of {batch.n_new} new films flagged, q within this batch; all flags so"
        f" far: {table}"
    )


def write_flags(table: Path, store: Path) -> None:
    """Write the flags of all batches in a store, the oldest batch first.

    Args:
        table: CSV file; what stands there must be such a table.
        store: Folder of artifacts.

    Raises:
        ArtifactError: If the file is another table or cannot be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [item.name for item in fields(NewFlag)], lineterminator="\n")
    writer.writeheader()
    header = stream.getvalue()
    if table.exists() and not table.read_text(encoding="utf-8").startswith(header):
        raise ArtifactError(
            f"{table}: is not a table of new flags (expected the columns {header.strip()}); name"
            " another file"
        )
    for folder, made in sorted(_iter_audits(store), key=lambda one: _made_at(one[0])):
        if made["inputs"]["filmset"].startswith(f"{NewFilmsRequest.stage}-"):
            for flag in map(asdict, _list_flags(folder)):
                cells = {key: to_cell(x) if isinstance(x, str) else x for key, x in flag.items()}
                writer.writerow(cells)
    table.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(table, stream.getvalue())


def _iter_audits(store: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for folder in store.glob(f"{AUDIT_KIND}-*"):
        if is_complete(folder):
            yield folder, read_manifest(folder, kind=AUDIT_KIND)


def _made_at(folder: Path) -> float:
    return (folder / MANIFEST_NAME).stat().st_mtime


def _iter_known(asked: GrowingAudit, store: Path) -> Iterator[tuple[Film, Path, float]]:
    """Yield every film that needs no audit, its file, and when its film set was made."""
    trained_on = read_manifest(asked.checkpoint, kind="checkpoint")["inputs"].get("filmset")
    covered: dict[str, tuple[str, ...]] = {}
    if trained_on is not None:
        covered[trained_on] = ("train", "val")
    for _, audit in _iter_audits(store):
        inputs, target = audit["inputs"], audit["parameters"]["params"]["target_class"]
        if inputs["checkpoint"] == asked.checkpoint.name and target in {None, asked.target_class}:
            covered[inputs["filmset"]] = (*covered.get(inputs["filmset"], ()), "test")
    for name, splits in covered.items():
        if not is_complete(store / name):
            continue
        filmset = load_filmset(store / name)
        made = _made_at(filmset.root)
        for film in filmset.films:
            if film.split in splits:
                yield film, filmset.path_of(film).absolute(), made


def _list_flags(folder: Path) -> tuple[NewFlag, ...]:
    checkpoint = read_manifest(folder, kind=AUDIT_KIND)["inputs"]["checkpoint"]
    flagged = [film for film in load_audit(folder).films if film.verdict in _FLAGS]
    return tuple(
        NewFlag(
            checkpoint,
            folder.name,
            film.path,
            film.predicted_class,
            round(film.probability, 3),
            round(film.interventions.text_removed, 3),
            film.verdict,
            round(film.q_value, 4),
            " ".join(film.contents),
        )
        for film in sorted(flagged, key=lambda film: film.rank)
    )
