"""What stands for "nothing" on films of each class, and what the model says of it.

Owns the choice. The model is asked by :mod:`covid_debug.audit.auditor`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.artifact import BaselineAnswers
from covid_debug.saliency.base import MIN_SCORE_GAP

Rows = NDArray[np.float32]

_ENOUGH = 0.9  # share of the films of a class that a baseline must take probability from


@dataclass(frozen=True, slots=True)
class ChosenBaselines:
    """What was chosen, and the answers behind it.

    Attributes:
        by_class: Index of a predicted class -> key of the baselines.
        answers: Key -> what the model says of it; the first key of all films, a later one of
            those whose class was not settled before.
    """

    by_class: Mapping[int, str]
    answers: Mapping[str, BaselineAnswers]


def choose_baselines(
    said: Mapping[str, Rows], probabilities: Rows, class_names: Sequence[str]
) -> ChosenBaselines:
    """Choose what stands for "nothing", class by class.

    A classifier may call the blurred film itself the class. Then nothing can be revealed on it and
    every mask explanation that ends there is void. For each class the first kind is taken on which
    nearly all films predicted as it lose at least :data:`MIN_SCORE_GAP` of its probability, below
    which a map is void.

    Args:
        said: Keys of the baselines, best first -> ``(N, K)`` probabilities of the audited films
            with everything removed.
        probabilities: ``(N, K)`` of the films as they are.
        class_names: The ``K`` classes.

    Returns:
        A kind for each class; where none will do, the one on which most films lose so much (the
        maps of the others will say that they are void).
    """
    predicted = probabilities.argmax(axis=1)
    open_classes = {int(k) for k in predicted}
    best: dict[int, tuple[float, str]] = {}
    answers: dict[str, BaselineAnswers] = {}
    for kind, nothing in said.items():
        rows = np.flatnonzero(np.isin(predicted, list(open_classes)))
        if not len(rows):
            break
        classes = predicted[rows]
        falls = probabilities[rows, classes] - nothing[rows, classes]
        falls_enough = falls >= MIN_SCORE_GAP
        shares = {k: float(falls_enough[classes == k].mean()) for k in sorted(open_classes)}
        answers[kind] = _describe(nothing[rows], classes, shares, class_names)
        for k, share in shares.items():
            if k not in best or share > best[k][0]:
                best[k] = (share, kind)
            if share >= _ENOUGH:
                open_classes.discard(k)
    return ChosenBaselines({k: kind for k, (_, kind) in sorted(best.items())}, answers)


def _describe(
    said: Rows,
    classes: NDArray[np.intp],
    shares: Mapping[int, float],
    class_names: Sequence[str],
) -> BaselineAnswers:
    predicted = said.argmax(axis=1)
    counts = Counter(class_names[k] for k in predicted)
    stays = predicted == classes
    return BaselineAnswers(
        n_films=len(said),
        predicted={name: counts[name] for name in class_names if counts[name]},
        kept_share=round(float(stays.mean()), 6),
        kept={class_names[k]: round(float(stays[classes == k].mean()), 6) for k in shares},
        explainable={class_names[k]: round(share, 6) for k, share in shares.items()},
    )
