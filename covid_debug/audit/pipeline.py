"""The audit of one model on one set of films, from predictions to an artifact.

Owns the order of work: predict, choose films, intervene on all of them, judge, explain where it
matters, write. The test and its rule live in :mod:`covid_debug.audit.verdicts`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from covid_debug.artifacts import check_absent, write_artifact
from covid_debug.audit.artifact import AUDIT_KIND, Audit, NotAudited, SaliencyEvidence, write_audit
from covid_debug.audit.auditor import GROUP, Auditor
from covid_debug.audit.case import Case, Predicted, to_audited_film
from covid_debug.audit.groups import read_contents, read_kinds
from covid_debug.audit.planning import (
    AuditParams,
    AuditPlan,
    AuditSubject,
    Selection,
    choose_explained,
    plan_audit,
    target_index,
)
from covid_debug.audit.resume import (
    Parts,
    find_map,
    keep_answers,
    keep_maps,
    keep_prediction,
    restore_answers,
    restore_maps,
    restore_prediction,
)
from covid_debug.audit.summary import summarise_audit
from covid_debug.audit.verdicts import (
    Conclusion,
    Significance,
    compute_margins,
    decide,
    judge_significance,
    log_odds,
)
from covid_debug.errors import InputContractError
from covid_debug.models.devices import describe_device
from covid_debug.records import Film
from covid_debug.seeding import derive_seed
from covid_debug.shards import Record
from covid_debug.stages import Means

Maps = dict[str, dict[str, SaliencyEvidence | str]]
"""``image_id`` -> method -> what its map says, or why it has none."""


def audit_filmset(
    subject: AuditSubject, out: Path, means: Means, *, inputs: Mapping[str, str] | None = None
) -> Audit:
    """Test, film by film, whether text drives the predictions.

    Three parts go film by film, each in any shards: predictions, interventions, maps. A killed
    audit goes on from its last film when it is started again. A film on which something fails
    stays in the result with its error; the others are unaffected. The result depends on the inputs
    and the seed only, not on timing or shards.

    Args:
        subject: Model, films, their text, and how to audit.
        out: Artifact of kind ``"audit"`` to write.
        means: How it is carried out; the plan is told before the interventions and again before
            the maps, where they are all worked on here.
        inputs: Names of the artifacts that went in.

    Returns:
        The audit, as written.

    Raises:
        InputContractError: If there are no films or the model does not have the audited class.
        ArtifactError: If the result cannot be written.
        ShardFinished: If ``means`` ask for a shard, and it did its part.
    """
    films, params, run_seed = subject.films, subject.params, subject.run_seed
    classifier = subject.model.classifier
    if not films:
        raise InputContractError("audit: films is empty; expected at least one film")
    if not classifier.has_gradient:
        params = params.without_gradient()
        if params != subject.params:
            used, asked = ", ".join(params.map_methods), ", ".join(subject.params.map_methods)
            means.listener.say(f"no gradients in a black box: maps by {used} instead of {asked}")
            subject = replace(subject, params=params)
    check_absent(out)
    auditor = Auditor(subject, means.n_workers)
    parts = Parts(out, subject, means)
    said = _predict(auditor, films, parts)
    selection = _select(films, said)
    known = [item for item in said if item is not None]
    baselines = auditor.choose_baselines([item for item in known if item.baselines is not None])
    cases = _open_cases(subject, said, selection, baselines.by_class)
    _intervene(auditor, cases, parts, selection, means)
    significances = judge_significance([case.evidence for case in cases])
    decisions = [
        _decide(case, significance, params)
        for case, significance in zip(cases, significances, strict=True)
    ]
    chosen = choose_explained(
        *_split_suspects(cases, significances, params), params=params, run_seed=run_seed
    )
    if chosen and auditor.prices is not None:
        _tell(plan_audit(selection, params, auditor.prices, n_to_explain=len(chosen)), means)
    to_explain = [case for case in cases if case.film.image_id in chosen]
    explained, files = _explain(auditor, to_explain, parts, params.map_methods)
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
            "the film cannot be read" if item is None else selection.excluded[film.image_id],
            None if item is None else classifier.class_names[_find_class(item)],
            film.source,
            film.patient_id,
        )
        for film, item in zip(films, said, strict=True)
        if item is None or film.image_id in selection.excluded
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
    parameters = {"params": params, "run_seed": run_seed}
    device = describe_device(classifier.device)
    with write_artifact(
        out, kind=AUDIT_KIND, parameters=parameters, inputs=inputs, device=device
    ) as draft:
        write_audit(draft.path, result, files)
        draft.facts["n_total"] = len(audited)
        draft.facts["n_ok"] = len(audited) - summary.n_failed
    parts.discard()
    return result


def _predict(auditor: Auditor, films: Sequence[Film], parts: Parts) -> list[Predicted | None]:
    by_name = {film.image_id: film for film in films}

    def work(names: Sequence[str], _: Path) -> Iterator[Record]:
        said = auditor.predict([by_name[name] for name in names])
        yield from map(keep_prediction, names, said)

    records = parts.work("predictions", list(by_name), work)
    return [restore_prediction(records[film.image_id]) for film in films]


def _select(films: Sequence[Film], said: Sequence[Predicted | None]) -> Selection:
    known = [(row, item) for row, item in enumerate(said) if item is not None]
    excluded = {
        films[row].image_id: item.excluded for row, item in known if item.excluded is not None
    }
    candidates = tuple(row for row, item in known if item.baselines is not None)
    return Selection(len(films), len(candidates) + len(excluded), candidates, excluded)


def _open_cases(
    subject: AuditSubject,
    said: Sequence[Predicted | None],
    selection: Selection,
    baselines: Mapping[int, str],
) -> list[Case]:
    rows = np.array([item.probabilities for item in said if item is not None], np.float32)
    n_classes = len(subject.model.classifier.class_names)
    columns = [log_odds(rows.reshape(-1, n_classes), k) for k in range(n_classes)]
    margins = compute_margins(np.stack(columns, axis=1))
    cases = []
    for row in selection.candidates:
        film, item = subject.films[row], said[row]
        if item is None:
            continue
        target = _find_class(item)
        regions = subject.regions[film.image_id].regions
        cases.append(
            Case(
                film,
                np.array(item.probabilities, np.float32),
                derive_seed(subject.run_seed, film.image_id, "audit"),
                target,
                baselines[target],
                float(margins[target]),
                read_contents(regions),
                read_kinds(regions),
            )
        )
    return cases


def _find_class(item: Predicted) -> int:
    return int(np.argmax(item.probabilities))


def _intervene(
    auditor: Auditor, cases: Sequence[Case], parts: Parts, selection: Selection, means: Means
) -> None:
    by_name = {case.film.image_id: case for case in cases}
    params = auditor.params

    def work(names: Sequence[str], _: Path) -> Iterator[Record]:
        todo = [by_name[name] for name in names]
        n_first = 0
        if means.shard is None:
            auditor.measure(todo)
            n_first = GROUP
            if auditor.prices is not None:
                plan = plan_audit(selection, params, auditor.prices)
                _tell(plan, means, len(cases) - len(todo))
        for case in chain(todo[:n_first], auditor.intervene_on(todo[n_first:])):
            yield keep_answers(case)

    decided = sorted({(case.target, case.baseline) for case in cases})
    records = parts.work(
        "interventions", list(by_name), work, decided, is_last=not params.max_explained
    )
    for name, case in by_name.items():
        restore_answers(records[name], case)


def _explain(
    auditor: Auditor, cases: Sequence[Case], parts: Parts, methods: Sequence[str]
) -> tuple[Maps, dict[str, dict[str, Path]]]:
    """Return what the maps say, and method -> ``image_id`` -> file of a map."""
    asked = {
        f"{method} {start}": (method, cases[start : start + GROUP])
        for start in range(0, len(cases), GROUP)
        for method in methods
    }

    def work(names: Sequence[str], folder: Path) -> Iterator[Record]:
        for name in names:
            method, group = asked[name]
            yield keep_maps(name, method, auditor.explain(group, method), folder)

    decided = [(case.film.image_id, case.target, case.baseline) for case in cases]
    records = parts.work("groups of maps", list(asked), work, decided, is_last=True)
    explained: Maps = {case.film.image_id: {} for case in cases}
    files: dict[str, dict[str, Path]] = {method: {} for method in methods}
    for name, (method, group) in asked.items():
        found = restore_maps(records[name], [case.film.image_id for case in group])
        for case in group:
            film = case.film.image_id
            explained[film][method] = found[film]
            if not isinstance(found[film], str):
                files[method][film] = find_map(records.folder, film, method)
    return explained, files


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
