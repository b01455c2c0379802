"""Which text tells the class: counts of films by what their text is and says.

Owns counting; nothing here asks a model. What a model makes of the text is measured by the
interventions.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats
from scipy.special import rel_entr

from covid_debug.audit.groups import read_contents
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.records import REGION_KINDS, Film, FilmRegions
from covid_debug.records_json import Number

_MAX_CONTENTS: Final = 15
_LEAST_FILMS: Final = 5  # with a content that gets a row


@dataclass(frozen=True, slots=True)
class TellingText:
    """One kind of text, or one content, and what its presence says about a film.

    Attributes:
        what: ``"kind"`` or ``"content"``.
        name: The kind, or the characters.
        n_films: Films that carry it.
        by_class: Class -> share of its films that carry it, with its 95 % interval (Wilson; films
            are taken for independent, and those of one patient are not).
        by_source: Source -> the same.
        told_class: Class that its presence or absence tells best from the others; of two classes
            that whose films carry it more.
        auc: How well: 0.5 is chance, 1 certainty.
        bits: Mutual information of presence and class, less what chance gives on average; 0 or
            more. Knowing the class of every film takes as many bits as the classes' entropy.
        bits_in_source: The same among films of one source, averaged over sources: what the text
            says beyond what the source says already.
    """

    what: Literal["kind", "content"]
    name: str
    n_films: int
    by_class: Mapping[str, Estimate]
    by_source: Mapping[str, Estimate]
    told_class: str
    auc: Number
    bits: Number
    bits_in_source: Number


def tell_by_text(
    films: Iterable[Film], regions: Mapping[str, FilmRegions]
) -> tuple[TellingText, ...]:
    """Count films by kind and by frequent content of their text.

    Args:
        films: The films; those whose text could not be looked for are left out.
        regions: Their text by ``image_id``.

    Returns:
        Kinds that were found, in their order, then the contents on most films, at least five.
    """
    known = [f for f in films if f.image_id in regions and regions[f.image_id].error is None]
    found = {film.image_id: regions[film.image_id].regions for film in known}
    kinds = {image: {region.kind for region in texts} for image, texts in found.items()}
    contents = {image: set(read_contents(texts)) for image, texts in found.items()}
    counts = Counter(content for read in contents.values() for content in read)
    common = sorted(counts, key=lambda content: (-counts[content], content))
    rows = [
        _count("kind", kind, known, [kind in kinds[film.image_id] for film in known])
        for kind in REGION_KINDS
    ]
    rows += [
        _count("content", content, known, [content in contents[film.image_id] for film in known])
        for content in common[:_MAX_CONTENTS]
        if counts[content] >= _LEAST_FILMS
    ]
    return tuple(row for row in rows if row.n_films)


def _count(
    what: Literal["kind", "content"], name: str, films: Sequence[Film], carries: Sequence[bool]
) -> TellingText:
    labels = [film.label for film in films]
    sources = [film.source for film in films]
    by_class = _share_by(labels, carries)
    aucs = {
        label: _auc_of_presence([each == label for each in labels], carries)
        for label in by_class
        if len(by_class) > 1
    }
    # Of two classes, which presence and absence tell equally well, that which carries it more.
    gaps = {label: round(abs(auc - 0.5), 9) for label, auc in aucs.items()}
    told = max(aucs, key=lambda label: (gaps[label], aucs[label]), default="")
    inside = 0.0
    for source in sorted(set(sources)):
        rows = [i for i, each in enumerate(sources) if each == source]
        bits = _measure_excess([labels[i] for i in rows], [carries[i] for i in rows])
        inside += bits * len(rows) / len(films)
    return TellingText(
        what=what,
        name=name,
        n_films=sum(carries),
        by_class=by_class,
        by_source=_share_by(sources, carries),
        told_class=told,
        auc=max(aucs[told], 1 - aucs[told]) if told else math.nan,
        bits=measure_bits(labels, carries),
        bits_in_source=max(inside, 0.0),
    )


def _share_by(groups: Sequence[str], carries: Sequence[bool]) -> dict[str, Estimate]:
    totals = Counter(groups)
    with_it = Counter(group for group, has in zip(groups, carries, strict=True) if has)
    return {group: wilson_interval(with_it[group], totals[group]) for group in sorted(totals)}


def _auc_of_presence(is_class: Sequence[bool], carries: Sequence[bool]) -> float:
    """Return the AUC of a feature with two values: one half plus half the gap of the shares."""
    hits = [has for has, own in zip(carries, is_class, strict=True) if own]
    alarms = [has for has, own in zip(carries, is_class, strict=True) if not own]
    return 0.5 + (sum(hits) / len(hits) - sum(alarms) / len(alarms)) / 2


def measure_bits(labels: Sequence[str], carries: Sequence[bool]) -> float:
    """Return the mutual information of class and presence in bits, less what chance gives.

    Source: Vinh, Epps and Bailey (2010), "Information theoretic measures for clusterings
    comparison": what is taken off is the mean over all ways of dealing the text to the films,
    which is exact for few films, too.

    Args:
        labels: Class of each film.
        carries: Whether it carries the text.

    Returns:
        Bits, 0 or more; 0 where there is one class, or all films or none carry the text.
    """
    return max(_measure_excess(labels, carries), 0.0)


def _measure_excess(labels: Sequence[str], carries: Sequence[bool]) -> float:
    """Return the bits less what chance gives, which are below 0 as often as chance has it."""
    n, n_with = len(labels), sum(carries)
    classes = Counter(labels)
    if len(classes) < 2 or n_with in {0, n}:
        return 0.0
    both = Counter(label for label, has in zip(labels, carries, strict=True) if has)
    excess = 0.0
    for label, size in classes.items():
        possible = np.arange(max(0, size + n_with - n), min(size, n_with) + 1)
        with_it = rel_entr(possible / n, size * n_with / n**2)
        without = rel_entr((size - possible) / n, size * (n - n_with) / n**2)
        bits = np.asarray((with_it + without) / math.log(2))
        by_chance = stats.hypergeom.pmf(possible, n, size, n_with) @ bits
        excess += float(bits[both[label] - int(possible[0])] - by_chance)
    return excess
