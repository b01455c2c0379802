"""The files of an audit: one line a film, a summary, and the maps.

Owns the record of ``verdicts.jsonl``; decides nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.explanations import SaliencyEvidence
from covid_debug.audit.verdicts import Decision, Evidence, Significance
from covid_debug.evaluation.statistics import nan_to_none
from covid_debug.records import Film

VERDICTS_NAME = "verdicts.jsonl"
EXCLUDED_NAME = "not_audited.jsonl"
SUMMARY_NAME = "summary.json"
MAPS_NAME = "maps"

Explained = tuple[SaliencyEvidence, NDArray[np.float16]] | str
"""Evidence and map of a film, or why it has none."""


@dataclass(slots=True)
class Case:
    """One audited film on its way through the audit.

    Attributes:
        film: The film.
        view: ``(S, S)`` uint8, what the model sees.
        probabilities: ``(K,)`` of the film as it is.
        seed: Seed of everything random about this film.
        baseline: ``(S, S)`` uint8, the film with everything removed.
        text_mask: ``(S, S)``, True where text leaks into the view.
        evidence: Predictions under the interventions; None before them or if they failed.
        n_border_matched: Nulls at the text's own distance to the border.
        error: Why the interventions failed, or None.
    """

    film: Film
    view: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    seed: int
    baseline: NDArray[np.uint8]
    text_mask: NDArray[np.bool_] | None = None
    evidence: Evidence | None = None
    n_border_matched: int = 0
    error: str | None = None


def to_record(
    case: Case,
    decision: Decision,
    significance: Significance,
    *,
    class_names: Sequence[str],
    target: int,
    baseline: str,
    chosen: str | None,
    explained: Explained | None,
) -> dict[str, Any]:
    """Return the line of one film.

    Args:
        case: The film with its evidence.
        decision: Its verdict.
        significance: Its p- and q-values; NaN becomes ``null``.
        class_names: Classes of the model.
        target: Index of the audited class.
        baseline: What the revealed views and the maps start from; its answer is ``"blurred"``.
        chosen: Why the film was explained: ``"suspected"``, ``"control"``, or None.
        explained: Its map, or why it has none, or None where none was asked for.

    Returns:
        Plain values for JSON, numbers rounded to six digits.
    """
    film, item = case.film, case.evidence
    reasons = list(decision.reasons)
    saliency = None
    if isinstance(explained, str):
        reasons.append(f"no map: {explained}")
    elif explained is not None:
        saliency = explained[0].to_json()
        reasons.append(_describe_map(explained[0]))
    return {
        "image_id": film.image_id,
        "path": film.path,
        "label": film.label,
        "source": film.source,
        "view": film.view,
        "split": film.split,
        "patient_id": film.patient_id,
        "predicted_class": class_names[target],
        "target_class": class_names[target],
        "probability": _round(case.probabilities[target]),
        "probabilities": {
            name: _round(p) for name, p in zip(class_names, case.probabilities, strict=True)
        },
        "text_area_share": None if case.text_mask is None else _round(case.text_mask.mean()),
        **_describe_interventions(item),
        "baseline": baseline,
        "n_border_matched": case.n_border_matched,
        "text_suffices": None if item is None else item.is_sufficient,
        "saliency": saliency,
        "explained_because": chosen,
        "verdict": decision.verdict,
        "direction": decision.direction,
        "p_value": _round(significance.p_towards),
        "q_value": _round(significance.q_towards),
        "p_value_away": _round(significance.p_away),
        "q_value_away": _round(significance.q_away),
        "p_value_revealed": _round(significance.p_revealed),
        "q_value_revealed": _round(significance.q_revealed),
        "reasons": reasons,
        "error": case.error,
    }


def _describe_interventions(item: Evidence | None) -> dict[str, Any]:
    if item is None:
        names = ("text_removed", "text_revealed", "blurred")
        return {
            "interventions": {
                **dict.fromkeys(names),
                "null_removed": [],
                "null_revealed": [],
            },
            "cleaned_class": None,
            "revealed_class": None,
            "null_classes": [],
        }
    return {
        "interventions": {
            "text_removed": _round(item.text_removed.probability),
            "text_revealed": _round(item.text_revealed.probability),
            "blurred": _round(item.baseline.probability),
            "null_removed": [_round(answer.probability) for answer in item.null_removed],
            "null_revealed": [_round(answer.probability) for answer in item.null_revealed],
        },
        "cleaned_class": item.text_removed.predicted_class,
        "revealed_class": item.text_revealed.predicted_class,
        "null_classes": [answer.predicted_class for answer in item.null_removed],
    }


def _describe_map(evidence: SaliencyEvidence) -> str:
    if evidence.void:
        return f"the iGOS++ map is void: {evidence.void_reason}"
    enrichment = "no" if evidence.enrichment is None else f"{evidence.enrichment:.1f} times the"
    return (
        f"iGOS++: {enrichment} area share of saliency in text; top 6 % revealed gives p"
        f" {evidence.insertion_top6:.2f}, top 12 % removed gives p {evidence.deletion_top12:.2f}"
    )


def _round(value: float | np.floating[Any]) -> float | None:
    plain = nan_to_none(float(value))
    return None if plain is None else round(plain, 6)


def write_audit(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    excluded: Mapping[str, str],
    summary: Mapping[str, Any],
    explained: Mapping[str, Explained],
) -> None:
    """Write the files of an audit into a folder that is being filled.

    Args:
        folder: The artifact's draft.
        records: Lines of ``verdicts.jsonl``.
        excluded: ``image_id`` -> why the film was not audited, lines of ``not_audited.jsonl``.
        summary: Content of ``summary.json``.
        explained: ``image_id`` -> map, stored as float16 below ``maps/``.
    """
    reasons = [{"image_id": name, "reason": reason} for name, reason in excluded.items()]
    for name, lines in ((VERDICTS_NAME, records), (EXCLUDED_NAME, reasons)):
        text = "".join(
            f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n" for line in lines
        )
        (folder / name).write_text(text, encoding="utf-8")
    (folder / SUMMARY_NAME).write_text(
        json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )
    (folder / MAPS_NAME).mkdir()
    for image_id, outcome in explained.items():
        if not isinstance(outcome, str):
            np.save(folder / MAPS_NAME / f"{image_id}.npy", outcome[1])
