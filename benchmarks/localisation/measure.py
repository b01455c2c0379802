"""Maps of driven films and what they are worth, kept film by film as they are made."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cost import Stopwatch
from benchmarks.localisation.films import TruthFilms
from benchmarks.localisation.lines import Line, make_reference
from benchmarks.saliency.runs import MAX_BATCH
from covid_debug.artifacts import artifact_key
from covid_debug.errors import CovidDebugError
from covid_debug.evaluation.fidelity import measure_completeness
from covid_debug.evaluation.localisation import (
    Localisation,
    measure_localisation,
    measure_sparseness,
)
from covid_debug.journal import Journal
from covid_debug.models.classifier import Classifier
from covid_debug.records_json import parse_plain
from covid_debug.saliency.base import Explanation
from covid_debug.saliency.catalog import build_explainer
from covid_debug.seeding import derive_seed

CODE_VERSION = 1
COSTLY_EVALUATIONS = 500
"""A method that needs more images a map explains the first few films only."""
_GROUP = 8


@dataclass(frozen=True, slots=True)
class Located:
    """One map of one driven film; None where a number is not defined.

    Attributes:
        key: What was run on what; names the record and the file of the map.
        model: Architecture.
        kind: Kind of truth.
        line: Name of the line.
        film: Name.
        patient: Of the film.
        void_reason: Code of ``VOID_REASONS``; 0 for a reference.
        refused: Why the method refuses the model; else empty.
        mass: Share of the positive saliency in the truth.
        rank_accuracy: See :class:`~covid_debug.evaluation.localisation.Localisation`.
        pointing: Likewise.
        top_share: Likewise.
        area: Share of the film that the truth covers.
        ink_mass: Mass in the part of the truth that was drawn.
        ink_rank_accuracy: Rank accuracy of that part.
        ink_area: Its share of the film.
        harmless_mass: Mass in what tells nothing of the class.
        harmless_area: Its share of the film.
        sparseness: Gini index.
        completeness: Relative error of the sum; None for maps that claim no sum.
        evaluations: Images passed through the model.
        cpu_seconds: Of the processor; a group's time is shared by its films.
    """

    key: str
    model: str
    kind: str
    line: str
    film: str
    patient: str
    void_reason: int
    refused: str
    mass: float | None
    rank_accuracy: float | None
    pointing: float | None
    top_share: float | None
    area: float
    ink_mass: float | None
    ink_rank_accuracy: float | None
    ink_area: float
    harmless_mass: float | None
    harmless_area: float
    sparseness: float | None
    completeness: float | None
    evaluations: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with its driven films of one kind.

    Attributes:
        model: Architecture.
        model_key: Identifies the weights.
        classifier: In evaluation mode.
        films: What is explained.
    """

    model: str
    model_key: str
    classifier: Classifier
    films: TruthFilms

    def key(self, line: Line, row: int, seed: int) -> str:
        """Return what names the map of one film."""
        films = self.films
        return artifact_key(
            f"{line.name.replace(' ', '-')}-{films.kind}",
            CODE_VERSION,
            [line.executed(), seed],
            [self.model_key, films.names[row], int(films.targets[row])],
        )


def locate(
    subject: Subject,
    line: Line,
    out: Path,
    *,
    n_costly: int,
    seed: int,
    again: bool,
    say: Callable[[str], None],
) -> list[Located]:
    """Make the maps of one line and measure where they lie.

    Args:
        subject: Model and films.
        line: What makes the maps.
        out: Folder; films that ``localisation.jsonl`` there holds are not repeated.
        n_costly: Films of a method of more than :data:`COSTLY_EVALUATIONS`.
        seed: Run seed.
        again: Make the maps again, for a method whose code changed.
        say: Receives one line.

    Returns:
        One record a film.
    """
    journal = Journal(out / "localisation.jsonl", "key")
    n_films = len(subject.films.names)
    keys = [subject.key(line, row, seed) for row in range(n_films)]
    found: list[Located] = []
    start = 0
    while start < n_films:
        is_costly = bool(found) and found[0].evaluations > COSTLY_EVALUATIONS
        if is_costly and start >= n_costly:
            break
        stop = min(start + _GROUP, n_films)
        if is_costly or (start == 0 and n_costly < _GROUP):
            stop = min(start + n_costly, stop)
        rows = [r for r in range(start, stop) if again or keys[r] not in journal]
        if rows:
            for record, saliency in _make(subject, line, rows, keys, seed):
                if saliency is not None:
                    path = map_path(out, record.key)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.save(path, saliency)
                journal.add(asdict(record))
        found += [parse_plain(journal[keys[r]], Located) for r in range(start, stop)]
        start = stop
    ok = [one.mass for one in found if one.mass is not None]
    say(
        f"{subject.model}, {subject.films.kind}, {line.name}: {len(found)} films, mass"
        f" {np.mean(ok) if ok else math.nan:.3f}, {found[0].cpu_seconds if found else 0:.2f} s"
        f"{', refused: ' + found[0].refused if found and found[0].refused else ''}"
    )
    return found


