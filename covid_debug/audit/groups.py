"""How much of a model's predictions rests on text, by group.

Owns what counts as resting on text, and the groups. The bound is of
:func:`covid_debug.evaluation.statistics.bound_share_above`.

**The bound is safe and needs no null.** A prediction rests on the text that was found where it
leaves its class, or loses much of its probability, without it, whether or not that is more than
what chance does. Films without text in the view do not. Films that could not be tested do.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from covid_debug.audit.verdicts import Verdict
from covid_debug.evaluation.statistics import bound_share_above
from covid_debug.records import REGION_KINDS, RegionKind, TextRegion
from covid_debug.records_json import Number

NO_TEXT = "no text found"
OUTSIDE = "text lies outside the model's view and cannot matter"
_MAX_TEXTS = 12
_LEAST_FILMS = 5  # behind a recognised text that gets a row


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCounts:
    """One group of predictions.

    Attributes:
        n_predicted: Predictions.
        n_audited: Of them, films with text in the view.
        not_audited: Kind of reason -> films left out.
        n_driven: Films with verdict ``text_driven``.
        n_sensitive: Films with verdict ``text_sensitive``.
        share_driven: ``n_driven`` of ``n_predicted``.
        n_resting: Predictions that rest on text, by the definition above, or could not be tested.
        n_patients: Patients behind the predictions.
        upper: One-sided 95 % upper bound of the share of predictions that rest on the text that
            was found, over patients.
    """

    n_predicted: int
    n_audited: int
    not_audited: Mapping[str, int]
    n_driven: int
    n_sensitive: int
    share_driven: Number
    n_resting: int
    n_patients: int
    upper: Number


@dataclass(frozen=True, slots=True)
class AuditGroups:
    """The predictions by predicted class, by source, by kind of text, and by recognised text.

    Attributes:
        by_class: Predicted class -> counts.
        by_source: Source -> counts.
        by_text: What was read in a film's text, the commonest ones -> counts over the audited films
            that carry it; empty where nothing was read.
        by_kind: Kind of text -> counts over the audited films that carry it; empty where no kind
            is known.
    """

    by_class: Mapping[str, GroupCounts] = field(default_factory=dict)
    by_source: Mapping[str, GroupCounts] = field(default_factory=dict)
    by_text: Mapping[str, GroupCounts] = field(default_factory=dict)
    by_kind: Mapping[str, GroupCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction, as its groups see it.

    Attributes:
        predicted_class: Predicted class.
        source: Source of the film.
        patient_id: Patient.
        rests_on_text: Whether it does, or may because it could not be tested.
        verdict: Verdict; None where the film was not audited.
        reason: Why it was not audited, ``""`` where it was.
        contents: What was read in its text.
        kinds: Of what kinds its text is.
    """

    predicted_class: str
    source: str
    patient_id: str
    rests_on_text: bool
    verdict: Verdict | None = None
    reason: str = ""
    contents: tuple[str, ...] = ()
    kinds: tuple[RegionKind, ...] = ()


def read_contents(regions: Iterable[TextRegion]) -> tuple[str, ...]:
    """Return what was read on a film: upper case, single spaces, sorted, each once."""
    read = {" ".join((region.content or "").upper().split()) for region in regions}
    return tuple(sorted(read - {""}))


def read_kinds(regions: Iterable[TextRegion]) -> tuple[RegionKind, ...]:
    """Return the kinds of the text on a film, in their order, each once."""
    told = {region.kind for region in regions}
    return tuple(kind for kind in REGION_KINDS if kind in told)


def group_predictions(predictions: Sequence[Prediction]) -> AuditGroups:
    """Count predictions by class, source and recognised text, and bound what rests on text."""

    def split(name_of: Callable[[Prediction], str]) -> dict[str, GroupCounts]:
        names = sorted({name_of(each) for each in predictions})
        return {n: _count([each for each in predictions if name_of(each) == n]) for n in names}

    audited = [each for each in predictions if each.verdict is not None]
    texts = Counter(text for each in audited for text in each.contents)
    common = sorted(
        (text for text, n in texts.items() if n >= _LEAST_FILMS), key=lambda t: (-texts[t], t)
    )
    return AuditGroups(
        by_class=split(lambda each: each.predicted_class),
        by_source=split(lambda each: each.source),
        by_text={
            text: _count([each for each in audited if text in each.contents])
            for text in common[:_MAX_TEXTS]
        },
        by_kind={
            kind: _count([each for each in audited if kind in each.kinds])
            for kind in REGION_KINDS
            if any(kind in each.kinds for each in audited)
            and any(each.kinds != ("unknown",) for each in audited)
        },
    )


def _count(group: Sequence[Prediction]) -> GroupCounts:
    verdicts = Counter(each.verdict for each in group)
    reasons = Counter(_kind(each.reason) for each in group if each.verdict is None)
    patients = [each.patient_id for each in group]
    upper = bound_share_above([each.rests_on_text for each in group], patients)
    n_driven = verdicts["text_driven"]
    return GroupCounts(
        n_predicted=len(group),
        n_audited=len(group) - verdicts[None],
        not_audited=dict(sorted(reasons.items())),
        n_driven=n_driven,
        n_sensitive=verdicts["text_sensitive"],
        share_driven=round(n_driven / len(group), 6) if group else math.nan,
        n_resting=sum(each.rests_on_text for each in group),
        n_patients=len(set(patients)),
        upper=round(upper, 6),
    )


def _kind(reason: str) -> str:
    return reason.split(":", maxsplit=1)[0]
