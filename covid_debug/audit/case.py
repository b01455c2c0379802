"""One film on its way through the audit, and the record that it becomes.

Owns no decision and no file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.artifact import AuditedFilm, Chosen, Interventions, LogOdds, SaliencyEvidence
from covid_debug.audit.verdicts import Conclusion, Evidence, Significance
from covid_debug.records import Film, RegionKind
from covid_debug.saliency.naming import title_of

Explained = tuple[SaliencyEvidence, NDArray[np.float16]] | str
"""Evidence and map of a film by one method, or why it has none."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the model says of one film, before anything is known of the others.

    Attributes:
        probabilities: ``(K,)`` of the film as it is.
        excluded: Why a film of an audited class is not audited, or None.
        baselines: Key of what stands for "nothing" -> ``(K,)`` of the film with everything
            removed, as far as that differs from film to film; None where the film is not audited.
    """

    probabilities: tuple[float, ...]
    excluded: str | None = None
    baselines: Mapping[str, tuple[float, ...]] | None = None


@dataclass(slots=True)
class Case:
    """One audited film on its way through the audit.

    Attributes:
        film: The film.
        probabilities: ``(K,)`` of the film as it is.
        seed: Seed of everything random about this film.
        target: Index of the class that it is audited for, its predicted one.
        baseline: What stands for "nothing".
        margin: Least effect that is tested for, in log-odds.
        contents: What was read in its text.
        kinds: Of what kinds its text is.
        text_area_share: Share of the view that text leaks into; NaN before the interventions.
        evidence: Predictions under the interventions; None before them or if they failed.
        n_border_matched: Nulls at the text's own distance to the border.
        error: Why the interventions failed, or None.
    """

    film: Film
    probabilities: NDArray[np.float32]
    seed: int
    target: int
    baseline: str
    margin: float = 0.0
    contents: tuple[str, ...] = ()
    kinds: tuple[RegionKind, ...] = ()
    text_area_share: float = math.nan
    evidence: Evidence | None = None
    n_border_matched: int = 0
    error: str | None = None


def to_audited_film(
    case: Case,
    decision: Conclusion,
    significance: Significance,
    *,
    class_names: Sequence[str],
    chosen: Chosen | None,
    explained: Mapping[str, SaliencyEvidence | str],
) -> AuditedFilm:
    """Return the record of one film.

    Args:
        case: The film with its evidence.
        decision: Its verdict.
        significance: Its p- and q-values.
        class_names: Classes of the model.
        chosen: Why the film was explained, or None.
        explained: Method -> what its map says, or why it has none; empty where none was asked for.

    Returns:
        The record, numbers rounded to six digits.
    """
    film, item = case.film, case.evidence
    maps = {
        method: _round_evidence(found)
        for method, found in explained.items()
        if not isinstance(found, str)
    }
    no_maps = {method: found for method, found in explained.items() if isinstance(found, str)}
    of_maps = [
        _describe_map(method, maps[method])
        if method in maps
        else f"no {title_of(method)} map: {no_maps[method]}"
        for method in explained
    ]
    return AuditedFilm(
        image_id=film.image_id,
        path=film.path,
        label=film.label,
        source=film.source,
        view=film.view,
        split=film.split,
        patient_id=film.patient_id,
        predicted_class=class_names[case.target],
        target_class=class_names[case.target],
        probability=_round(case.probabilities[case.target]),
        probabilities={
            name: _round(p) for name, p in zip(class_names, case.probabilities, strict=True)
        },
        text_area_share=_round(case.text_area_share),
        interventions=_record_interventions(item),
        cleaned_class=None if item is None else item.text_removed.predicted_class,
        revealed_class=None if item is None else item.text_revealed.predicted_class,
        null_classes=() if item is None else tuple(a.predicted_class for a in item.null_removed),
        baseline=case.baseline,
        n_border_matched=case.n_border_matched,
        text_suffices=None if item is None else item.is_sufficient,
        maps=maps,
        no_maps=no_maps,
        explained_because=chosen,
        verdict=decision.verdict,
        direction=decision.direction,
        p_value=_round(significance.p),
        q_value=_round(significance.q),
        reasons=(*decision.reasons, *of_maps),
        error=case.error,
        contents=case.contents,
        kinds=case.kinds,
    )


def _record_interventions(item: Evidence | None) -> Interventions:
    if item is None:
        return Interventions()
    return Interventions(
        text_removed=_round(item.text_removed.probability),
        text_revealed=_round(item.text_revealed.probability),
        blurred=_round(item.baseline.probability),
        null_removed=tuple(_round(answer.probability) for answer in item.null_removed),
        log_odds=LogOdds(
            film=_round(item.film.log_odds),
            text_removed=_round(item.text_removed.log_odds),
            text_revealed=_round(item.text_revealed.log_odds),
            blurred=_round(item.baseline.log_odds),
            null_removed=tuple(_round(answer.log_odds) for answer in item.null_removed),
            margin=_round(item.margin),
        ),
    )


def _round_evidence(evidence: SaliencyEvidence) -> SaliencyEvidence:
    shares = (evidence.enrichment, evidence.mass_in_text)
    enrichment, mass = (None if share is None else _round(share) for share in shares)
    return replace(
        evidence,
        enrichment=enrichment,
        mass_in_text=mass,
        insertion_top6=_round(evidence.insertion_top6),
        deletion_top12=_round(evidence.deletion_top12),
    )


def _describe_map(method: str, evidence: SaliencyEvidence) -> str:
    title = title_of(method)
    if evidence.void:
        return f"the {title} map is void: {evidence.void_reason}"
    enrichment = "no" if evidence.enrichment is None else f"{evidence.enrichment:.1f} times the"
    return (
        f"{title}: {enrichment} area share of saliency in text; top 6 % revealed gives p"
        f" {evidence.insertion_top6:.2f}, top 12 % removed gives p {evidence.deletion_top12:.2f}"
    )


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)
