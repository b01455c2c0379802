"""The audit of one model on one set of films, from predictions to an artifact.

Owns the order of work: predict, choose films, intervene on all of them in batches, judge, explain
where it matters, write. The test and its rule live in :mod:`covid_debug.audit.verdicts`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import write_artifact
from covid_debug.audit.artifact import AUDIT_KIND, Audit, NotAudited, write_audit
from covid_debug.audit.auditor import GROUP, Auditor
from covid_debug.audit.case import Case, Explained, to_audited_film
from covid_debug.audit.groups import read_contents, read_kinds
from covid_debug.audit.planning import (
    AuditParams,
    AuditPlan,
    AuditSubject,
    Views,
    audited_classes,
    choose_explained,
    plan_audit,
    select_films,
    target_index,
)
from covid_debug.audit.resume import FinishedFilms
from covid_debug.audit.summary import summarise_audit
from covid_debug.audit.verdicts import (
    Conclusion,
    Significance,
    compute_margins,
    decide,
    judge_significance,
    log_odds,
)
from covid_debug.data.views import load_views
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.models.devices import describe_device
from covid_debug.models.inference import predict_probabilities
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means


def audit_filmset(
    subject: AuditSubject, out: Path, means: Means, *, inputs: Mapping[str, str] | None = None
) -> Audit:
    """Test, film by film, whether text drives the predictions.

    A killed audit goes on from its last film when it is started again, see
    :mod:`covid_debug.audit.resume`. A film on which something fails stays in the result with its
    error; the others are unaffected. The result depends on the inputs and the seed only, not on
    timing.

    Args:
        subject: Model, films, their text, and how to audit.
        out: Artifact of kind ``"audit"`` to write.
        means: How it is carried out; the plan is told before the interventions and again before
            the maps, and a step of the progress is a film or a map.
        inputs: Names of the artifacts that went in.

    Returns:
        The audit, as written.

    Raises:
        InputContractError: If there are no films or the model does not have the audited class.
        ArtifactError: If the result cannot be written.
    """
    films, params, run_seed = subject.films, subject.params, subject.run_seed
    classifier = subject.model.classifier
    if not films:
        raise InputContractError("audit: films is empty; expected at least one film")
    classes = audited_classes(classifier.class_names, params.target_class)
    views, readable, probabilities = _predict(subject, means)
    predicted = np.where(readable, probabilities.argmax(axis=1), -1)
    selection = select_films(
        films,
        predicted,
        classes,
        subject.regions,
        subject.model.view,
        dilation_px=params.dilation_px,
    )
    auditor = Auditor(subject, means.n_workers)
    rows = list(selection.candidates)
    baselines = auditor.choose_baselines(views[rows], probabilities[rows])
    margins = compute_margins(_log_odds_by_class(probabilities[readable]))
    cases = [
        Case(
            films[row],
            views[row],
            probabilities[row],
            derive_seed(run_seed, films[row].image_id, "audit"),
            int(predicted[row]),
            baselines.by_class[int(predicted[row])],
            float(margins[predicted[row]]),
            read_contents(subject.regions[films[row].image_id].regions),
            read_kinds(subject.regions[films[row].image_id].regions),
        )
        for row in rows
    ]
    kept = FinishedFilms(out, subject)
    with means.listener.progress("films and maps") as report:
        todo = [case for case in cases if not kept.restore(case)]
        prices = auditor.measure(todo)
        plan = plan_audit(selection, params, prices)
        n_done = len(cases) - len(todo)
        _tell(plan, means, n_done)
        for case in chain(todo[:GROUP], auditor.intervene_on(todo[GROUP:])):
            kept.add(case)
            n_done += 1
            report(n_done, len(cases) + plan.n_explained * len(params.map_methods))
        significances = judge_significance([case.evidence for case in cases])
        decisions = [
            _decide(case, significance, params)
            for case, significance in zip(cases, significances, strict=True)
        ]
        chosen = choose_explained(
            *_split_suspects(cases, significances, params), params=params, run_seed=run_seed
        )
        if chosen:
            _tell(plan_audit(selection, params, prices, n_to_explain=len(chosen)), means)
        explained = _explain(
            auditor,
            kept,
            [case for case in cases if case.film.image_id in chosen],
            params.map_methods,
            lambda n_maps: report(
                len(cases) + n_maps, len(cases) + len(chosen) * len(params.map_methods)
            ),
        )
    audited = tuple(
        to_audited_film(
            case,
            decision,
            significance,
            class_names=classifier.class_names,
            chosen=chosen.get(case.film.image_id),
            explained=explained.get(case.film.image_id, {}),
        )
        for case, decision, significance in zip(cases, decisions, significances, strict=True)
    )
    left_out = tuple(
        NotAudited(
            film.image_id,
            selection.excluded[film.image_id] if ok else "the film cannot be read",
            classifier.class_names[k] if ok else None,
            film.source,
            film.patient_id,
        )
        for film, ok, k in zip(films, readable, predicted, strict=True)
        if not ok or film.image_id in selection.excluded
    )
    name = params.target_class
    summary = summarise_audit(
        audited,
        left_out,
        n_films=len(films),
        target_class=name,
        target_index=None if name is None else target_index(classifier.class_names, name),
        strong_drop=params.strong_drop,
        seed=derive_seed(run_seed, "audit_summary"),
        map_methods=params.map_methods,
        baseline_answers=baselines.answers,
    )
    result = Audit(out, audited, summary, left_out)
    arrays = {method: _pick_maps(explained, method) for method in params.map_methods}
    parameters = {"params": params, "run_seed": run_seed}
    device = describe_device(classifier.device)
    with write_artifact(
        out, kind=AUDIT_KIND, parameters=parameters, inputs=inputs, device=device
    ) as draft:
        write_audit(draft.path, result, arrays)
        draft.facts["n_total"] = len(audited)
        draft.facts["n_ok"] = len(audited) - summary.n_failed
    kept.discard()
    return result


def _explain(
    auditor: Auditor,
    kept: FinishedFilms,
    cases: Sequence[Case],
    methods: Sequence[str],
    tell: Callable[[int], None],
) -> dict[str, dict[str, Explained]]:
    explained: dict[str, dict[str, Explained]] = {case.film.image_id: {} for case in cases}
    n_maps = 0
    for group in auditor.iter_groups(cases):
        for method in methods:
            maps = kept.restore_maps(group, method)
            if maps is None:
                maps = auditor.explain(group, method)
                kept.add_maps(maps, method)
            for image_id, found in maps.items():
                explained[image_id][method] = found
            n_maps += len(maps)
            tell(n_maps)
    return explained


def _pick_maps(
    explained: Mapping[str, Mapping[str, Explained]], method: str
) -> dict[str, NDArray[np.float16]]:
    picked = {image_id: by_method[method] for image_id, by_method in explained.items()}
    return {name: found[1] for name, found in picked.items() if not isinstance(found, str)}


def _log_odds_by_class(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    columns = [log_odds(probabilities, k) for k in range(probabilities.shape[1])]
    return np.stack(columns, axis=1)


def _decide(case: Case, significance: Significance, params: AuditParams) -> Conclusion:
    if case.evidence is None:
        return Conclusion("inconclusive", "none", (f"not audited: {case.error}",))
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
            significance.q <= params.alpha
            or item.changes_class
            or item.drop >= params.min_drop
            or item.is_sufficient
        ):
            suspicion[case.film.image_id] = item.drop
        else:
            unsuspected.append(case.film.image_id)
    return suspicion, unsuspected


def _tell(plan: AuditPlan, means: Means, n_done: int = 0) -> None:
    for line in plan.describe():
        means.listener.say(line)
    if n_done:
        means.listener.say(f"{n_done} of {plan.n_audited} films were done before and are kept")


def _predict(
    subject: AuditSubject, means: Means
) -> tuple[Views, NDArray[np.bool_], NDArray[np.float32]]:
    views, readable = _read_views(subject, means)
    classifier, max_batch = subject.model.classifier, subject.params.max_batch
    return views, readable, predict_probabilities(classifier, views, max_batch=max_batch)


def _read_views(subject: AuditSubject, means: Means) -> tuple[Views, NDArray[np.bool_]]:
    # An unreadable film is black and marked False.
    filmset, films, spec = subject.filmset, subject.films, subject.model.view
    try:
        views = load_views(filmset, films, spec, means.cache_dir, n_workers=means.n_workers)
        return views, np.ones(len(films), dtype=bool)
    except DataIntegrityError:
        views = np.zeros((len(films), spec.image_size, spec.image_size), np.uint8)
        readable = np.zeros(len(films), dtype=bool)
        for i, film in enumerate(films):
            try:
                views[i] = load_views(filmset, [film], spec, means.cache_dir)[0]
                readable[i] = True
            except DataIntegrityError:
                continue
        return views, readable
