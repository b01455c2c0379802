"""The audit of one model on one set of films, from predictions to an artifact.

Owns the order of work: predict, choose films, intervene on all of them in batches, judge, explain
where it matters, write. The test and its rule live in :mod:`covid_debug.audit.verdicts`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import write_artifact
from covid_debug.audit.artifact import Case, Explained, to_record, write_audit
from covid_debug.audit.explanations import explain_films
from covid_debug.audit.interventions import (
    Intervened,
    choose_baseline,
    intervene,
    make_baseline_views,
)
from covid_debug.audit.planning import (
    AuditParams,
    AuditPlan,
    Prices,
    choose_explained,
    plan_audit,
    select_films,
    target_index,
)
from covid_debug.audit.summary import summarise_audit
from covid_debug.audit.verdicts import (
    Answer,
    Decision,
    Evidence,
    Significance,
    decide,
    judge_significance,
    log_odds,
)
from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import load_views
from covid_debug.errors import CovidDebugError, DataIntegrityError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import read_film
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.inference import predict_probabilities
from covid_debug.records import Film, FilmRegions
from covid_debug.saliency.catalog import build_explainer
from covid_debug.seeding import derive_seed

__all__ = ["AuditParams", "AuditPlan", "AuditResult", "audit_filmset", "plan_audit"]

METHOD = "igos_pp"

_N_WORKERS = 2
_GROUP = 8  # films whose views are held at once, and films explained together
_WARM_UP_ITERATIONS = 2
# What a broken film may raise; anything else is a fault of ours and must surface.
_FILM_ERRORS = (CovidDebugError, OSError, ValueError, RuntimeError, MemoryError, cv2.error)

Progress = Callable[[int, int], None]
Announce = Callable[[AuditPlan], None]
Views = NDArray[np.uint8]


@dataclass(frozen=True)
class AuditResult:
    """A finished audit.

    Attributes:
        path: The artifact.
        records: Lines of ``verdicts.jsonl``.
        summary: Content of ``summary.json``.
    """

    path: Path
    records: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]


def audit_filmset(
    loaded: LoadedModel,
    filmset: FilmSet,
    films: Sequence[Film],
    regions: Mapping[str, FilmRegions],
    params: AuditParams,
    *,
    run_seed: int,
    cache_dir: Path,
    out: Path,
    inputs: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> AuditResult:
    """Test, film by film, whether text drives the predictions of one class.

    A film on which something fails stays in the result with its error; the others are unaffected.
    The result depends on the inputs and the seed only, not on timing.

    Args:
        loaded: Model with its view specification.
        filmset: Where the films live.
        films: Films to audit, normally the test split.
        regions: Text by ``image_id``.
        params: How to audit.
        run_seed: Seed from which every film's seed is derived.
        cache_dir: Folder of decoded views.
        out: Artifact of kind ``"audit"`` to write.
        inputs: Names of the artifacts that went in.
        progress: Called with (steps done, steps in total); a step is a film or a map.
        announce: Receives the plan before the interventions and again before the maps.

    Returns:
        Records and summary, as written.

    Raises:
        InputContractError: If there are no films or the model does not have the audited class.
        ArtifactError: If the result cannot be written.
    """
    if not films:
        raise InputContractError("audit: films is empty; expected at least one film")
    classifier = loaded.classifier
    target = target_index(classifier.class_names, params.target_class)
    views, readable = _read_views(filmset, films, loaded.view, cache_dir)
    probabilities = predict_probabilities(classifier, views, max_batch=params.max_batch)
    predicted = np.where(readable, probabilities.argmax(axis=1), -1)
    selection = select_films(
        films, predicted, target, regions, loaded.view, dilation_px=params.dilation_px
    )
    auditor = _Auditor(loaded, filmset, regions, params, target)
    rows = list(selection.candidates)
    baseline = auditor.choose_baseline(views[rows], probabilities[rows])
    cases = [
        Case(
            films[row],
            np.array(views[row]),
            probabilities[row],
            derive_seed(run_seed, films[row].image_id, "audit"),
            make_baseline_views(views[row][None], baseline)[0],
        )
        for row in rows
    ]
    tell = announce or (lambda _plan: None)
    report = progress or (lambda _done, _total: None)
    prices = auditor.measure(cases)
    plan = plan_audit(selection, params, prices)
    tell(plan)
    for n_done in auditor.intervene_on(cases):
        report(n_done, len(cases) + plan.n_explained)
    significances = judge_significance([case.evidence for case in cases])
    decisions = [
        _decide(case, significance, params)
        for case, significance in zip(cases, significances, strict=True)
    ]
    chosen = choose_explained(
        *_split_suspects(cases, significances, params), params=params, run_seed=run_seed
    )
    if chosen:
        tell(plan_audit(selection, params, prices, n_to_explain=len(chosen)))
    explained: dict[str, Explained] = {}
    for group in auditor.explain([case for case in cases if case.film.image_id in chosen]):
        explained |= group
        report(len(cases) + len(explained), len(cases) + len(chosen))
    records = [
        to_record(
            case,
            decision,
            significance,
            class_names=classifier.class_names,
            target=target,
            baseline=baseline,
            chosen=chosen.get(case.film.image_id),
            explained=explained.get(case.film.image_id),
        )
        for case, decision, significance in zip(cases, decisions, significances, strict=True)
    ]
    summary = summarise_audit(
        records,
        [case.film.patient_id for case in cases],
        selection.excluded,
        n_films=len(films),
        n_unreadable=int(np.sum(~readable)),
        target_class=params.target_class,
        target_index=target,
        baseline=baseline,
        seed=derive_seed(run_seed, "audit_summary"),
    )
    excluded = dict(selection.excluded)
    excluded |= {
        film.image_id: "the film cannot be read"
        for film, ok in zip(films, readable, strict=True)
        if not ok
    }
    parameters = {"params": params, "run_seed": run_seed}
    with write_artifact(out, kind="audit", parameters=parameters, inputs=inputs) as draft:
        write_audit(draft.path, records, excluded, summary, explained)
        draft.facts["n_total"] = len(records)
        draft.facts["n_ok"] = len(records) - int(summary["n_failed"])
    return AuditResult(out, tuple(records), summary)


class _Auditor:
    """Calls the model on intervened and explained films."""

    def __init__(
        self,
        loaded: LoadedModel,
        filmset: FilmSet,
        regions: Mapping[str, FilmRegions],
        params: AuditParams,
        target: int,
    ) -> None:
        self._classifier = loaded.classifier
        self._spec: ViewSpec = loaded.view
        self._filmset = filmset
        self._regions = regions
        self._params = params
        self._target = target
        self._explainer = build_explainer(METHOD, grid_size=params.grid_size, **params.igos)

    def choose_baseline(self, views: Views, probabilities: NDArray[np.float32]) -> str:
        """Return the first configured baseline that the model does not take for the target."""

        def predict(images: Views) -> NDArray[np.float32]:
            rows = predict_probabilities(self._classifier, images, max_batch=self._params.max_batch)
            return rows[:, self._target]

        return choose_baseline(
            predict, views, probabilities[:, self._target], self._params.baselines
        )

    def measure(self, cases: Sequence[Case]) -> Prices:
        # One film and the start of one map; the results are thrown away.
        prices = Prices()
        if not cases:
            return prices
        trial = replace(cases[0])
        start = time.perf_counter()
        list(self.intervene_on([trial]))
        prices = replace(prices, film_s=time.perf_counter() - start)
        if trial.error is not None or not self._params.max_explained:
            return prices
        n_iterations = self._explainer.params.n_iterations
        n_tried = min(_WARM_UP_ITERATIONS, n_iterations)
        short = type(self._explainer)(replace(self._explainer.params, n_iterations=n_tried))
        start = time.perf_counter()
        outcome = self._explain_group([trial], short)[trial.film.image_id]
        factor = n_iterations / n_tried
        if isinstance(outcome, str):
            return prices
        return replace(
            prices,
            map_s=(time.perf_counter() - start) * factor,
            map_evaluations=round(outcome[0].n_evaluations * factor),
        )

    def intervene_on(self, cases: Sequence[Case]) -> Iterator[int]:
        """Fill in the predictions of the cases under every intervention.

        Yields:
            How many films are done.
        """
        with ThreadPoolExecutor(_N_WORKERS) as pool:
            for start in range(0, len(cases), _GROUP):
                group = cases[start : start + _GROUP]
                made = list(pool.map(self._intervene, group))
                stacks = [item.stack() for item in made if item is not None]
                if stacks:
                    rows = predict_probabilities(
                        self._classifier, np.concatenate(stacks), max_batch=self._params.max_batch
                    )
                for case, item in zip(group, made, strict=True):
                    if item is not None:
                        n_views = len(item.stack())
                        self._fill_in(case, item, rows[:n_views])
                        rows = rows[n_views:]
                yield start + len(group)

    def _intervene(self, case: Case) -> Intervened | None:
        params = self._params
        found = self._regions[case.film.image_id]
        path = self._filmset.path_of(case.film)
        try:
            film = read_film(path).to_uint8()
            if film.shape != (found.height, found.width):
                raise DataIntegrityError(
                    f"{path}: is {film.shape[1]} x {film.shape[0]} pixels, its text regions are for"
                    f" {found.width} x {found.height}; detect the text again"
                )
            return intervene(
                film,
                found.regions,
                self._spec,
                n_nulls=params.n_nulls,
                dilation_px=params.dilation_px,
                method=params.method,
                radius_px=params.radius_px,
                seed=derive_seed(case.seed, "nulls"),
                baseline=case.baseline,
            )
        except _FILM_ERRORS as error:
            case.error = str(error)
            return None

    def _fill_in(self, case: Case, item: Intervened, rows: NDArray[np.float32]) -> None:
        names = self._classifier.class_names
        answers = [
            Answer(
                float(row[self._target]),
                float(log_odds(row, self._target)),
                names[int(row.argmax())],
            )
            for row in (case.probabilities, *rows)
        ]
        film, removed, revealed, baseline, *nulls = answers
        n_nulls = len(item.null_removed)
        case.text_mask = item.text_mask
        case.n_border_matched = item.n_border_matched
        case.evidence = Evidence(
            target=names[self._target],
            film=film,
            text_removed=removed,
            text_revealed=revealed,
            baseline=baseline,
            null_removed=tuple(nulls[:n_nulls]),
            null_revealed=tuple(nulls[n_nulls:]),
        )

    def explain(self, cases: Sequence[Case]) -> Iterator[dict[str, Explained]]:
        """Explain films group by group; a group that fails is tried film by film.

        Yields:
            ``image_id`` -> evidence and map, or the error.
        """
        for start in range(0, len(cases), _GROUP):
            yield self._explain_group(cases[start : start + _GROUP], self._explainer)

    def _explain_group(
        self,
        group: Sequence[Case],
        explainer: Any,  # noqa: ANN401
    ) -> dict[str, Explained]:
        masks = [case.text_mask for case in group if case.text_mask is not None]
        try:
            results = explain_films(
                explainer,
                self._classifier,
                np.stack([case.view for case in group]),
                np.stack([case.baseline for case in group]),
                np.stack(masks),
                self._target,
                [derive_seed(case.seed, METHOD) for case in group],
                max_batch=self._params.max_batch,
            )
        except _FILM_ERRORS as error:
            if len(group) == 1:
                return {group[0].film.image_id: str(error)}
            merged: dict[str, Explained] = {}
            for case in group:
                merged |= self._explain_group([case], explainer)
            return merged
        return {case.film.image_id: result for case, result in zip(group, results, strict=True)}


def _decide(case: Case, significance: Significance, params: AuditParams) -> Decision:
    if case.evidence is None:
        return Decision("inconclusive", "none", (f"not audited: {case.error}",))
    return decide(
        case.evidence,
        significance,
        alpha=params.alpha,
        min_drop=params.min_drop,
        strong_drop=params.strong_drop,
    )


def _split_suspects(
    cases: Sequence[Case], significances: Sequence[Significance], params: AuditParams
) -> tuple[dict[str, float], list[str]]:
    suspicion: dict[str, float] = {}
    unsuspected: list[str] = []
    for case, significance in zip(cases, significances, strict=True):
        item = case.evidence
        if item is None:
            continue
        if (
            significance.q_towards <= params.alpha
            or item.changes_class
            or item.drop >= params.min_drop
            or item.is_sufficient
        ):
            suspicion[case.film.image_id] = item.drop
        else:
            unsuspected.append(case.film.image_id)
    return suspicion, unsuspected


def _read_views(
    filmset: FilmSet, films: Sequence[Film], spec: ViewSpec, cache_dir: Path
) -> tuple[Views, NDArray[np.bool_]]:
    # An unreadable film is black and marked False.
    try:
        return load_views(filmset, films, spec, cache_dir), np.ones(len(films), dtype=bool)
    except DataIntegrityError:
        views = np.zeros((len(films), spec.image_size, spec.image_size), np.uint8)
        readable = np.zeros(len(films), dtype=bool)
        for i, film in enumerate(films):
            try:
                views[i] = load_views(filmset, [film], spec, cache_dir)[0]
                readable[i] = True
            except DataIntegrityError:
                continue
        return views, readable