def map_path(out: Path, key: str) -> Path:
    """Return the file of a map, ``(S, S)`` float32."""
    return out / "maps" / f"{key}.npy"


def explain_rows(
    subject: Subject, line: Line, images: Tensor, rows: Sequence[int], seed: int
) -> Explanation:
    """Explain films, or changed copies of them, for their class and with their seeds."""
    films = subject.films
    return build_explainer(line.method, **line.params).explain(
        subject.classifier,
        images,
        films.targets[list(rows)],
        seeds=[derive_seed(seed, films.names[row], line.method) for row in rows],
        max_batch=MAX_BATCH,
    )


def _make(
    subject: Subject, line: Line, rows: list[int], keys: Sequence[str], seed: int
) -> list[tuple[Located, Any]]:
    films = subject.films
    images = films.images[rows]
    refused, result = "", None
    with Stopwatch(images.device) as watch:
        try:
            if line.method:
                result = explain_rows(subject, line, images, rows, seed)
                saliency = result.saliency
            else:
                saliency = make_reference(line.name, films)[rows]
        except CovidDebugError as error:
            refused, saliency = str(error), torch.full_like(images, torch.nan)
    reasons = torch.zeros(len(rows), dtype=torch.int64, device=images.device)
    complete = torch.full((len(rows),), torch.nan, device=images.device)
    if result is not None:
        reasons = result.diagnostics["void_reason"]
        complete = _completeness(line, result)
    void = reasons != 0
    truth = measure_localisation(saliency, films.truth[rows], void=void)
    ink = measure_localisation(saliency, films.ink[rows], void=void)
    harmless = measure_localisation(saliency, films.harmless[rows], void=void)
    sparseness = measure_sparseness(saliency)
    records = []
    for i, row in enumerate(rows):
        record = Located(
            key=keys[row],
            model=subject.model,
            kind=films.kind,
            line=line.name,
            film=films.names[row],
            patient=str(films.patients[row]),
            void_reason=int(reasons[i]),
            refused=refused,
            **_numbers(truth, i, ("mass", "rank_accuracy", "pointing", "top_share")),
            area=float(truth.area[i]),
            ink_mass=number(ink.mass[i]),
            ink_rank_accuracy=number(ink.rank_accuracy[i]),
            ink_area=float(ink.area[i]),
            harmless_mass=number(harmless.mass[i]),
            harmless_area=float(harmless.area[i]),
            sparseness=number(sparseness[i]),
            completeness=number(complete[i]),
            evaluations=0.0 if result is None else result.n_evaluations / len(rows),
            cpu_seconds=watch.cpu_seconds / len(rows),
        )
        records.append((record, None if refused else saliency[i, 0].cpu().numpy()))
    return records


def _completeness(line: Line, result: Explanation) -> Tensor:
    """Measure it for maps of contributions on the way from a baseline; others claim no sum."""
    explainer = build_explainer(line.method, **line.params)
    if not explainer.uses_baseline or "completeness_gap" not in result.diagnostics:
        return torch.full_like(result.target_score, torch.nan)
    return measure_completeness(
        result.diagnostics["signed"], result.target_score, result.diagnostics["score_baseline"]
    )


def _numbers(of: Localisation, i: int, names: Sequence[str]) -> dict[str, float | None]:
    return {name: number(getattr(of, name)[i]) for name in names}


def number(value: Tensor) -> float | None:
    """Return a finite number, or None."""
    return float(value) if bool(value.isfinite()) else None
